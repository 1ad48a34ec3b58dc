"""Devices that train side by side, and their batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_client.training.features import Features, Inputs, Sequences
from simulations.training.engines.base import Participant
from simulations.training.training_randomness import TrainingRandomness


@dataclass(frozen=True, eq=False)
class Batch:
    """The next step of A devices, of m examples at most.

    Attributes:
        inputs: [A, m, ...].
        labels: float32[A, m].
        taken: float32[A, m], 0 for padding.
        places: int64[A, m], which examples of the chunk these are.
    """

    inputs: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    taken: Tensor = field(repr=False)
    places: Tensor = field(repr=False)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some devices, the one with most steps first.

    Attributes:
        inputs: all their examples, and one that is empty, to pad with, behind them.
        labels: float32[n + 1] of these.
        first: int64[devices + 1], where each one's examples begin.
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
        """For steps on `device`."""
        inputs = _joined([one.examples.features for one in participants])
        labels = np.concatenate([*(one.examples.labels for one in participants), np.zeros(1, np.float32)])
        first = np.cumsum([0, *(len(one.examples) for one in participants)], dtype=np.int64)
        return cls(participants, randomness, device, inputs, labels, first)

    def batches(self) -> Iterator[Batch]:
        """Step by step, of the devices that still have one."""
        for step in range(self.randomness[0].steps):
            yield self._batch(
                [one.chosen[one.starts[step] : one.starts[step + 1]] for one in self.randomness if one.steps > step]
            )

    def _batch(self, chosen: Sequence[NDArray[np.int64]]) -> Batch:
        sizes = np.array([one.size for one in chosen])
        taken = np.arange(sizes.max()) < sizes[:, None]
        # Padding is an example of the device's own, if it has one: a device that diverges must not touch another.
        begins, ends = self.first[: len(chosen)], self.first[1 : len(chosen) + 1]
        places = np.repeat(np.where(begins < ends, begins, len(self.labels) - 1)[:, None], taken.shape[1], 1)
        places[taken] = np.concatenate(chosen) + np.repeat(begins, sizes)
        dense = self.inputs.rows(places.ravel()).dense()
        shaped = torch.from_numpy(dense).to(self.device).view(*places.shape, *dense.shape[1:])
        others = (self.labels[places], taken.astype(np.float32), places)
        return Batch(shaped, *(torch.from_numpy(one).to(self.device) for one in others))


def _joined(pieces: Sequence[Inputs]) -> Inputs:
    """All of them, one after the other, and an empty row."""
    last = np.cumsum([0, *(int(piece.starts[-1]) for piece in pieces)])
    begun = [piece.starts[:-1] + before for piece, before in zip(pieces, last, strict=False)]
    starts = np.concatenate([*begun, [last[-1]] * 2]).astype(np.int64)
    rows = [piece for piece in pieces if isinstance(piece, Features)]
    if rows:
        columns, values = (np.concatenate([getattr(row, name) for row in rows]) for name in ("columns", "values"))
        return Features(rows[0].buckets, starts, columns, values)
    texts = [piece for piece in pieces if isinstance(piece, Sequences)]
    return Sequences(texts[0].length, starts, np.concatenate([text.numbers for text in texts]))
