"""The reference: the client's own trainer, one device after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import LocalTrainer, TrainingError
from privacy.task.task import TaskSpec
from simulations.training.engines.base import ClippedUpdate, Participant, Scale, TrainResult, add_dense


class SequentialEngine:
    """An `Engine` for any module that trains one device after the other by the client's trainer."""

    def __init__(self, task: TaskSpec) -> None:
        self._trainer = LocalTrainer(task)

    @property
    def reason(self) -> str:
        """How gradients are computed, and why so."""
        return self._trainer.reason

    def learn(self, weights: NDArray[np.float32], participants: Sequence[Participant]) -> Iterator[TrainResult]:
        """See `Engine.learn`."""
        for participant in participants:
            try:
                yield self._trainer.train(weights, participant.examples, participant.rng)
            except TrainingError as error:
                yield error

    def add(
        self, weights: NDArray[np.float32], participants: Sequence[Participant], scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[ClippedUpdate | TrainingError]:
        """See `Engine.add`."""
        return add_dense(self.learn(weights, participants), scale, sums)
