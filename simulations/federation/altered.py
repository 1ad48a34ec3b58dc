"""An engine whose devices break, or pass on another update than they learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import TrainingError
from privacy.task.states import Update
from simulations.scenario import Scenario
from simulations.training.engines.base import NOT_FINITE, Engine, Learnt, Scale, Trainee, Weighed, add_dense


@dataclass(frozen=True)
class AlteredEngine:
    """Implements `Engine`."""

    engine: Engine
    scenario: Scenario

    def learn(self, weights: NDArray[np.float32], trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        """See `Engine.learn`."""
        for one, learnt in zip(trainees, self.engine.learn(weights, trainees), strict=True):
            yield self._altered(one.device, learnt)

    def add(
        self, weights: NDArray[np.float32], trainees: Sequence[Trainee], scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[Weighed | TrainingError]:
        """See `Engine.add`."""
        yield from add_dense(map(_finite, self.learn(weights, trainees)), scale, sums)

    def _altered(self, device: int, learnt: Learnt) -> Learnt:
        try:
            return self.scenario.altered(device, learnt) if isinstance(learnt, Update) else learnt
        except TrainingError as error:
            return error


def _finite(learnt: Learnt) -> Learnt:
    return NOT_FINITE if isinstance(learnt, Update) and not np.isfinite(learnt.delta).all() else learnt
