"""Which correlation suits a schedule: coefficients that make the noise in the running sums small.

The error is the root mean square, over rounds, of the noise in the sum of all rounds so far, for a mechanism of mu = 1:
sqrt(squared sensitivity * mean_t ||row t of A C^{-1}||^2), A the lower triangle of ones (Denisov et al. 2022). What a
model has become is such a sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.signal import lfilter
from scipy.special import expit

from privacy.correlated_noise import tree_prefix_variances
from privacy.correlation import (
    BandedToeplitz,
    BinaryTree,
    BufferedLinearToeplitz,
    Correlation,
    squared_sensitivity,
)

_DECIMALS = 6
"""Of coefficients, cut downwards so that none rises above the one before."""
_START = (0.95, 0.6)


def expected_error(correlation: Correlation, rounds: int, min_separation: int, max_participations: int) -> float:
    """The error defined above."""
    squared = squared_sensitivity(correlation, rounds, min_separation, max_participations)
    return math.sqrt(squared * _mean_variance(correlation, rounds))


def optimal_banded(rounds: int, bands: int, min_separation: int, max_participations: int) -> BandedToeplitz:
    """The banded Toeplitz correlation of the least error, found by descent from the optimal square root.

    Raises:
        ValueError: when there are fewer bands than 1 or more than rounds.
    """
    if not 1 <= bands <= rounds:
        raise ValueError(f"bands: expected 1 to {rounds}, got {bands}")

    def build(free: NDArray[np.float64]) -> BandedToeplitz:
        return BandedToeplitz(coefficients=(1.0, *_cut(np.cumprod(expit(free)))))

    ratios = (2 * np.arange(1, bands) - 1) / (2 * np.arange(1, bands))
    found = _least(build, np.log(ratios / (1 - ratios)), rounds, min_separation, max_participations)
    return build(found)


def optimal_blt(rounds: int, buffers: int, min_separation: int, max_participations: int) -> BufferedLinearToeplitz:
    """The correlation of so many buffers with the least error.

    Raises:
        ValueError: when there is no buffer.
    """
    if buffers < 1:
        raise ValueError(f"buffers: expected 1 or more, got {buffers}")

    def build(free: NDArray[np.float64]) -> BufferedLinearToeplitz:
        weights = np.exp(np.append(free[:buffers], 0.0))
        return BufferedLinearToeplitz(
            scales=tuple(max(scale, 10.0**-_DECIMALS) for scale in _cut(weights[:-1] / weights.sum())),
            decays=_cut(expit(free[buffers:])),
        )

    slow = np.linspace(2.0, math.log(max(rounds, 8)), buffers)
    start = np.concatenate([np.linspace(-1.0, -2.5, buffers), slow])
    return build(_least(build, start, rounds, min_separation, max_participations))


def best_correlation(rounds: int, min_separation: int, max_participations: int) -> Correlation | None:
    """The one with the least error of what is here; None where independent noise is no worse.

    Bands as many as the separation allows to stay apart, 32 at most; BLTs of 2 to 4 buffers; the tree.
    """
    schedule = (rounds, min_separation, max_participations)
    bands = max(1, min(rounds, min_separation, 32))
    candidates: list[Correlation] = [
        BinaryTree(),
        optimal_banded(rounds, bands, min_separation, max_participations),
        *(optimal_blt(rounds, buffers, min_separation, max_participations) for buffers in (2, 3, 4)),
    ]
    best = min(candidates, key=lambda one: expected_error(one, *schedule))
    independent = BandedToeplitz(coefficients=(1.0,))
    return best if expected_error(best, *schedule) < expected_error(independent, *schedule) else None


def _least(
    build: Callable[[NDArray[np.float64]], Correlation],
    start: NDArray[np.float64],
    rounds: int,
    min_separation: int,
    max_participations: int,
) -> NDArray[np.float64]:
    if not start.size:
        return start

    def log_error(free: NDArray[np.float64]) -> float:
        return math.log(expected_error(build(np.clip(free, -30, 30)), rounds, min_separation, max_participations))

    found = minimize(log_error, start, method="L-BFGS-B", options={"maxiter": 200, "eps": 1e-3})
    return np.clip(np.asarray(found.x if found.fun < log_error(start) else start, np.float64), -30, 30)


def _cut(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.floor(values * 10**_DECIMALS) / 10**_DECIMALS)


def _mean_variance(correlation: Correlation, rounds: int) -> float:
    """Of the noise in the running sums, for z of unit variance."""
    if isinstance(correlation, BinaryTree):
        return float(tree_prefix_variances(rounds).mean())
    impulse = np.zeros(rounds)
    impulse[0] = 1
    numerator, denominator = _transfer(correlation)
    running = np.cumsum(lfilter(denominator, numerator, impulse))
    return float(np.dot(running**2, np.arange(rounds, 0, -1)) / rounds)


def _transfer(correlation: BandedToeplitz | BufferedLinearToeplitz) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """C as a quotient of polynomials in the shift: numerator, denominator, lowest power first."""
    if isinstance(correlation, BandedToeplitz):
        return np.array(correlation.coefficients), np.ones(1)
    factors = [np.array([1.0, -decay]) for decay in correlation.decays]
    denominator = reduce(np.convolve, factors)
    numerator = denominator.copy()
    for index, scale in enumerate(correlation.scales):
        others = reduce(np.convolve, factors[:index] + factors[index + 1 :], np.ones(1))
        numerator[1:] += scale * others
    return numerator, denominator
