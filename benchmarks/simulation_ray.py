"""Two workers of a local Ray against one, and what a round over Ray costs besides the devices' work.

    python benchmarks/simulation_ray.py            # a table
    python benchmarks/simulation_ray.py --json     # one object

Rounds of 512 devices of the default task, its noise included; one worker and two take turns. Asked is 1.7 times as
fast, a ratio of 0.59. Elapsed seconds need two cores that nobody else uses, the more so as Ray's workers are nice to
everybody else; the fastest rounds and the CPU seconds of the busiest worker depend less on that. What Ray costs a round
is the elapsed seconds of one of two devices on two workers, less those of one device in this process; 20 ms was
expected.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from measure import Row, compare, run

from simulations.config.config import LOCAL_RAY, load_config
from simulations.executors.cluster import connected
from simulations.executors.local import LocalExecutor
from simulations.executors.retrying import RetryingExecutor
from simulations.federation.ideal import Executor
from simulations.federation.partial_sums import Job, Worker
from simulations.runs.run import prepare

if TYPE_CHECKING:
    from simulations.executors.actors import RayWorkers

_DEVICES = 512
_SMALL_ROUNDS = 20
_EXPECTED = 0.02


class Rounds:
    """Rounds of one executor after the other, in elapsed seconds."""

    def __init__(self, worker: Worker) -> None:
        task = worker.task
        self._weights = np.random.default_rng(0).normal(0, 0.01, task.model.dimension).astype(np.float32)
        self._clip = task.mechanism.clip
        self._number = 0

    def seconds(self, executor: Executor, devices: Sequence[int]) -> float:
        """Time one more round."""
        self._number += 1
        job = Job(self._number, self._weights, self._clip, bytes(32), len(devices), devices)
        started = time.perf_counter()
        sum(partial_sum.sums for partial_sum in executor.partial_sums(job))
        return time.perf_counter() - started


def pairs(runs: int) -> list[Row]:
    prepared = prepare(load_config(None, {"seed": 1, "server.aggregation": "ideal", "server.cohort": _DEVICES}))
    worker = Worker(prepared.seeds, prepared.task, prepared.data.population.of, prepared.scenario, prepared.engine)
    rounds, local = Rounds(worker), LocalExecutor(worker)
    with connected(LOCAL_RAY, 3):
        pair, single = _RayExecutor.of(worker, 2), _RayExecutor.of(worker, 1)
        for executor in (local, single.executor, pair.executor):
            rounds.seconds(executor, range(_DEVICES))  # what is paid once: compiling, products of a device's examples
        costs = [
            rounds.seconds(pair.executor, range(2)) - rounds.seconds(local, range(1))
            for _ in range(_SMALL_ROUNDS * runs)
        ]
        both = [(pair.large_round(rounds), single.large_round(rounds)) for _ in range(runs)]
    (ours, ours_cpu), (peers, peers_cpu) = (zip(*side, strict=True) for side in zip(*both, strict=True))
    name, against = f"round of {_DEVICES} devices, two workers", "one worker"
    return [
        compare(f"{name}, elapsed", ours, peers, against=against),
        compare(f"{name}, fastest", [min(ours)], [min(peers)], against=f"{against}, fastest of {runs}"),
        compare(f"{name}, busiest CPU", ours_cpu, peers_cpu, against=against),
        compare("what Ray costs a round, elapsed", costs, [_EXPECTED] * len(costs), against="what was expected"),
    ]


@dataclass(frozen=True)
class _RayExecutor:
    workers: RayWorkers
    executor: Executor

    @classmethod
    def of(cls, worker: Worker, size: int) -> _RayExecutor:
        from simulations.executors.actors import RayWorkers  # noqa: PLC0415 - Ray is imported with its settings

        workers = RayWorkers(worker, size, print_nothing)
        return cls(workers, RetryingExecutor(workers, worker.task, print_nothing))

    def large_round(self, rounds: Rounds) -> tuple[float, float]:
        """Return the elapsed seconds of a round, and the CPU seconds of its busiest worker."""
        before = self._used()
        elapsed = rounds.seconds(self.executor, range(_DEVICES))
        return elapsed, max(after - used for after, used in zip(self._used(), before, strict=True))

    def _used(self) -> list[float]:
        import ray  # noqa: PLC0415

        return ray.get([actor.handle.__ray_call__.remote(_cpu) for actor in self.workers.idle()])


def _cpu(actor: object) -> float:  # noqa: ARG001
    return time.process_time()


def print_nothing(text: str) -> None:
    """Who joins is of no interest here."""


if __name__ == "__main__":
    run(__doc__, pairs)
