"""Devices whose messages come from a file: hashed once, packed, in the order of devices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import Examples
from privacy.features.encoding import encode_texts
from privacy.task.task import InputSpec


@dataclass(frozen=True, eq=False)
class Holding:
    """All that one device comes to hold.

    Attributes:
        texts: n texts.
        labels: their n labels, 0 or 1.
        arrivals: int64[n], ascending; the round from which the device holds each, 0 meaning from the start.
    """

    texts: list[str] = field(repr=False)
    labels: list[int] = field(repr=False)
    arrivals: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True, eq=False)
class PackedPopulation:
    """A `Population` whose examples were hashed at once.

    Attributes:
        examples: all rows, device after device.
        starts: int64[devices + 1]; device i comes to hold rows starts[i] to starts[i + 1].
        arrivals: int64[rows], ascending within a device; the round from which the row is there.
    """

    examples: Examples = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    arrivals: NDArray[np.int64] = field(repr=False)

    @classmethod
    def pack(cls, holdings: Iterable[Holding], features: InputSpec) -> PackedPopulation:
        """Hash what each device holds; device i is the i-th."""
        own = list(holdings)
        texts = [text for holding in own for text in holding.texts]
        labels = np.array([label for holding in own for label in holding.labels], np.float32)
        starts = np.concatenate([[0], np.cumsum([len(holding.texts) for holding in own])]).astype(np.int64)
        arrivals = np.concatenate([holding.arrivals for holding in own])
        return cls(Examples(encode_texts(features, texts), labels), starts, arrivals)

    @property
    def devices(self) -> int:
        """See `Population.devices`."""
        return self.starts.size - 1

    @property
    def empty_devices(self) -> int:
        """See `Population.empty_devices`."""
        return int(np.count_nonzero(np.diff(self.starts) == 0))

    @property
    def messages(self) -> int:
        """See `Population.messages`."""
        return len(self.examples)

    def of(self, device: int, number: int) -> Examples:
        """See `Population.of`."""
        first, end = int(self.starts[device]), int(self.starts[device + 1])
        last = first + int(np.searchsorted(self.arrivals[first:end], number, side="right"))
        return Examples(self.examples.features.between(first, last), self.examples.labels[first:last])
