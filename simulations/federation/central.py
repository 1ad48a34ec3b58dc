"""Rounds with a trusted aggregator, who adds up clipped updates and all the devices' noise.

For studies of utility, and what other simulators do. The sum is released by the same code, at the same noise and the
same charge as in a round of the protocol, and differs from such a round's in three things: one rounding instead of one
a device, one draw of noise, with what hides a sampled cohort's size in it, and no rotation. A sum of n discrete
Gaussians of variance v is within 10 n exp(-pi^2 v) of one of variance n v (Kairouz, Liu and Steinke 2021, Theorem 1),
and that is taken for a rounded Gaussian of the same variance. A Gaussian is the same after any rotation, and there is
no modulus here that a large coordinate could leave.

Updates are added in fixed point, so that the sum does not depend on who added which devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.mechanism.mechanism import Mechanism, released_variance
from simulations.randomness import SeedTree
from simulations.training.engines.base import ClippedUpdate, Engine, Participant, Scale

_BLOCK = 1 << 14
"""How many numbers are worked on at a time, so that they stay in the cache."""
_FRACTION_BITS = 40
"""Bits of the fixed point below the bound of a contribution.

Sums of a million devices are exact to 2^-40 of that bound a device, and fit 62 bits."""


def add(
    mechanism: Mechanism,
    engine: Engine,
    weights: NDArray[np.float32],
    participants: Sequence[Participant],
    sums: NDArray[np.int64],
) -> Iterator[Exception | None]:
    """Add every participant's clipped contribution, update and statistics, to a sum in fixed point.

    Args:
        mechanism: bounds of the contributions.
        engine: trains the participants.
        weights: float32[d], the model to start from.
        participants: who trains.
        sums: int64[length], added to in place.

    Yields:
        For each participant in order, why its training failed, or None.
    """
    scale, dimension = Scale(mechanism.task.mechanism.clip, _steps(mechanism)), mechanism.task.model.dimension
    for result in engine.add(weights, participants, scale, sums[:dimension]):
        if isinstance(result, ClippedUpdate):
            if dimension < sums.size:
                statistics = mechanism.reported(result.statistics, within=result.norm <= scale.clip)
                sums[dimension:] += np.rint(scale.steps * statistics).astype(np.int64)
            yield None
        else:
            yield result


def finish(mechanism: Mechanism, sums: NDArray[np.int64], survivors: int, seed: SeedTree) -> None:
    """Turn the sums of `add` into what the protocol's would be without rotation, rounded and noised.

    Args:
        mechanism: grid of the sums, and variance of one device's noise.
        sums: int64[length] in the fixed point of `add`; afterwards, in place, in steps of the mechanism's grid.
        survivors: how many devices are in the sums.
        seed: decides the noise.
    """
    # The fastest of numpy's generators: for a large model this draw is most of what a round costs besides its devices.
    source = np.random.Generator(np.random.SFC64(seed.integer()))
    variance = released_variance(mechanism, survivors)
    for first in range(0, sums.size, _BLOCK):
        block = sums[first : first + _BLOCK]
        exact = block * (mechanism.scale / _steps(mechanism))
        if variance:
            exact += source.standard_normal(block.size) * math.sqrt(variance)
        block[:] = np.rint(exact)


def _steps(mechanism: Mechanism) -> float:
    """Return the steps of the fixed point per unit."""
    return 2.0**_FRACTION_BITS / mechanism.task.contribution_bound
