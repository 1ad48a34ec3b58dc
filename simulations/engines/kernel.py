"""The engine of architectures that have a compiled kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fl_client.training import TrainingError
from privacy.states import Update
from privacy.task import TaskSpec
from simulations.engines.base import Learnt, Trainee
from simulations.engines.draws import Draws
from simulations.kernels import KERNELS


class KernelEngine:
    """Implements `Engine`."""

    def __init__(self, task: TaskSpec) -> None:
        self._task = task
        self._kernel = KERNELS[task.model.architecture](task)

    def learn(self, weights: NDArray[np.float32], trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        """See `Engine.learn`."""
        for one in trainees:
            self._kernel.train(weights, one.examples, Draws.of(self._task.training, len(one.examples), one.rng))
            if math.isfinite(self._kernel.norm(weights)):
                statistics = self._kernel.statistics(weights, one.examples) if self._task.statistics else {}
                yield Update(self._kernel.delta(weights), statistics)
            else:
                yield TrainingError("local training: the update is not finite; lower training.learning_rate")
