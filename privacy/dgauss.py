"""The discrete Gaussian on the integers, sampled from uniform bits by inversion of an exactly computed table.

Canonne, Kamath and Steinke 2020 define it: P[X = x] proportional to exp(-x^2 / (2 sigma^2)). No floating-point
number touches the draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import Randomness, uniform_words

_BITS = 192
"""Resolution of the cumulative table: the draw is within (number of values) * 2^-192 of exact."""
_COARSE_BITS = 64
_DIGITS = 90
_TAIL = 18
"""The table ends at this many sigmas; P[|X| > 18 sigma] < 2^-231, below the table's resolution."""


@dataclass(frozen=True)
class _Table:
    lowest: int
    cumulative: tuple[int, ...]
    """floor(2^192 * P[X <= lowest + i])."""
    coarse: NDArray[np.uint64]
    """The leading 64 bits of `cumulative`, without its last entry."""


MAX_VARIANCE = 1 << 26
"""Above it the table would take seconds to compute."""


def sample(variance: int, size: int, rng: Randomness) -> NDArray[np.int64]:
    """`size` independent draws with parameter sigma^2 = `variance`: int64[size].

    Raises:
        ValueError: when the variance is not a positive integer up to MAX_VARIANCE.
    """
    if not 1 <= variance <= MAX_VARIANCE:
        raise ValueError(f"variance: expected 1 to {MAX_VARIANCE}, got {variance}")
    table = _table(variance)
    words = uniform_words(rng, size, np.uint64).astype(np.uint64)
    places = np.searchsorted(table.coarse, words, side="right")
    _settle_ties(table, words, places, rng)
    return places + table.lowest


def _settle_ties(table: _Table, words: NDArray[np.uint64], places: NDArray[np.int64], rng: Randomness) -> None:
    """Draws whose 64 bits equal a table entry's need more bits: about one in 2^64 per table entry."""
    before = np.maximum(places - 1, 0)
    for i in np.flatnonzero(table.coarse[before] == words):
        extra = int.from_bytes(rng.token((_BITS - _COARSE_BITS) // 8), "little")
        draw = (int(words[i]) << (_BITS - _COARSE_BITS)) | extra
        places[i] = next(place for place, bound in enumerate(table.cumulative) if draw < bound)


@lru_cache(maxsize=8)
def _table(variance: int) -> _Table:
    tail = math.isqrt(_TAIL**2 * variance)
    weights = _weights(variance, tail)
    whole = weights[0] + 2 * sum(weights[1:])
    cumulative, running = [], 0
    for value in range(-tail, tail + 1):
        running += weights[abs(value)]
        cumulative.append((running << _BITS) // whole)
    coarse = np.array([bound >> (_BITS - _COARSE_BITS) for bound in cumulative[:-1]], np.uint64)
    return _Table(-tail, tuple(cumulative), coarse)


def _weights(variance: int, tail: int) -> list[int]:
    """2^256 * exp(-x^2 / (2 variance)) for x = 0 to tail, by w(x+1) / w(x) = exp(-(2x + 1) / (2 variance))."""
    with localcontext(Context(prec=_DIGITS)):
        ratio = (Decimal(-1) / (2 * variance)).exp()
        squared = ratio * ratio
        weight, weights = Decimal(1), []
        for _ in range(tail + 1):
            weights.append(int(weight * (1 << 256)))
            weight, ratio = weight * ratio, ratio * squared
    return weights


def standard_tail(bits: int, draws: int) -> float:
    """How many sigmas a Gaussian-tailed value stays within, `draws` times, but for probability 2^-bits."""
    return math.sqrt(2 * math.log(2 * max(draws, 1)) + 2 * bits * math.log(2))
