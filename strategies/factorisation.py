"""Correlations that suit a schedule: coefficients that make the noise in the running sums small.

The error is the root mean square, over rounds, of the noise in the model, for a mechanism of mu = 1:
sqrt(squared sensitivity * mean_t ||row t of A C^{-1}||^2) (Denisov et al. 2022). A maps the rounds' sums to models of
learning rate 1: without momentum the running sum, a lower triangle of ones; with it, A[t, s] = sum_{i<=t-s} momentum^i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.signal import lfilter
from scipy.special import expit

from privacy.mechanism.correlated_noise import tree_prefix_variances
from privacy.task.correlation import (
    BandedToeplitz,
    BinaryTree,
    BufferedLinearToeplitz,
    Correlation,
    squared_sensitivity,
)

_DECIMALS = 6
"""Decimals of coefficients, which are cut downwards so that none rises above the one before."""
_FARTHEST = 20.0
"""The largest size of a free parameter: logistic and softmax values stay clear of 0 and 1."""
_MOST_BANDS = 32
"""The most bands, each of which is a vector in the server's memory."""

Parameters = NDArray[np.float64]


@dataclass(frozen=True)
class _Schedule:
    rounds: int
    min_separation: int
    max_participations: int
    momentum: float

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum: expected 0 or more and below 1, got {self.momentum}")

    def error(self, correlation: Correlation) -> float:
        squared = squared_sensitivity(correlation, self.rounds, self.min_separation, self.max_participations)
        return math.sqrt(squared * _mean_variance(correlation, self.rounds, self.momentum))


def expected_error(
    correlation: Correlation, rounds: int, min_separation: int, max_participations: int, momentum: float = 0.0
) -> float:
    """Return the error of a correlation on a schedule, as this module defines it (Denisov et al. 2022).

    Args:
        correlation: the correlation.
        rounds: how many rounds there are.
        min_separation: how many rounds two participations of one device lie apart at least.
        max_participations: how often a device takes part at most.
        momentum: of the server's optimiser, in [0, 1).

    Raises:
        ValueError: when a number of the schedule is below 1, or the momentum not in [0, 1).
    """
    return _Schedule(rounds, min_separation, max_participations, momentum).error(correlation)


def optimal_banded(
    rounds: int, bands: int, min_separation: int, max_participations: int, momentum: float = 0.0
) -> BandedToeplitz:
    """Find the banded Toeplitz correlation of the least error, by descent from the optimal square root.

    Args:
        rounds: how many rounds there are.
        bands: how many bands.
        min_separation: as for `expected_error`.
        max_participations: as for `expected_error`.
        momentum: as for `expected_error`.

    Raises:
        ValueError: when there are fewer bands than 1 or more than rounds, or `expected_error` refuses the schedule.
    """
    if not 1 <= bands <= rounds:
        raise ValueError(f"bands: expected 1 to {rounds}, got {bands}")

    def build(free: Parameters) -> BandedToeplitz:
        return BandedToeplitz(coefficients=(1.0, *np.cumprod(expit(free)).tolist()))

    ratios = (2 * np.arange(1, bands) - 1) / (2 * np.arange(1, bands))
    schedule = _Schedule(rounds, min_separation, max_participations, momentum)
    best = _least(build, [np.log(ratios / (1 - ratios))], schedule)
    return BandedToeplitz(coefficients=_cut(best.coefficients))


def optimal_blt(
    rounds: int, buffers: int, min_separation: int, max_participations: int, momentum: float = 0.0
) -> BufferedLinearToeplitz:
    """Find the buffered linear Toeplitz correlation of the least error, by descent from a few starts.

    Args:
        rounds: how many rounds there are.
        buffers: the most buffers (Dvijotham et al. 2024).
        min_separation: as for `expected_error`.
        max_participations: as for `expected_error`.
        momentum: as for `expected_error`.

    Raises:
        ValueError: when there is no buffer, or `expected_error` refuses the schedule.
    """
    if buffers < 1:
        raise ValueError(f"buffers: expected 1 or more, got {buffers}")

    def build(free: Parameters) -> BufferedLinearToeplitz:
        weights = np.exp(np.append(free[:buffers], 0.0))
        scales = weights[:-1] / weights.sum()
        return BufferedLinearToeplitz(scales=tuple(scales.tolist()), decays=tuple(expit(free[buffers:]).tolist()))

    scales, slowest = np.linspace(-1.0, -3.0, buffers), math.log(max(rounds, 8))
    starts = [np.append(scales, np.linspace(fastest, slowest, buffers)) for fastest in (2.0, -1.0)]
    return _serialisable(_least(build, starts, _Schedule(rounds, min_separation, max_participations, momentum)))


def best_correlation(
    rounds: int, min_separation: int, max_participations: int, momentum: float = 0.0
) -> Correlation | None:
    """Choose the correlation of the least error; None where independent noise is no worse by a millionth.

    Considered are bands, as many as the separation allows to stay apart and 32 at most; buffered linear Toeplitz
    correlations of 1 to 4 buffers; and the tree.

    Args:
        rounds: how many rounds there are.
        min_separation: as for `expected_error`.
        max_participations: as for `expected_error`.
        momentum: as for `expected_error`.

    Raises:
        ValueError: when `expected_error` refuses the schedule.
    """
    schedule = (rounds, min_separation, max_participations, momentum)
    error = _Schedule(*schedule).error
    bands = max(1, min(rounds, min_separation, _MOST_BANDS))
    candidates: list[Correlation] = [
        *(optimal_blt(rounds, buffers, *schedule[1:]) for buffers in (1, 2, 3, 4)),
        BinaryTree(),
        optimal_banded(rounds, bands, *schedule[1:]),
    ]
    best = min(candidates, key=error)
    return best if error(best) * (1 + 1e-6) < error(BandedToeplitz(coefficients=(1.0,))) else None


_Sought = TypeVar("_Sought", BandedToeplitz, BufferedLinearToeplitz)


def _least(build: Callable[[Parameters], _Sought], starts: Sequence[Parameters], schedule: _Schedule) -> _Sought:
    """Return what `build` makes of the parameters with the least error, at a start or on the way down from it."""

    def built(free: Parameters) -> _Sought:
        return build(np.clip(free, -_FARTHEST, _FARTHEST))

    def log_error(free: Parameters) -> float:
        return math.log(schedule.error(built(free)))

    ends: list[Parameters] = [_descend(log_error, start) for start in starts if start.size]
    return built(min([*starts, *ends], key=log_error))


def _descend(log_error: Callable[[Parameters], float], start: Parameters) -> Parameters:
    result = minimize(log_error, start, method="L-BFGS-B", options={"maxiter": 100, "eps": 1e-7, "ftol": 1e-8})
    return np.asarray(result.x, np.float64)


def _serialisable(blt: BufferedLinearToeplitz) -> BufferedLinearToeplitz:
    """Cut the decimals, and leave out the buffers whose scale is then 0."""
    kept = [pair for pair in zip(_cut(blt.scales), _cut(blt.decays), strict=True) if pair[0] > 0]
    scales, decays = zip(*(kept or [(10.0**-_DECIMALS, 0.0)]), strict=True)
    return BufferedLinearToeplitz(scales=scales, decays=decays)


def _cut(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(math.floor(value * 10**_DECIMALS) / 10**_DECIMALS for value in values)


def _mean_variance(correlation: Correlation, rounds: int, momentum: float) -> float:
    """Return the mean variance, over rounds, of the noise in the models, for z of unit variance."""
    if isinstance(correlation, BinaryTree):
        return float(tree_prefix_variances(rounds, momentum).mean())
    impulse = np.zeros(rounds)
    impulse[0] = 1
    numerator, denominator = _transfer(correlation)
    running = np.cumsum(lfilter(denominator, numerator, impulse))
    weights = lfilter([1.0], [1.0, -momentum], running)
    return float(np.dot(weights**2, np.arange(rounds, 0, -1)) / rounds)


def _transfer(correlation: BandedToeplitz | BufferedLinearToeplitz) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return C as a quotient of polynomials in the shift: numerator, denominator, lowest power first."""
    if isinstance(correlation, BandedToeplitz):
        return np.array(correlation.coefficients), np.ones(1)
    factors = [np.array([1.0, -decay]) for decay in correlation.decays]
    denominator = reduce(np.convolve, factors)
    numerator = denominator.copy()
    for index, scale in enumerate(correlation.scales):
        others = reduce(np.convolve, factors[:index] + factors[index + 1 :], np.ones(1))
        numerator[1:] += scale * others
    return numerator, denominator
