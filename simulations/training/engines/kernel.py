"""The engine of architectures that have a compiled kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import TrainingError
from privacy.task.states import Update
from privacy.task.task import TaskSpec
from simulations.training.engines.base import NOT_FINITE, ClippedUpdate, Participant, Scale, TrainResult
from simulations.training.kernels import KERNELS
from simulations.training.training_randomness import TrainingRandomness


class KernelEngine:
    """An `Engine` that trains one device after the other by the architecture's compiled kernel."""

    def __init__(self, task: TaskSpec) -> None:
        self._task = task
        self._kernel = KERNELS[task.model.architecture](task)

    def add(
        self, weights: NDArray[np.float32], participants: Sequence[Participant], scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[ClippedUpdate | TrainingError]:
        """See `Engine.add`: only the rows that a device touched are added."""
        for participant in participants:
            norm = self._trained(weights, participant)
            if math.isfinite(norm):
                self._kernel.add(weights, scale.of(norm), sums)
                yield ClippedUpdate(norm, self._statistics(weights, participant))
            else:
                yield NOT_FINITE

    def learn(self, weights: NDArray[np.float32], participants: Sequence[Participant]) -> Iterator[TrainResult]:
        """See `Engine.learn`."""
        for participant in participants:
            if math.isfinite(self._trained(weights, participant)):
                yield Update(self._kernel.delta(weights), self._statistics(weights, participant))
            else:
                yield NOT_FINITE

    def _trained(self, weights: NDArray[np.float32], participant: Participant) -> float:
        """Train the participant, and return its update's L2 norm."""
        examples = participant.examples
        self._kernel.train(
            weights, examples, TrainingRandomness.of(self._task.training, len(examples), participant.rng)
        )
        return self._kernel.norm(weights)

    def _statistics(self, weights: NDArray[np.float32], participant: Participant) -> Mapping[str, float]:
        return self._kernel.statistics(weights, participant.examples) if self._task.statistics else {}
