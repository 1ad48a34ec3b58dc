"""What an engine is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_client.training import Examples, TrainingError
from privacy.randomness import Randomness
from privacy.states import Update


@dataclass(frozen=True, eq=False)
class Trainee:
    """One device about to train.

    Attributes:
        device: its number in the population; the same number always comes with the same examples.
        rng: of this training; what is left of it belongs to the mechanism.
    """

    device: int
    examples: Examples = field(repr=False)
    rng: Randomness = field(repr=False)


Learnt = Update | TrainingError
"""What came of it: a training that fails is that device's alone."""


class Engine(Protocol):
    """Trains devices of one task."""

    def learn(self, weights: NDArray[np.float32], trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        """What each of them learns from float32[d], in order, drawing from each one's randomness what the client's
        `LocalTrainer` would: the seed of its noise, then a coin for each step and example."""
        ...
