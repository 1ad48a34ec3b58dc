"""Rounds with a trusted aggregator: it adds up clipped updates, and adds to their sum the noise that all devices
together would have added.

For studies of utility, and what other simulators do. The sum is released by the same code, at the same noise and the
same charge as in a round of the protocol, and differs from such a round's in two things: one rounding instead of one a
device, and one draw of noise. A sum of n discrete Gaussians of variance v is within 10 n exp(-pi^2 v) of one of
variance n v (Kairouz, Liu and Steinke 2021, Theorem 1), and that is taken for a rounded Gaussian of the same variance.

Updates are added in fixed point, so that the sum does not depend on who added which devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.mechanism import Mechanism
from privacy.rotation import rotate
from simulations.engines.base import Engine, Scale, Trainee, Weighed
from simulations.randomness import SeedTree

_FRACTION_BITS = 40
"""Of the bound of a contribution: sums of a million devices are exact to 2^-40 of it a device, and fit 62 bits."""


def add(
    mechanism: Mechanism,
    engine: Engine,
    weights: NDArray[np.float32],
    trainees: Sequence[Trainee],
    sums: NDArray[np.int64],
) -> Iterator[Exception | None]:
    """Add every trainee's clipped contribution to int64[length] in fixed point; yields what went wrong, or None."""
    scale, dimension = Scale(mechanism.task.mechanism.clip, _steps(mechanism)), mechanism.task.model.dimension
    for done in engine.add(weights, trainees, scale, sums[:dimension]):
        if isinstance(done, Weighed):
            beside = mechanism.reported(done.statistics, within=done.norm <= scale.clip)
            sums[dimension:] += np.rint(scale.steps * beside).astype(np.int64)
            yield None
        else:
            yield done


def total(
    mechanism: Mechanism, sums: NDArray[np.int64], survivors: int, rotation: bytes, seed: SeedTree
) -> NDArray[np.int64]:
    """What the protocol's sum would be: int64[length], rotated, rounded and noised, from the sums of `add`."""
    exact = rotate(sums / _steps(mechanism), rotation) * mechanism.scale
    if mechanism.variance:
        deviation = math.sqrt(mechanism.variance * survivors)
        exact += np.random.default_rng(seed.integer()).normal(0, deviation, exact.size)
    return np.rint(exact).astype(np.int64)


def _steps(mechanism: Mechanism) -> float:
    return 2.0**_FRACTION_BITS / mechanism.task.contribution_bound
