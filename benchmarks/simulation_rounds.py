"""Whole central rounds of ours, and pairs of them and a peer's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from measure import Row, compare
from simulation_tasks import COHORT

from fl_client.training.models import initial_weights
from fl_client.training.training import Examples
from privacy.mechanism.mechanism import Mechanism
from privacy.task.states import Total
from privacy.task.task import TaskSpec
from simulations.federation import central
from simulations.randomness import SeedTree
from simulations.training.engines import Engine, Participant

_SEED = SeedTree.root(1)


class Ours:
    """A whole central round, time after time."""

    def __init__(self, task: TaskSpec, engine: Engine, devices: Sequence[Examples]) -> None:
        self._task, self._engine, self._devices = task, engine, devices
        self._weights = initial_weights(task.model.architecture, task.features, seed=1)
        self._number = 0

    def round(self) -> float:
        """CPU seconds."""
        started = time.process_time()
        self._number += 1
        mechanism = Mechanism.for_cohort(self._task, len(self._devices))
        participants = [
            Participant(place, examples, _SEED.child("device", place, "input", self._number).stream())
            for place, examples in enumerate(self._devices)
        ]
        sums = np.zeros(self._task.length, np.int64)
        if any(list(central.add(mechanism, self._engine, self._weights, participants, sums))):
            raise RuntimeError("a device failed")
        central.finish(mechanism, sums, len(participants), _SEED.child(self._number))
        mechanism.decode(Total(sums, len(participants), len(participants), None, ""))
        return time.process_time() - started

    def ten_rounds(self) -> float:
        """Mean CPU seconds of ten in a row."""
        return statistics.fmean(self.round() for _ in range(10))


class Trained:
    """Training alone, with nothing done with the updates."""

    def __init__(self, task: TaskSpec, engine: Engine, devices: Sequence[Examples]) -> None:
        self._engine, self._devices = engine, devices
        self._weights = initial_weights(task.model.architecture, task.features, seed=1)

    def round(self) -> float:
        """CPU seconds."""
        participants = [
            Participant(place, examples, _SEED.child(place).stream()) for place, examples in enumerate(self._devices)
        ]
        started = time.process_time()
        for _ in self._engine.learn(self._weights, participants):
            pass
        return time.process_time() - started


def pair(
    name: str,
    ours: Callable[[], float],
    peer: Callable[[], float],
    against: str,
    *,
    runs: int,
    cohort: int = COHORT,
    times_less: bool = True,
) -> Row:
    """Milliseconds a device of rounds in CPU seconds, taken in turn; what is paid once is paid before."""
    ours(), peer()
    scale = 1_000 / cohort
    own, others = zip(*((scale * ours(), scale * peer()) for _ in range(runs)), strict=True)
    return compare(name, own, others, against=against, unit="ms", times_less=times_less)
