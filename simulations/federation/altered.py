"""An engine whose devices break, or pass on another update than they learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import TrainingError
from privacy.task.states import Update
from simulations.scenario import Scenario
from simulations.training.engines.base import (
    NOT_FINITE,
    ClippedUpdate,
    Engine,
    Participant,
    Scale,
    TrainResult,
    add_dense,
)


@dataclass(frozen=True)
class AlteredEngine:
    """An engine over another one's results, altered as a scenario has it; implements `Engine`."""

    engine: Engine
    scenario: Scenario

    def learn(self, weights: NDArray[np.float32], participants: Sequence[Participant]) -> Iterator[TrainResult]:
        """Train each participant by the engine below, and yield what it passes on in place of what it learnt."""
        for participant, result in zip(participants, self.engine.learn(weights, participants), strict=True):
            yield self._altered(participant.device, result)

    def add(
        self, weights: NDArray[np.float32], participants: Sequence[Participant], scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[ClippedUpdate | TrainingError]:
        """Train like `learn`, and add every finite update to a sum, clipped, scaled and rounded.

        Args:
            weights: float32[d], the model to start from.
            participants: who trains.
            scale: what each update is multiplied with.
            sums: int64[d], added to in place.
        """
        yield from add_dense(map(_finite, self.learn(weights, participants)), scale, sums)

    def _altered(self, device: int, result: TrainResult) -> TrainResult:
        try:
            return self.scenario.altered(device, result) if isinstance(result, Update) else result
        except TrainingError as error:
            return error


def _finite(result: TrainResult) -> TrainResult:
    return NOT_FINITE if isinstance(result, Update) and not np.isfinite(result.delta).all() else result
