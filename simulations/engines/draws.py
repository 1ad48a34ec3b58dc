"""What training draws from a device's randomness, in the order in which the client's `LocalTrainer` does."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from privacy.randomness import Randomness, uniform_unit
from privacy.task import LocalTraining


@dataclass(frozen=True, eq=False)
class Draws:
    """One training's randomness.

    Attributes:
        noise: Opacus' generator.
        batches: bool[steps, n], which examples each step takes.
    """

    noise: torch.Generator = field(repr=False)
    batches: NDArray[np.bool_] = field(repr=False)

    @classmethod
    def of(cls, training: LocalTraining, examples: int, rng: Randomness) -> Draws:
        """Takes 8 bytes for a seed, then 8 for each step and example."""
        seed = int.from_bytes(rng.token(8), "little")
        chosen = uniform_unit(rng, training.steps * examples) < training.sampling_rate
        return cls(torch.Generator().manual_seed(seed), chosen.reshape(training.steps, examples))
