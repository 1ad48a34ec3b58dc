"""What a Poisson run costs, computed once more with nothing of the product: the oracle of its accounting.

Everything is from first principles: how often a release hinges on one device by adding up binomial terms in logarithms,
and the composition by convolving losses on a grid of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr

Array = NDArray[np.float64]

_GRID_POINTS = 1 << 17


@dataclass(frozen=True)
class Round:
    """One released round.

    Attributes:
        rate: the coin of each device.
        noise: the noise's standard deviation over the sensitivity.
        hinged: the probability that the release hinged on the device.
    """

    rate: float
    noise: float
    hinged: float


def hinged(within_reach: int, rate: float, least: int, lost: float = 0.0) -> float:
    """P[drawn, and the last of `least` in the sum] / P[released], for a device that is never lost itself.

    Args:
        within_reach: devices that coins are thrown for, the device among them.
        rate: of the coin.
        least: fewest devices in a sum.
        lost: the probability with which each other device that is drawn is lost.
    """
    others, in_sum = within_reach - 1, rate * (1 - lost)
    counts = np.arange(others + 1)
    logs = (
        gammaln(others + 1)
        - gammaln(counts + 1)
        - gammaln(others - counts + 1)
        + counts * math.log(in_sum)
        + (others - counts) * math.log1p(-in_sum)
    )
    chances = np.exp(logs)
    alone = rate * float(chances[least - 1])
    return alone / (float(chances[least:].sum()) + alone)


def epsilon(rounds: Mapping[Round, int], delta: float) -> tuple[float, float]:
    """The epsilon of rounds in a row, each the mixture of a certain and a sampled round, at delta.

    Args:
        rounds: how often each happened.
        delta: of the guarantee.

    Returns:
        A bound from above, and how far above the truth it may be: by how much half the grid makes it larger.
    """
    fine, coarse = (
        max(_epsilon(rounds, delta, points, added=added) for added in (False, True))
        for points in (_GRID_POINTS, _GRID_POINTS // 2)
    )
    return fine, abs(coarse - fine) + 1e-6


def _epsilon(rounds: Mapping[Round, int], delta: float, points: int, *, added: bool) -> float:
    """Bound epsilon by losses at points, every cell's two masses shared out between its ends so that both are kept."""
    span = 1.3 * _span(rounds, delta) + 1.0
    edges = (np.arange(points + 1) - points // 2) * (2 * span / points)
    transform = np.ones(points // 2 + 1, np.complex128)
    for one, times in rounds.items():
        here, there = (np.diff(below) for below in _below(edges, one, added=added))
        lower = (there - here * np.exp(-edges[1:])) / (np.exp(-edges[:-1]) - np.exp(-edges[1:]))
        lower = np.clip(lower, 0, here)
        masses = np.zeros(points)
        masses += lower
        masses[1:] += (here - lower)[:-1]
        transform *= np.fft.rfft(np.roll(masses, -(points // 2))) ** times
    masses, losses = np.roll(np.fft.irfft(transform, points), points // 2), edges[:-1]
    low, high = 0.0, span
    for _ in range(50):
        middle = (low + high) / 2
        over = losses > middle
        spent = float(masses[over] @ -np.expm1(middle - losses[over]))
        low, high = (middle, high) if spent > delta else (low, middle)
    return high


def _span(rounds: Mapping[Round, int], delta: float) -> float:
    """More than epsilon: what it is with every device in every round, up to 60; and more than any one loss."""
    mu = math.sqrt(sum(times / one.noise**2 for one, times in rounds.items()))
    largest = max(1 / one.noise for one in rounds)
    together = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))
    return max(min(40.0, together), largest * largest / 2 + 8 * largest)


def _below(loss: Array, one: Round, *, added: bool) -> tuple[Array, Array]:
    """P[the loss of one round is at most so much], in the world that it is of, and in the other one."""
    mu = 1 / one.noise
    certain = ndtr((loss - mu * mu / 2) / mu), ndtr((loss + mu * mu / 2) / mu)
    odds = np.expm1(-loss if added else loss) + one.rate
    where = np.full(loss.shape, -np.inf)
    possible = odds > 0
    where[possible] = (np.log(odds[possible] / one.rate) + mu * mu / 2) / mu
    without = ndtr(where)
    drawn = (1 - one.rate) * without + one.rate * ndtr(where - mu)
    sampled = (1 - without, 1 - drawn) if added else (drawn, without)
    here, there = (one.hinged * sure + (1 - one.hinged) * free for sure, free in zip(certain, sampled, strict=True))
    return here, there
