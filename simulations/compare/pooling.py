"""The messages of many devices in one place, which is what federated learning does without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fl_client.training.training import Examples
from privacy.features.encoding import joined
from simulations.population.base import Population


def held(population: Population, number: int) -> list[Examples]:
    """Return what each device holds in round `number`, in their order, without those that hold nothing."""
    everyone = (population.of(device, number) for device in range(population.devices))
    return [examples for examples in everyone if len(examples)]


def pooled(parts: Sequence[Examples]) -> Examples:
    """Pool all examples, in order; there is at least one part.

    Raises:
        TypeError: when some are n-grams and some sequences.
    """
    return Examples(joined([part.features for part in parts]), np.concatenate([part.labels for part in parts]))
