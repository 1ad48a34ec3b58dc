"""What training draws from a device's randomness, in the order in which the client's `LocalTrainer` does."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from fl_client.training.training import epochs
from privacy.base.randomness import Randomness, uniform_unit
from privacy.task.task import LocalSgd, LocalTraining, Training


@dataclass(frozen=True, eq=False)
class TrainingRandomness:
    """What one training takes from a device's randomness.

    Attributes:
        chosen: int64, the examples that the steps take, one step after the other.
        starts: int64[steps + 1]; step i takes starts[i] to starts[i + 1] of `chosen`.
        noise: Opacus' generator of noise; None for plain SGD.
    """

    chosen: NDArray[np.int64] = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    noise: torch.Generator | None = field(repr=False)

    @classmethod
    def of(cls, training: Training, examples: int, rng: Randomness) -> TrainingRandomness:
        """Take from `rng` what the client's `LocalTrainer` takes from it.

        Args:
            training: how the device trains.
            examples: how many the device has.
            rng: the device's randomness; what is left of it belongs to the mechanism.
        """
        return _sgd(training, examples, rng) if isinstance(training, LocalSgd) else _dp_sgd(training, examples, rng)

    @property
    def steps(self) -> int:
        """The number of steps, those without examples included."""
        return self.starts.size - 1

    def dense_noise(self, training: Training, shapes: list[tuple[int, ...]]) -> NDArray[np.float32]:
        """Draw what Opacus adds to each step's summed gradient.

        Args:
            training: the training that this randomness was taken for.
            shapes: the parameters' shapes, in order: each is drawn by itself.

        Returns:
            float32[steps, d], of standard deviation `message_noise` times `message_clip`; float32[0, 0] without noise.
        """
        if self.noise is None or isinstance(training, LocalSgd) or not training.message_noise:
            return np.zeros((0, 0), np.float32)
        scale = training.message_noise * training.message_clip
        sizes = [math.prod(shape) for shape in shapes]
        drawn = torch.empty(self.steps * sum(sizes))
        for place in torch.split(drawn, sizes * self.steps):
            place.normal_(0.0, scale, generator=self.noise)
        return drawn.view(self.steps, -1).numpy()


def _sgd(training: LocalSgd, examples: int, rng: Randomness) -> TrainingRandomness:
    chosen = epochs(training, examples, rng).ravel()
    begun = range(0, chosen.size, examples or 1)
    starts = [first + start for first in begun for start in range(0, examples, training.batch_size)]
    return TrainingRandomness(chosen, np.array([*starts, chosen.size], np.int64), None)


def _dp_sgd(training: LocalTraining, examples: int, rng: Randomness) -> TrainingRandomness:
    """Take 8 bytes for a seed, then 8 for each step and example."""
    seed = int.from_bytes(rng.token(8), "little")
    coins = uniform_unit(rng, training.steps * examples).reshape(training.steps, examples)
    steps, chosen = np.nonzero(coins < training.sampling_rate)
    starts = np.searchsorted(steps, np.arange(training.steps + 1))
    return TrainingRandomness(chosen, starts.astype(np.int64), torch.Generator().manual_seed(seed))
