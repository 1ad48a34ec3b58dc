"""The reference: the client's own trainer, one device after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import LocalTrainer, TrainingError
from privacy.task.task import TaskSpec
from simulations.training.engines.base import Learnt, Scale, Trainee, Weighed, add_dense


class SequentialEngine:
    """Any module; implements `Engine`."""

    def __init__(self, task: TaskSpec) -> None:
        self._trainer = LocalTrainer(task)

    def learn(self, weights: NDArray[np.float32], trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        """See `Engine.learn`."""
        for trainee in trainees:
            try:
                yield self._trainer.train(weights, trainee.examples, trainee.rng)
            except TrainingError as error:
                yield error

    def add(
        self, weights: NDArray[np.float32], trainees: Sequence[Trainee], scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[Weighed | TrainingError]:
        """See `Engine.add`."""
        return add_dense(self.learn(weights, trainees), scale, sums)
