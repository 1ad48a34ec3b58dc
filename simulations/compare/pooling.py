"""The messages of many devices in one place, which is what federated learning does without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl_client.training.features import Features, Inputs, Sequences
from fl_client.training.training import Examples
from simulations.population.base import Population


def held(population: Population, number: int) -> list[Examples]:
    """What devices hold in round `number`, in their order, without those that hold nothing."""
    everyone = (population.of(device, number) for device in range(population.devices))
    return [examples for examples in everyone if len(examples)]


def pooled(parts: Sequence[Examples]) -> Examples:
    """All of it, in order; at least one part.

    Raises:
        TypeError: when some are n-grams and some sequences.
    """
    return Examples(_joined([one.features for one in parts]), np.concatenate([one.labels for one in parts]))


def _joined(parts: Sequence[Inputs]) -> Inputs:
    rows = [one for one in parts if isinstance(one, Features)]
    if len(rows) == len(parts):
        columns, values = np.concatenate([one.columns for one in rows]), np.concatenate([one.values for one in rows])
        return Features(rows[0].buckets, _starts(rows), columns, values)
    sequences = [one for one in parts if isinstance(one, Sequences)]
    if len(sequences) == len(parts):
        return Sequences(sequences[0].length, _starts(sequences), np.concatenate([one.numbers for one in sequences]))
    raise TypeError("parts: expected all n-grams or all sequences, got both")


def _starts(parts: Sequence[Inputs]) -> NDArray[np.int64]:
    sizes = np.concatenate([np.diff(one.starts) for one in parts])
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
