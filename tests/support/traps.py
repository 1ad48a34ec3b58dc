"""Devices that are the end of the worker that meets them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fl_client.training.training import Examples
from simulations.config.config import RunConfig
from simulations.federation.partial_sums import Job, PartialSum, Worker
from simulations.population.base import ExamplesOf
from simulations.runs.run import prepare


@dataclass(frozen=True)
class Trap:
    """Examples of devices, but for one's.

    Attributes:
        once: a path that is made when the trap springs, if it does so only once.
    """

    examples_of: ExamplesOf
    device: int
    how: Literal["exit", "memory", "bug"]
    once: Path | None = None

    def __call__(self, device: int, number: int) -> Examples:
        if device == self.device and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            self._spring()
        return self.examples_of(device, number)

    def _spring(self) -> None:
        if self.how == "exit":
            os._exit(7)
        if self.how == "memory":
            raise MemoryError
        raise AttributeError("a bug")


@dataclass(frozen=True)
class Doomed:
    """Examples of devices; whoever asks for them on a node of a Ray cluster that is doomed waits there for the end.

    Attributes:
        nodes: a directory with a file for each such node, which has been `met` once a worker there waits.
    """

    examples_of: ExamplesOf
    nodes: Path

    def __call__(self, device: int, number: int) -> Examples:
        import ray  # noqa: PLC0415 - in workers alone

        if ray.is_initialized() and (node := self.nodes / ray.get_runtime_context().get_node_id()).exists():
            node.write_text("met")
            time.sleep(60)
        return self.examples_of(device, number)


def worker_of(config: RunConfig) -> Worker:
    """A worker as the run of this configuration has them."""
    prepared = prepare(config)
    return Worker(prepared.seeds, prepared.task, prepared.data.population.of, prepared.scenario, prepared.engine)


def job_of(worker: Worker, number: int, devices: int) -> Job:
    """Round `number` for devices 0 to `devices` - 1."""
    task = worker.task
    weights = np.zeros(task.model.dimension, np.float32)
    return Job(number, weights, task.mechanism.clip, bytes(32), devices, range(devices))


def total(partial_sums: Iterable[PartialSum]) -> tuple[bytes, list[int]]:
    """The sum of all partial sums, and who is in it."""
    parts = list(partial_sums)
    return np.sum([part.sums for part in parts], axis=0).tobytes(), sorted(
        device for part in parts for device in part.survivors
    )
