"""Two slow steps of dp-accounting's privacy loss distributions, computed faster and alike to the last bit.

A report asks one distribution, composed with itself many numbers of times, for epsilon at many deltas. The library
takes the moments behind its truncation anew each time, and walks down the losses one by one in Python. Here the moments
are kept, and the walk goes by arrays. Equality with the library is a test, so that a release of it that computes
otherwise is noticed; reports state that library's figures.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from numpy.typing import NDArray
from scipy import fft, special

Floats = NDArray[np.float64]

_TRUNCATED = 1e-15
"""The mass that composing with itself may cut off, as the library has it."""
_CHUNK = 4096
_NEAR = 1e-9
"""Where numpy's logarithm is this close, Python's decides: the two differ in the last bit."""
_LARGEST_EXPONENT = 709.0


def self_compose(distribution: PrivacyLossDistribution, times: int) -> PrivacyLossDistribution:
    """Return the distribution of so many losses in a row, as its method of this name does.

    Args:
        distribution: of one loss.
        times: how often it happens, at least 1.
    """
    removed = _self_composed(distribution._pmf_remove, times)
    if distribution._symmetric:
        return PrivacyLossDistribution(removed)
    return PrivacyLossDistribution(removed, _self_composed(distribution._pmf_add, times))


def epsilon_for_delta(distribution: PrivacyLossDistribution, delta: float) -> float:
    """Return the least epsilon >= 0 at delta, as the method `get_epsilon_for_delta` does; inf if there is none."""
    removed = _epsilon(distribution._pmf_remove, delta)
    return removed if distribution._symmetric else max(removed, _epsilon(distribution._pmf_add, delta))


def _self_composed(pmf: pld_pmf.PLDPmf, times: int) -> pld_pmf.PLDPmf:
    if not isinstance(pmf, pld_pmf.DensePLDPmf):
        return pmf.self_compose(times)
    first, last = _bounds(pmf, times)
    length = last - first + 1
    fast = fft.next_fast_len(max(length, pmf.size))
    wrapped = np.real(fft.ifft(fft.fft(pmf._probs, fast) ** times))
    infinity = _TRUNCATED - math.expm1(times * math.log1p(-pmf._infinity_mass))
    probabilities = np.roll(wrapped, -first)[:length]
    lowest = pmf._lower_loss * times + first
    return pld_pmf.DensePLDPmf(pmf._discretization, lowest, probabilities, infinity, pmf._pessimistic_estimate)


def _bounds(pmf: pld_pmf.DensePLDPmf, times: int) -> tuple[int, int]:
    """Return the first and the last place that Chernoff's bound does not cut off."""
    first, last = 0, (pmf.size - 1) * times
    for order, moment in _log_moments(pmf):
        bound = (times * moment + math.log(2 / _TRUNCATED)) / order
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
    orders = np.concatenate((np.arange(-20, 0), np.arange(1, 21))) / pmf.size
    return [(order, special.logsumexp(places * order, b=pmf._probs)) for order in orders]


def _epsilon(pmf: pld_pmf.PLDPmf, delta: float) -> float:
    """Return epsilon in one direction, adding up masses from the largest loss down, chunk by chunk."""
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
    """Return Python's exponential of each value, which differs from numpy's in the last bit."""
    if rising[-1] < _LARGEST_EXPONENT:
        return np.array(list(map(math.exp, rising.tolist())))
    return np.array([math.exp(value) if value < _LARGEST_EXPONENT else math.inf for value in rising.tolist()])
