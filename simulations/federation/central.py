"""Rounds with a trusted aggregator: it adds up clipped updates, and adds to their sum the noise that all devices
together would have added.

For studies of utility, and what other simulators do. The sum is released by the same code, at the same noise and the
same charge as in a round of the protocol, and differs from such a round's in three things: one rounding instead of one
a device, one draw of noise, and no rotation. A sum of n discrete Gaussians of variance v is within 10 n exp(-pi^2 v) of
one of variance n v (Kairouz, Liu and Steinke 2021, Theorem 1), and that is taken for a rounded Gaussian of the same
variance. A Gaussian is the same after any rotation, and there is no modulus here that a large coordinate could leave.

Updates are added in fixed point, so that the sum does not depend on who added which devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.mechanism.mechanism import Mechanism
from simulations.randomness import SeedTree
from simulations.training.engines.base import ClippedUpdate, Engine, Participant, Scale

_BLOCK = 1 << 14
"""Numbers that stay in the cache while they are worked on."""
_FRACTION_BITS = 40
"""Of the bound of a contribution: sums of a million devices are exact to 2^-40 of it a device, and fit 62 bits."""


def add(
    mechanism: Mechanism,
    engine: Engine,
    weights: NDArray[np.float32],
    participants: Sequence[Participant],
    sums: NDArray[np.int64],
) -> Iterator[Exception | None]:
    """Add every trainee's clipped contribution to int64[length] in fixed point; yields what went wrong, or None."""
    scale, dimension = Scale(mechanism.task.mechanism.clip, _steps(mechanism)), mechanism.task.model.dimension
    for done in engine.add(weights, participants, scale, sums[:dimension]):
        if isinstance(done, ClippedUpdate):
            if dimension < sums.size:
                beside = mechanism.reported(done.statistics, within=done.norm <= scale.clip)
                sums[dimension:] += np.rint(scale.steps * beside).astype(np.int64)
            yield None
        else:
            yield done


def finish(mechanism: Mechanism, sums: NDArray[np.int64], survivors: int, seed: SeedTree) -> None:
    """Turn the sums of `add` into what the protocol's would be without rotation, rounded and noised."""
    # The fastest of numpy's generators: for a large model this draw is most of what a round costs besides its devices.
    source = np.random.Generator(np.random.SFC64(seed.integer()))
    for first in range(0, sums.size, _BLOCK):
        block = sums[first : first + _BLOCK]
        exact = block * (mechanism.scale / _steps(mechanism))
        if mechanism.variance:
            exact += source.standard_normal(block.size) * math.sqrt(mechanism.variance * survivors)
        block[:] = np.rint(exact)


def _steps(mechanism: Mechanism) -> float:
    return 2.0**_FRACTION_BITS / mechanism.task.contribution_bound
