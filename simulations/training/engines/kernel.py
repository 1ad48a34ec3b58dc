"""The engine of architectures that have a compiled kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import TrainingError
from privacy.task.states import Update
from privacy.task.task import TaskSpec
from simulations.training.draws import Draws
from simulations.training.engines.base import NOT_FINITE, Learnt, Scale, Trainee, Weighed
from simulations.training.kernels import KERNELS


class KernelEngine:
    """Implements `Engine`."""

    def __init__(self, task: TaskSpec) -> None:
        self._task = task
        self._kernel = KERNELS[task.model.architecture](task)

    def add(
        self, weights: NDArray[np.float32], trainees: Sequence[Trainee], scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[Weighed | TrainingError]:
        """See `Engine.add`: only the rows that a device touched are added."""
        for one in trainees:
            norm = self._trained(weights, one)
            if math.isfinite(norm):
                self._kernel.add(weights, scale.of(norm), sums)
                yield Weighed(norm, self._statistics(weights, one))
            else:
                yield NOT_FINITE

    def learn(self, weights: NDArray[np.float32], trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        """See `Engine.learn`."""
        for one in trainees:
            if math.isfinite(self._trained(weights, one)):
                yield Update(self._kernel.delta(weights), self._statistics(weights, one))
            else:
                yield NOT_FINITE

    def _trained(self, weights: NDArray[np.float32], trainee: Trainee) -> float:
        """The update's norm."""
        examples = trainee.examples
        self._kernel.train(weights, examples, Draws.of(self._task.training, len(examples), trainee.rng))
        return self._kernel.norm(weights)

    def _statistics(self, weights: NDArray[np.float32], trainee: Trainee) -> Mapping[str, float]:
        return self._kernel.statistics(weights, trainee.examples) if self._task.statistics else {}
