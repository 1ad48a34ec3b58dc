"""The discrete Gaussian on the integers, sampled from uniform bits by the alias method in exact integers.

Canonne, Kamath and Steinke 2020 define it: P[X = x] proportional to exp(-x^2 / (2 sigma^2)). Walker 1977 cuts a
distribution into equal cells of at most two values each, and Vose 1991 builds them. The masses are multiples of
2^-192 that sum to exactly 1, and no floating-point number touches the draw: it is within 2^-160 of the definition in
total variation. A deviation too large for one table is drawn as `stretch` * X + Y from two (Peikert 2010, Theorem 3.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.base.randomness import Randomness, uniform_words

_LANE = 16
"""A draw takes one 32-bit word: its low lane picks a cell, its high lane has the leading bits of the coin."""
_CELLS = 1 << _LANE
_COIN_BITS = 176
_REST_BITS = _COIN_BITS - _LANE
_CELL_MASS = 1 << _COIN_BITS
"""What each cell holds of the total mass 2^192."""
_CHUNK = 1 << 15
"""Draws at a time, so that they stay in the processor's cache."""
_DIGITS = 90
_TAIL = 18
"""The table ends at this many sigmas; P[|X| > 18 sigma] < 2^-231, below the table's resolution."""

ONE_TABLE = (_CELLS // 2) ** 2 // _TAIL**2
"""The largest variance whose values fit the cells: 3,314,017, a sigma of 1,820."""
_SMOOTH = 7
"""Y's variance over stretch^2: X's grid vanishes under it but for a factor within 1 +- 2^-169, see `_split`."""
_MAX_STRETCH = 512
MAX_VARIANCE = ONE_TABLE * _MAX_STRETCH**2
"""The largest variance that two tables reach: a sigma of 932,000."""


@dataclass(frozen=True)
class _Table:
    """Cell i gives the value `lowest` + i when its coin, below 2^176, is under thresholds[i], else its alias's."""

    lowest: int
    thresholds: tuple[int, ...]
    packed: NDArray[np.uint32]
    """Leading 16 bits of each cell's threshold, then its alias, laid out like a draw's word."""


def sample(variance: int, size: int, rng: Randomness) -> NDArray[np.int64]:
    """Draw from the discrete Gaussian of parameter sigma^2 = `variance` (Canonne, Kamath and Steinke 2020).

    Formal guarantee: a draw is within 2^-160 of the definition in total variation. Above ONE_TABLE it is the sum of two
    such draws, and probabilities change by another factor within 1 +- 2^-169 (Peikert 2010, Theorem 3.1).

    Args:
        variance: sigma^2, 1 to MAX_VARIANCE.
        size: how many independent draws.
        rng: source of the bits.

    Returns:
        int64[size].

    Raises:
        ValueError: when the variance is not a positive integer up to MAX_VARIANCE, or the size is negative.
    """
    if not 1 <= variance <= MAX_VARIANCE:
        raise ValueError(f"variance: expected 1 to {MAX_VARIANCE}, got {variance}")
    if size < 0:
        raise ValueError(f"size: expected at least 0, got {size}")
    if variance <= ONE_TABLE:
        return _draw(variance, size, rng)
    stretch, coarse, fine = _split(variance)
    draws = _draw(coarse, size, rng)
    draws *= stretch
    draws += _draw(fine, size, rng)
    return draws


def _split(variance: int) -> tuple[int, int, int]:
    """Return stretch and the variances of X and Y, with stretch^2 * X's + Y's = variance.

    The sum has the right distribution up to the factor rho(stretch * Z + c) / rho(stretch * Z) for a Gaussian rho of
    variance s^2 = Y's * (1 - Y's / variance), which is within 1 +- 4 exp(-2 pi^2 s^2 / stretch^2) for any c (Micciancio
    and Regev 2007, Lemmas 3.3 and 4.4). Y's is at least 7 stretch^2, so s^2 is above 6 stretch^2: exp(-118).
    """
    stretch = math.isqrt((variance - 1) // ONE_TABLE) + 1
    coarse = variance // stretch**2 - _SMOOTH
    return stretch, coarse, variance - coarse * stretch**2


def _draw(variance: int, size: int, rng: Randomness) -> NDArray[np.int64]:
    table = _table(variance)
    draws = np.empty(size, np.int64)
    for start in range(0, size, _CHUNK):
        _fill(draws[start : start + _CHUNK], table, rng)
    return draws


def _fill(draws: NDArray[np.int64], table: _Table, rng: Randomness) -> None:
    words = uniform_words(rng, draws.size, np.uint32)
    cells = table.packed.take(words & (_CELLS - 1), mode="wrap")
    # A coin under the threshold makes the word the smaller of the two, and the low lane of the smaller is the answer.
    np.add(np.minimum(words, cells) & (_CELLS - 1), table.lowest, out=draws, dtype=np.int64)
    for i in np.flatnonzero((words ^ cells) < _CELLS):
        draws[i] = table.lowest + _settle(table, int(words[i]), rng)


def _settle(table: _Table, word: int, rng: Randomness) -> int:
    """Decide a draw whose coin equals the threshold in its leading bits, one in 2^16, by the other 160 bits."""
    cell = word % _CELLS
    coin = (word >> _LANE) << _REST_BITS | int.from_bytes(rng.token(_REST_BITS // 8), "little")
    return cell if coin < table.thresholds[cell] else int(table.packed[cell]) % _CELLS


@lru_cache(maxsize=4)
def _table(variance: int) -> _Table:
    tail = math.isqrt(_TAIL**2 * variance)
    thresholds, aliases = _alias(_masses(variance, tail))
    packed = [(bound >> _REST_BITS) << _LANE | alias for bound, alias in zip(thresholds, aliases, strict=True)]
    return _Table(-tail, tuple(thresholds), np.array(packed, np.uint32))


def _alias(masses: list[int]) -> tuple[list[int], list[int]]:
    """Return cells' thresholds and aliases for masses that sum to 2^192: light cells are filled up from heavy ones."""
    left, aliases = list(masses), list(range(_CELLS))
    light = [i for i, mass in enumerate(masses) if mass < _CELL_MASS]
    heavy = [i for i, mass in enumerate(masses) if mass > _CELL_MASS]
    while light:
        taker, giver = light.pop(), heavy[-1]
        aliases[taker] = giver
        left[giver] -= _CELL_MASS - left[taker]
        if left[giver] <= _CELL_MASS:
            heavy.pop()
            if left[giver] < _CELL_MASS:
                light.append(giver)
    # A full cell is its own alias, so the threshold 0 serves it as well as 2^176, which would not fit the lane.
    return [mass % _CELL_MASS for mass in left], aliases


def _masses(variance: int, tail: int) -> list[int]:
    """Return 2^192 * P[X = i - tail] for every cell i, rounded down; what rounding left over goes to the mode."""
    half = _weights(variance, tail)
    weights = half[:0:-1] + half
    whole, total = sum(weights), _CELLS * _CELL_MASS
    masses = [weight * total // whole for weight in weights] + [0] * (_CELLS - len(weights))
    masses[tail] += total - sum(masses)
    return masses


def _weights(variance: int, tail: int) -> list[int]:
    """Return 2^256 * exp(-x^2 / (2 variance)) for x = 0 to tail, by w(x+1) = w(x) * exp(-(2x + 1) / (2 variance))."""
    with localcontext(Context(prec=_DIGITS)):
        ratio = (Decimal(-1) / (2 * variance)).exp()
        squared = ratio * ratio
        weight, weights = Decimal(1), []
        for _ in range(tail + 1):
            weights.append(int(weight * (1 << 256)))
            weight, ratio = weight * ratio, ratio * squared
    return weights
