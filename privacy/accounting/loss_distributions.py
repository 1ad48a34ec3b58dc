"""Two slow steps of dp-accounting's privacy loss distributions, computed faster and alike to the last bit; and a third.

A report asks one distribution, composed with itself many numbers of times, for epsilon at many deltas. The library
takes the moments behind its truncation anew each time, and walks down the losses one by one in Python. Here the moments
are kept, and the walk goes by arrays. Equality with the library is a test, so that a release of it that computes
otherwise is noticed; reports state that library's figures.

The third composes mixtures of a sampled and an unsampled round, each with a weight of its own: thousands of rounds have
hundreds of weights, so the two distributions are transformed once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from dp_accounting.pld import pld_pmf
from numpy.typing import NDArray
from scipy import fft, special

Floats = NDArray[np.float64]

_STEEPEST = 709.0
"""An exponent that floats still take."""

TRUNCATED = 1e-15
"""The mass that composing with itself may cut off, as the library has it."""
_ORDERS = 20
"""Orders of the moments behind that, in each direction, as the library has them."""
_CHUNK = 4096
_NEAR = 1e-9
"""Where numpy's logarithm is this close, Python's decides: the two differ in the last bit."""
_NOTHING, _LOG_NOTHING = 1e-300, -80.0
"""Parts of a transform below exp(-80) together change no probability by more than floats do."""


def self_compose(pmf: pld_pmf.PLDPmf, times: int) -> pld_pmf.PLDPmf:
    """Return the distribution of so many losses in a row, as its method of this name does.

    Args:
        pmf: of one loss.
        times: how often it happens, at least 1.
    """
    if not isinstance(pmf, pld_pmf.DensePLDPmf):
        return pmf.self_compose(times, TRUNCATED)
    first, last = _bounds(pmf, times)
    length = last - first + 1
    fast = fft.next_fast_len(max(length, pmf.size))
    wrapped = np.real(fft.ifft(fft.fft(pmf._probs, fast) ** times))
    infinity = TRUNCATED - math.expm1(times * math.log1p(-pmf._infinity_mass))
    probabilities = np.roll(wrapped, -first)[:length]
    lowest = pmf._lower_loss * times + first
    return pld_pmf.DensePLDPmf(pmf._discretization, lowest, probabilities, infinity, pmf._pessimistic_estimate)


def most_epsilon(pmf: pld_pmf.PLDPmf, times: int, delta: float) -> float:
    """Return what no epsilon at delta of so many losses in a row is above: each of them the largest.

    Args:
        pmf: of one loss.
        times: how often it happens, at least 1.
        delta: between 0 and 1.

    Returns:
        At least 0; inf where losses without bound may take up half of delta.
    """
    dense = pmf.to_dense_pmf()
    if TRUNCATED + times * dense._infinity_mass > delta / 2:
        return math.inf
    return max(0.0, float((dense._lower_loss + dense.size - 1) * dense._discretization * times))


def deltas_for_epsilons(pmf: pld_pmf.PLDPmf, epsilons: Floats) -> Floats:
    """Return the hockey-stick divergence at each epsilon, as the method `get_delta_for_epsilon` does, by arrays.

    Sums are added up in another order than in the library, so the last bits may differ.

    Args:
        pmf: of the loss in one direction.
        epsilons: float64[n], 0 or more.

    Returns:
        float64[n].
    """
    dense = pmf.to_dense_pmf()
    losses = (np.arange(dense.size) + dense._lower_loss) * dense._discretization
    first = np.searchsorted(losses, epsilons, side="right")
    above = losses > 0
    weighted = np.zeros(dense.size)
    weighted[above] = dense._probs[above] * np.exp(-losses[above])
    upper, lower = (np.append(np.cumsum(mass[::-1])[::-1], 0.0)[first] for mass in (dense._probs, weighted))
    taken = np.where(lower > 0, np.exp(np.minimum(epsilons, _STEEPEST)) * lower, 0.0)
    return np.asarray(dense._infinity_mass + np.maximum(0.0, upper - taken), np.float64)


def compose_mixtures(
    sampled: pld_pmf.PLDPmf, certain: pld_pmf.PLDPmf, weights: Sequence[tuple[float, int]]
) -> pld_pmf.DensePLDPmf:
    """Return the distribution of rounds in a row, each the mixture of two whose component is known.

    The privacy loss of such a mixture is distributed as the mixture of the components' losses; if each bounds a
    component from above, or from below, so does the result. There is one Fourier transform a component, and a product
    at those frequencies where anything is left of it.

    Args:
        sampled: of the round as it is sampled.
        certain: of the round with the device in it for certain, the same when it is added as when it is removed.
        weights: the probability of `certain` in a round, more than 0 and less than 1, and how many rounds have it.
    """
    lowest, components = _aligned(sampled.to_dense_pmf(), certain.to_dense_pmf())
    probabilities = np.array([weight for weight, _ in weights])
    times = np.array([count for _, count in weights])
    first, last = _mixture_bounds(components, probabilities, times)
    length = last - first + 1
    fast = fft.next_fast_len(max(length, components.shape[1]), real=True)
    free, surely = fft.rfft(components, fast)
    most = np.log(np.abs(free) * (1 - probabilities.min()) + np.abs(surely) * probabilities.max() + _NOTHING)
    kept = times.sum() * most > _LOG_NOTHING
    free, surely = free[kept], surely[kept]
    product = np.ones(free.size, np.complex128)
    for probability, count in zip(probabilities, times, strict=True):
        product *= (free + probability * (surely - free)) ** count
    transform = np.zeros(kept.size, np.complex128)
    transform[kept] = product
    composed = np.roll(fft.irfft(transform, fast), -first)[:length]
    infinities = (1 - probabilities) * sampled._infinity_mass + probabilities * certain._infinity_mass
    infinity = TRUNCATED - math.expm1(float(times @ np.log1p(-infinities)))
    start = lowest * int(times.sum()) + first
    return pld_pmf.DensePLDPmf(sampled._discretization, start, composed, infinity, sampled._pessimistic_estimate)


def _aligned(left: pld_pmf.DensePLDPmf, right: pld_pmf.DensePLDPmf) -> tuple[int, Floats]:
    """Return the lowest loss of two distributions, in steps of the grid, and both from there on: float64[2, size]."""
    lowest = min(left._lower_loss, right._lower_loss)
    size = max(pmf._lower_loss + pmf.size for pmf in (left, right)) - lowest
    both = np.zeros((2, size))
    for row, pmf in zip(both, (left, right), strict=True):
        start = pmf._lower_loss - lowest
        row[start : start + pmf.size] = pmf._probs
    return lowest, both


def _mixture_bounds(components: Floats, probabilities: Floats, times: NDArray[np.int64]) -> tuple[int, int]:
    """Return the first and the last place that Chernoff's bound does not cut off, as `_bounds` does for one weight."""
    size, rounds = components.shape[1], int(times.sum())
    first, last = 0, (size - 1) * rounds
    slope = np.exp(np.arange(size) / size)
    for sign, factor in ((1, slope), (-1, 1 / slope)):
        tilted = components
        for order in range(1, _ORDERS + 1):
            tilted = tilted * factor
            free, surely = tilted.sum(axis=1)
            moments = np.log((1 - probabilities) * free + probabilities * surely)
            bound = (float(times @ moments) + math.log(2 / TRUNCATED)) * size / order
            if sign > 0:
                last = min(last, math.ceil(bound))
            else:
                first = max(first, math.floor(-bound))
    return first, last


def _bounds(pmf: pld_pmf.DensePLDPmf, times: int) -> tuple[int, int]:
    """Return the first and the last place that Chernoff's bound does not cut off."""
    first, last = 0, (pmf.size - 1) * times
    for order, moment in _log_moments(pmf):
        bound = (times * moment + math.log(2 / TRUNCATED)) / order
        if not math.isfinite(bound):
            continue
        if order > 0:
            last = min(last, math.ceil(bound))
        else:
            first = max(first, math.floor(bound))
    return first, last


@lru_cache(maxsize=32)
def _log_moments(pmf: pld_pmf.DensePLDPmf) -> list[tuple[float, float]]:
    """Return pairs of an order and the logarithm of the moment-generating function there."""
    places = np.arange(pmf.size)
    orders = np.concatenate((np.arange(-_ORDERS, 0), np.arange(1, _ORDERS + 1))) / pmf.size
    return [(order, special.logsumexp(places * order, b=pmf._probs)) for order in orders]


def epsilon_for_delta(pmf: pld_pmf.PLDPmf, delta: float) -> float:
    """Return the least epsilon >= 0 at delta, as the method `get_epsilon_for_delta` does; inf if there is none.

    Masses are added up from the largest loss down, chunk by chunk.
    """
    if not isinstance(pmf, pld_pmf.DensePLDPmf):
        return float(pmf.get_epsilon_for_delta(delta))
    if pmf._infinity_mass > delta:
        return math.inf
    upper, lower = pmf._infinity_mass, 0.0
    losses, probabilities = _falling_losses(pmf), np.flip(pmf._probs)
    for start in range(0, pmf.size, _CHUNK):
        loss, probability = losses[start : start + _CHUNK], probabilities[start : start + _CHUNK]
        uppers = np.cumsum(np.concatenate([[upper], probability]))
        lowers = np.cumsum(np.concatenate([[lower], _exponentials(-loss) * probability]))
        for place in _candidates(uppers, lowers, loss, delta):
            upper, lower = uppers[place], lowers[place]
            if upper > delta and lower > 0 and math.log((upper - delta) / lower) >= loss[place]:
                return _solved(upper, lower, delta)
            if uppers[place + 1] >= delta and lowers[place + 1] == 0:
                return max(0.0, float(loss[place]))
        upper, lower = uppers[-1], lowers[-1]
    return _solved(upper, lower, delta)


def _candidates(uppers: Floats, lowers: Floats, loss: Floats, delta: float) -> NDArray[np.int64]:
    """Return the places where the walk may end: all where it does, and a few beside."""
    before, under = uppers[:-1], lowers[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = (before > delta) & (under > 0) & (np.log((before - delta) / under) >= loss - _NEAR)
    return np.flatnonzero(crossed | ((uppers[1:] >= delta) & (lowers[1:] == 0)))


def _solved(upper: float, lower: float, delta: float) -> float:
    return 0.0 if upper <= lower + delta else math.log((upper - delta) / lower)


def _falling_losses(pmf: pld_pmf.DensePLDPmf) -> Floats:
    """Return the grid's losses from the largest down, float64[size], by repeated subtraction like the library."""
    steps = np.full(pmf.size, -pmf._discretization)
    steps[0] = (pmf._lower_loss + pmf.size - 1) * pmf._discretization
    return np.cumsum(steps)


def _exponentials(rising: Floats) -> Floats:
    """Return Python's exponential of each value, which differs from numpy's in the last bit; inf where none fits.

    The inverse Box-Cox transformation at 0 is the C library's exponential, as Python's is, over a whole array.
    """
    with np.errstate(over="ignore"):
        return np.asarray(special.inv_boxcox(rising, 0.0))
