"""The privacy loss distribution of one Gaussian round on a grid: dp-accounting's, by arrays and alike to the last bit.

The library inverts the privacy loss at one point of the grid after another in Python, which is nine tenths of the time
that a plan takes. Here all points are inverted at once, by the same functions of the same library numpy and scipy, so
that every probability is the one that it computes; equality is a test. Everything else remains the library's: where
tails are cut off, cumulative distributions, and how points become a bound (connect-the-dots, Doroshenko et al. 2022,
from above; losses rounded down, Koskela et al. 2020, from below).
"""

from __future__ import annotations

import math

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CLOSE = 1e-9
"""How close a loss is to the end of those that occur, relative to either, for the library to take it as there."""
_RISE = 1e-12
"""By how much a delta may lie above that of a smaller epsilon: the library's allowance for floats."""
_FEW = 1000
"""Losses up to which the library keeps them as a mapping."""


def gaussian_losses(
    noise_multiplier: float, rate: float, grid: float, *, pessimistic: bool, added: bool
) -> pld_pmf.PLDPmf:
    """Return the distribution of a round's privacy loss in one direction, as in `from_gaussian_mechanism` there.

    Args:
        noise_multiplier: standard deviation of the noise over the L2 sensitivity, more than 0.
        rate: probability with which a device is in the round, more than 0 and at most 1.
        grid: width of the grid of losses.
        pessimistic: whether it bounds every delta from above, or else from below.
        added: whether the device is added, or else removed: the same where it is in the round for certain.

    Raises:
        ValueError: when floats give out, so that deltas rise with epsilon.
    """
    loss = _SampledLoss(
        noise_multiplier,
        pessimistic_estimate=pessimistic,
        sampling_prob=rate,
        adjacency_type=AdjacencyType.ADD if added and rate < 1 else AdjacencyType.REMOVE,
    )
    return _dots_connected(loss, grid) if pessimistic else _rounded_down(loss, grid)


class _SampledLoss(GaussianPrivacyLoss):  # type: ignore[misc]
    """The library's, with methods for arrays beside those for numbers."""

    def inverses(self, losses: Floats) -> Floats:
        """Return where each loss occurs: the largest x with at least that loss.

        Args:
            losses: float64[n], below -log(1 - rate) where the device is added and above log(1 - rate) where removed.

        Returns:
            float64[n].
        """
        sign = -1.0 if self.adjacency_type == AdjacencyType.ADD else 1.0
        rate, unsampled = self.sampling_prob, losses
        if rate < 1:
            unsampled = sign * _log_of_sum(1 / rate, sign * losses, 1 - 1 / rate)
            end = sign * math.log(1 - rate)
            at_end = np.abs(losses - end) <= _CLOSE * np.maximum(np.abs(losses), abs(end))
            unsampled = np.where(at_end, -sign * math.inf, unsampled)
        at = self._inverse_privacy_loss_without_subsampling_remove(unsampled)
        return np.asarray(self.sensitivity + at if sign < 0 else at)

    def deltas(self, epsilons: Floats) -> Floats:
        """Return the least delta at each epsilon: float64[n], from 0 to 1.

        There is none to pay above the largest loss, and below the least one delta is 1 - exp(epsilon).
        """
        deltas = np.zeros_like(epsilons)
        occurs = np.ones(epsilons.shape, bool)
        if self.sampling_prob < 1 and self.adjacency_type == AdjacencyType.ADD:
            occurs = epsilons < -math.log1p(-self.sampling_prob)
        elif self.sampling_prob < 1:
            occurs = epsilons > math.log1p(-self.sampling_prob)
            deltas[~occurs] = -np.expm1(epsilons[~occurs])
        at = self.inverses(epsilons[occurs])
        deltas[occurs] = self.mu_upper_cdf(at) - np.exp(epsilons[occurs] + self.mu_lower_log_cdf(at))
        return np.clip(deltas, 0, 1)


def _log_of_sum(factor: float, exponents: Floats, constant: float) -> Floats:
    """Return log(factor * exp(exponents) + constant), with a factor above and a constant below 0: float64[n]."""
    first, second = exponents + np.log(factor), np.log(-constant)
    with np.errstate(divide="ignore", invalid="ignore"):  # at the end of the losses that occur
        return np.asarray(
            np.where(exponents == 0, np.log(factor + constant), first + np.log1p(-np.exp(second - first)))
        )


def _dots_connected(loss: _SampledLoss, grid: float) -> pld_pmf.PLDPmf:
    """Bound every delta from above by straight lines in exp(epsilon) between those on the grid (Algorithm 1 there).

    Raises:
        ValueError: when deltas rise with epsilon, by more than floats explain.
    """
    bounds = loss.connect_dots_bounds()
    lowest, highest = math.floor(bounds.epsilon_lower / grid), math.ceil(bounds.epsilon_upper / grid)
    deltas = loss.deltas(np.arange(lowest, highest + 1) * grid)
    if (np.diff(deltas) > _RISE).any():
        raise ValueError("deltas: expected none above that of a smaller epsilon, got some")
    deltas = np.minimum.accumulate(deltas)
    falls, step = np.diff(deltas), math.expm1(grid)
    masses = np.concatenate(
        [
            [1 - deltas[0] + falls[0] / step],
            (falls[1:] - falls[:-1] * math.exp(grid)) / step,
            [falls[-1] / math.expm1(-grid)],
        ]
    )
    return _on_grid(lowest, np.maximum(0.0, masses), grid, deltas[-1], pessimistic=True)


def _rounded_down(loss: _SampledLoss, grid: float) -> pld_pmf.PLDPmf:
    """Bound every delta from below: each loss becomes the next lower one of the grid, and one tail is left out."""
    tail = loss.privacy_loss_tail()
    first, last = tail.lower_x_truncation, tail.upper_x_truncation
    highest, least = math.floor(loss.privacy_loss(first) / grid), loss.privacy_loss(last)
    steps = np.arange(highest, math.floor(least / grid) - 2, -1)
    at = loss.inverses(grid * steps[grid * steps > least])
    at = at[: int(np.argmax(at >= last))] if (at >= last).any() else at
    masses = np.diff(loss.mu_upper_cdf(np.concatenate([[first], at, [last]])))
    masses[0] += loss.mu_upper_cdf(first)
    return _on_grid(highest - masses.size + 1, masses[::-1], grid, 0.0, pessimistic=False)


def _on_grid(lowest: int, masses: Floats, grid: float, infinity: float, *, pessimistic: bool) -> pld_pmf.PLDPmf:
    """Return the library's distribution of losses from `lowest` steps of the grid on; of few, its class for few."""
    if masses.size > _FEW:
        return pld_pmf.DensePLDPmf(grid, lowest, masses, infinity, pessimistic)
    losses = dict(enumerate(masses.tolist(), lowest))
    return pld_pmf.create_pmf(losses, grid, infinity, pessimistic_estimate=pessimistic)
