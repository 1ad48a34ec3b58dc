"""The interface of an engine: participants and a model in, updates or an error for each out."""

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
        rng: the randomness of this training; what is left of it belongs to the mechanism.
    """

    device: int
    examples: Examples = field(repr=False)
    rng: Randomness = field(repr=False)


TrainResult = Update | TrainingError
"""A device's update, or why its training failed; no other device is affected."""

NOT_FINITE = TrainingError("local training: the update is not finite; lower training.learning_rate")


@dataclass(frozen=True)
class Scale:
    """The factor that an update is multiplied with before it is rounded and added.

    Attributes:
        clip: L2 bound of an update.
        steps: steps of the fixed point per unit.
    """

    clip: float
    steps: float

    def of(self, norm: float) -> float:
        """Return the factor for an update of this L2 norm: clipped, in steps of the fixed point."""
        return self.steps * (min(1.0, self.clip / norm) if norm else 1.0)


@dataclass(frozen=True, eq=False)
class ClippedUpdate:
    """A device's figures after its update was added to a sum.

    Attributes:
        norm: L2 norm of the update before clipping.
        statistics: what the device reports, by name.
    """

    norm: float
    statistics: Mapping[str, float] = field(repr=False)


class Engine(Protocol):
    """A way to train devices of one task."""

    def learn(self, weights: NDArray[np.float32], participants: Sequence[Participant]) -> Iterator[TrainResult]:
        """Train each participant from the model float32[d], and yield the results in the participants' order.

        From each one's randomness comes what the client's `LocalTrainer` would draw: the seed of its noise, then a
        coin for each step and example.
        """
        ...

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
        ...


def add_dense(
    results: Iterable[TrainResult], scale: Scale, sums: NDArray[np.int64]
) -> Iterator[ClippedUpdate | TrainingError]:
    """Do `Engine.add` with updates that are there as dense vectors.

    Args:
        results: what `Engine.learn` yields.
        scale: what each update is multiplied with.
        sums: int64[d], added to in place.
    """
    for result in results:
        if isinstance(result, Update):
            delta = result.delta.astype(np.float64)
            norm = float(np.linalg.norm(delta))
            sums += np.rint(scale.of(norm) * delta).astype(np.int64)
            yield ClippedUpdate(norm, result.statistics)
        else:
            yield result
