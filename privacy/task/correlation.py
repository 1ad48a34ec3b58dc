"""Noise that is correlated from round to round: what it is, and what one device can change under participation limits.

The server releases, in effect, C x + z: x are the rounds' sums, z is independent N(0, sigma^2), and C is lower
triangular with non-negative entries (matrix factorisation, Denisov et al. 2022; DP-FTRL, Kairouz et al. 2021). That is
one Gaussian mechanism of mu = sensitivity / sigma, also when rounds are chosen adaptively.

Participation. A device contributes a vector of norm at most 1 in at most `max_participations` rounds, of which any two
are at least `min_separation` apart: rounds i < j with j - i >= min_separation. Contributions v_i change C x by a vector
of squared norm sum_ij <C_i, C_j> <v_i, v_j> over the columns C_i. As C is non-negative, so is every <C_i, C_j>, and
contributions in one and the same direction are the worst (Choquette-Choo et al. 2023).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from privacy.base.canonical import Frozen

_MOST_ROUNDS = 1_000_000
_ROUNDING = 1 + 1e-9
"""More than the rounding errors of a Toeplitz norm in `_MOST_ROUNDS` rounds.

With u = 2^-53 and n rounds: a running sum S_p has, after p <= n steps, an error of at most 3 u sum_{q<=p} S_q, as step
q takes away and adds what S_{q-1} and S_q contain. By Cauchy and Schwarz the vector of them is off by at most
3 u (n + 1) / sqrt(2) of its norm, its square by 4.3 u (n + 1). Squaring and adding up costs (n + 1) u more; 64 buffers
at most 160 u in the coefficients, and 128 u as their sum is compared with 1 in floats. Together below (6 n + 400) u,
which is 6.7e-10.
"""
_MOST_SEARCHED = 32
"""Participations up to which the tree's worst pattern is searched for, in milliseconds."""

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
    """Return the first column of C: float64[rounds]."""
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


def dense(correlation: Correlation, rounds: int) -> NDArray[np.float64]:
    """Return C as an array: float64[rounds, rounds]; of a tree, with a row for each complete node."""
    places = np.arange(rounds)
    if isinstance(correlation, BinaryTree):
        levels = [places >> height == np.arange(rounds >> height)[:, None] for height in range(rounds.bit_length())]
        return np.concatenate(levels).astype(np.float64)
    lag = places[:, None] - places
    return np.where(lag >= 0, toeplitz_coefficients(correlation, rounds)[lag], 0.0)


def squared_sensitivity(correlation: Correlation, rounds: int, min_separation: int, max_participations: int) -> float:
    """Bound the squared norm of what one device can change in C x, for a norm of at most 1 in each of its rounds.

    Formal guarantee: never below the largest, and never falling as `rounds` grow. For a Toeplitz C that falls, the
    worst device takes part in rounds 1, 1 + b, 1 + 2 b, ... (Kalinin and Lampert 2024, Theorem 2). For the tree, the
    worst of all patterns is searched for where at most 32 participations fit; beyond, it is bounded from above, exactly
    so for a separation of 1.

    Args:
        correlation: what C is.
        rounds: rows of C, at most 1,000,000.
        min_separation: rounds from one participation of a device to its next, at least.
        max_participations: rounds that a device takes part in, at most.

    Returns:
        The square of the L2 sensitivity, rounded up.

    Raises:
        ValueError: when an argument is below 1, or there are more than 1,000,000 rounds.
    """
    for name, value in (
        ("rounds", rounds),
        ("min_separation", min_separation),
        ("max_participations", max_participations),
    ):
        if value < 1:
            raise ValueError(f"{name}: expected 1 or more, got {value}")
    if rounds > _MOST_ROUNDS:
        raise ValueError(f"rounds: expected at most {_MOST_ROUNDS}, got {rounds}")
    return _squared_norm(correlation, rounds, min_separation, min(max_participations, -(-rounds // min_separation)))


@lru_cache(maxsize=1024)
def _squared_norm(correlation: Correlation, rounds: int, min_separation: int, participations: int) -> float:
    if isinstance(correlation, BinaryTree):
        if participations <= _MOST_SEARCHED:
            return float(_WorstPattern(rounds, min_separation).most(participations))
        return float(_crowded_tree(rounds, min_separation, participations))
    return _toeplitz(correlation, rounds, min_separation, participations) * _ROUNDING


def _toeplitz(
    correlation: BandedToeplitz | BufferedLinearToeplitz, rounds: int, min_separation: int, participations: int
) -> float:
    """Return the square of columns 1, 1 + b, 1 + 2 b, ... added: a row is a running sum over every b-th coefficient."""
    column = toeplitz_coefficients(correlation, rounds)
    last = min_separation * participations
    padded = np.zeros(-(-rounds // min_separation) * min_separation)
    padded[:rounds] = column
    padded[last:rounds] -= column[: max(0, rounds - last)]
    changed = np.cumsum(padded.reshape(-1, min_separation), axis=0).ravel()[:rounds]
    return float(np.cumsum(changed**2)[-1])


def _crowded_tree(rounds: int, min_separation: int, participations: int) -> int:
    """Bound the tree's squared norm: on each level by itself, nodes are as full as the separation lets them be.

    The squares of numbers with a given sum, none above `most`, add up to the most when all but one are `most` or 0.
    For a separation of 1, taking part in the first rounds attains this on every level at once.
    """
    total = 0
    for height in range(rounds.bit_length()):
        most = -(-(1 << height) // min_separation)
        full, rest = divmod(participations, most)
        nodes = rounds >> height
        total += min(full, nodes) * most**2 + (rest**2 if full < nodes else 0)
    return total


_Front = dict[int, int]
"""From the last round taken part in to the largest sum of squares with it."""


class _WorstPattern:
    """The participations that hit the complete nodes of a tree over rounds 0 to rounds - 1 the hardest.

    A node that holds m participations counts m^2. Within one node, with m given, only where the last of them lies
    matters to what follows: so each node yields, by m, the best value for each last round.
    """

    def __init__(self, rounds: int, separation: int) -> None:
        self._rounds, self._separation = rounds, separation
        self._seen: dict[tuple[int, int, int, int], _Front] = {}

    def most(self, participations: int) -> int:
        """Return the largest sum of squares over at most so many participations."""
        height = max(0, (self._rounds - 1).bit_length())
        return max(max(self._node(height, 0, 0, count).values(), default=0) for count in range(participations + 1))

    def _node(self, height: int, start: int, earliest: int, count: int) -> _Front:
        """Place exactly `count` participations in rounds `start` to `start + 2^height - 1`, none before `earliest`.

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
        front: _Front = {}
        half = 1 << (height - 1)
        middle, fitting = start + half, -(-half // self._separation)
        for left in range(max(0, count - fitting), min(count, fitting) + 1):
            for last, value in self._node(height - 1, start, earliest, left).items():
                for end, more in self._node(height - 1, middle, last + self._separation, count - left).items():
                    front[end] = max(front.get(end, 0), value + more + own)
        return _undominated(front)

    @staticmethod
    def _shifted(front: _Front, by: int) -> _Front:
        return {last + by: value for last, value in front.items()}


def _undominated(front: _Front) -> _Front:
    """Drop what is both later and no better."""
    kept: _Front = {}
    best = -1
    for last in sorted(front):
        if front[last] > best:
            best = kept[last] = front[last]
    return kept
