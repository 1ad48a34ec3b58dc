"""Devices that train side by side, and their batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privacy.features.encoding import Inputs, joined
from simulations.training.engines.base import Participant
from simulations.training.training_randomness import TrainingRandomness


@dataclass(frozen=True, eq=False)
class Batch:
    """The next step of A devices, each with m examples at most.

    Attributes:
        inputs: [A, m, ...], padded examples.
        labels: float32[A, m], of 0 and 1.
        taken: float32[A, m], 1 for an example and 0 for padding.
        places: int64[A, m], which examples of the chunk these are.
    """

    inputs: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    taken: Tensor = field(repr=False)
    places: Tensor = field(repr=False)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some devices that train side by side, the one with most steps first.

    Attributes:
        inputs: all n examples of the devices, and an empty one behind them, to pad with.
        labels: float32[n + 1], the labels of `inputs`.
        first: int64[devices + 1], where each device's examples begin.
    """

    participants: Sequence[Participant]
    randomness: Sequence[TrainingRandomness]
    device: torch.device
    inputs: Inputs = field(repr=False)
    labels: NDArray[np.float32] = field(repr=False)
    first: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(
        cls, participants: Sequence[Participant], randomness: Sequence[TrainingRandomness], device: torch.device
    ) -> Chunk:
        """Pack the participants' examples.

        Args:
            participants: who trains, the one with most steps first.
            randomness: what each of them draws.
            device: where the steps are computed.
        """
        inputs = joined([participant.examples.features for participant in participants])
        padded = replace(inputs, starts=np.append(inputs.starts, inputs.starts[-1]))
        labels = [participant.examples.labels for participant in participants]
        first = np.cumsum([0, *map(len, labels)], dtype=np.int64)
        return cls(participants, randomness, device, padded, np.concatenate([*labels, np.zeros(1, np.float32)]), first)

    def batches(self) -> Iterator[Batch]:
        """Yield each step's batch, of the devices that still have a step."""
        for step in range(self.randomness[0].steps):
            yield self._batch(
                [
                    device.chosen[device.starts[step] : device.starts[step + 1]]
                    for device in self.randomness
                    if device.steps > step
                ]
            )

    def _batch(self, chosen: Sequence[NDArray[np.int64]]) -> Batch:
        sizes = np.array([examples.size for examples in chosen])
        taken = np.arange(sizes.max()) < sizes[:, None]
        # Padding is an example of the device's own, if it has one: a device that diverges must not touch another.
        begins, ends = self.first[: len(chosen)], self.first[1 : len(chosen) + 1]
        places = np.repeat(np.where(begins < ends, begins, len(self.labels) - 1)[:, None], taken.shape[1], 1)
        places[taken] = np.concatenate(chosen) + np.repeat(begins, sizes)
        dense = self.inputs.rows(places.ravel()).dense()
        shaped = torch.from_numpy(dense).to(self.device).view(*places.shape, *dense.shape[1:])
        others = (self.labels[places], taken.astype(np.float32), places)
        return Batch(shaped, *(torch.from_numpy(array).to(self.device) for array in others))
