"""What an engine is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import Examples, TrainingError
from privacy.base.randomness import Randomness
from privacy.task.states import Update


@dataclass(frozen=True, eq=False)
class Participant:
    """One device about to train.

    Attributes:
        device: its number in the population; with as many examples, the same number comes with the same ones.
        rng: of this training; what is left of it belongs to the mechanism.
    """

    device: int
    examples: Examples = field(repr=False)
    rng: Randomness = field(repr=False)


TrainResult = Update | TrainingError
"""What came of it: a training that fails is that device's alone."""

NOT_FINITE = TrainingError("local training: the update is not finite; lower training.learning_rate")


@dataclass(frozen=True)
class Scale:
    """What an update is multiplied with before it is rounded and added.

    Attributes:
        clip: L2 bound of an update.
        steps: of fixed point, per unit.
    """

    clip: float
    steps: float

    def of(self, norm: float) -> float:
        """For an update of this norm."""
        return self.steps * (min(1.0, self.clip / norm) if norm else 1.0)


@dataclass(frozen=True, eq=False)
class ClippedUpdate:
    """An update that was added to a sum.

    Attributes:
        norm: L2 norm before clipping.
    """

    norm: float
    statistics: Mapping[str, float] = field(repr=False)


class Engine(Protocol):
    """Trains devices of one task."""

    def learn(self, weights: NDArray[np.float32], participants: Sequence[Participant]) -> Iterator[TrainResult]:
        """What each of them learns from float32[d], in order, drawing from each one's randomness what the client's
        `LocalTrainer` would: the seed of its noise, then a coin for each step and example.
        """
        ...

    def add(
        self, weights: NDArray[np.float32], participants: Sequence[Participant], scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[ClippedUpdate | TrainingError]:
        """Add to int64[d] what each learns, clipped, scaled and rounded; otherwise like `learn`."""
        ...


def add_dense(
    found: Iterable[TrainResult], scale: Scale, sums: NDArray[np.int64]
) -> Iterator[ClippedUpdate | TrainingError]:
    """`Engine.add` of updates that are there as a whole."""
    for result in found:
        if isinstance(result, Update):
            delta = result.delta.astype(np.float64)
            norm = float(np.linalg.norm(delta))
            sums += np.rint(scale.of(norm) * delta).astype(np.int64)
            yield ClippedUpdate(norm, result.statistics)
        else:
            yield result
