"""Noise that is correlated from round to round: what it is, and what one device can change under participation limits.

The server releases, in effect, C x + z: x are the rounds' sums, z is independent N(0, sigma^2), and C is lower
triangular with non-negative entries (matrix factorisation, Denisov et al. 2022; DP-FTRL, Kairouz et al. 2021). That is
one Gaussian mechanism of mu = sensitivity / sigma, also when rounds are chosen adaptively.

Participation. A device contributes a vector of norm at most 1 in at most `max_participations` rounds, of which any two
are at least `min_separation` apart: rounds i < j with j - i >= min_separation. As C is non-negative, contributions in
one and the same direction are the worst (Choquette-Choo et al. 2023, Corollary 2.1).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from privacy.canonical import Frozen

_ROUNDING = 1 + 1e-9
"""More than the rounding errors of any of the sums here."""

Coefficient = Annotated[float, Field(ge=0, le=1)]


class BandedToeplitz(Frozen):
    """C[i, j] = coefficients[i - j], and 0 beyond them (Choquette-Choo et al. 2023, banded factorisation)."""

    kind: Literal["banded_toeplitz"] = "banded_toeplitz"
    coefficients: tuple[Coefficient, ...] = Field(min_length=1, max_length=4096)

    @model_validator(mode="after")
    def _falling_from_one(self) -> BandedToeplitz:
        if self.coefficients[0] != 1 or any(later > earlier for earlier, later in pairwise(self.coefficients)):
            raise ValueError("coefficients: expected 1 and then none above the one before")
        return self


class BufferedLinearToeplitz(Frozen):
    """C[i, j] = sum_b scales[b] decays[b]^(i - j - 1) below a diagonal of ones (Dvijotham et al. 2024)."""

    kind: Literal["blt"] = "blt"
    scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(min_length=1, max_length=64)
    decays: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _falling_from_one(self) -> BufferedLinearToeplitz:
        if len(self.scales) != len(self.decays):
            raise ValueError(f"decays: expected {len(self.scales)}, one a scale, got {len(self.decays)}")
        if sum(self.scales) > 1:
            raise ValueError(
                f"scales: expected a sum of at most 1, so that no coefficient rises, got {sum(self.scales)}"
            )
        return self


class BinaryTree(Frozen):
    """Every complete node of a binary tree over the rounds is noised (Kairouz et al. 2021, Honaker's estimator)."""

    kind: Literal["tree"] = "tree"


Correlation = Annotated[BandedToeplitz | BufferedLinearToeplitz | BinaryTree, Field(discriminator="kind")]


def toeplitz_coefficients(correlation: BandedToeplitz | BufferedLinearToeplitz, rounds: int) -> NDArray[np.float64]:
    """The first column of C: float64[rounds]."""
    column = np.zeros(rounds)
    if isinstance(correlation, BandedToeplitz):
        given = correlation.coefficients[:rounds]
        column[: len(given)] = given
        return column
    powers = np.arange(rounds - 1)
    for scale, decay in zip(correlation.scales, correlation.decays, strict=True):
        column[1:] += scale * np.power(decay, powers)
    column[:1] = 1
    return column


def squared_sensitivity(correlation: Correlation, rounds: int, min_separation: int, max_participations: int) -> float:
    """The largest squared norm of what one device can change in `rounds` rounds of C x, rounded up.

    Grows with `rounds`. For a Toeplitz C that falls, the worst device takes part in rounds 1, 1 + b, 1 + 2 b, ...
    (Kalinin and Lampert 2024, Theorem 2); for the tree, the worst of all patterns is searched for.

    Raises:
        ValueError: when an argument is below 1.
    """
    for name, value in (
        ("rounds", rounds),
        ("min_separation", min_separation),
        ("max_participations", max_participations),
    ):
        if value < 1:
            raise ValueError(f"{name}: expected 1 or more, got {value}")
    if isinstance(correlation, BinaryTree):
        return float(_WorstPattern(rounds, min_separation).most(max_participations))
    return float(_toeplitz_by_round(correlation, rounds, min_separation, max_participations)[-1]) * _ROUNDING


@lru_cache(maxsize=64)
def _toeplitz_by_round(
    correlation: BandedToeplitz | BufferedLinearToeplitz, rounds: int, min_separation: int, max_participations: int
) -> NDArray[np.float64]:
    """The squared norm over the first 1, 2, ... rounds."""
    column = toeplitz_coefficients(correlation, rounds)
    last = min_separation * max_participations
    once = column.copy()
    once[last:] -= column[: max(0, rounds - last)]
    padded = np.zeros(-(-rounds // min_separation) * min_separation)
    padded[:rounds] = once
    changed = np.cumsum(padded.reshape(-1, min_separation), axis=0).ravel()[:rounds]
    return np.cumsum(changed**2)


_Front = dict[int, int]
"""The last round taken part in, to the largest sum of squares with it."""


class _WorstPattern:
    """The participations that hit the complete nodes of a tree over rounds 0 to rounds - 1 the hardest.

    A node that holds m participations counts m^2. Within one node, with m given, only where the last of them lies
    matters to what follows: so each node yields, by m, the best value for each last round.
    """

    def __init__(self, rounds: int, separation: int) -> None:
        self._rounds, self._separation = rounds, separation
        self._seen: dict[tuple[int, int, int, int], _Front] = {}

    def most(self, participations: int) -> int:
        height = max(0, (self._rounds - 1).bit_length())
        fitting = range(min(participations, -(-self._rounds // self._separation)) + 1)
        return max(max(self._node(height, 0, 0, count).values(), default=0) for count in fitting)

    def _node(self, height: int, start: int, earliest: int, count: int) -> _Front:
        """Exactly `count` participations in rounds `start` to `start + 2^height - 1`, none before `earliest`.

        With none, the last round is taken as just so early that nothing is held up: `earliest - separation`.
        """
        size, earliest = 1 << height, max(earliest, start)
        if count == 0:
            return {earliest - self._separation: 0}
        if start >= self._rounds or earliest + (count - 1) * self._separation >= min(start + size, self._rounds):
            return {}
        complete = start + size <= self._rounds
        if complete and size <= self._separation:
            return {earliest: height + 1}
        key = (height, 0 if complete else start, earliest - start, count)
        if key not in self._seen:
            self._seen[key] = self._shifted(self._split(height, start, earliest, count, complete=complete), -start)
        return self._shifted(self._seen[key], start)

    def _split(self, height: int, start: int, earliest: int, count: int, *, complete: bool) -> _Front:
        own = count * count if complete else 0
        if height == 0:
            return {start: own} if count == 1 else {}
        found: _Front = {}
        middle = start + (1 << (height - 1))
        for left in range(count + 1):
            for last, value in self._node(height - 1, start, earliest, left).items():
                for end, more in self._node(height - 1, middle, last + self._separation, count - left).items():
                    found[end] = max(found.get(end, 0), value + more + own)
        return _best(found)

    @staticmethod
    def _shifted(front: _Front, by: int) -> _Front:
        return {last + by: value for last, value in front.items()}


def _best(found: _Front) -> _Front:
    """Without what is both later and no better."""
    kept: _Front = {}
    best = -1
    for last in sorted(found):
        if found[last] > best:
            best = kept[last] = found[last]
    return kept
