"""The noise of one round after another, correlated as C^{-1} z, in memory that does not grow with the rounds.

The state is secret: with it, the noise of later rounds tells that of earlier ones. A round without a release draws its
noise all the same, so that a round's number says how far the stream has come.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from privacy.base.randomness import Randomness, uniform_words
from privacy.task.correlation import BandedToeplitz, BinaryTree, BufferedLinearToeplitz, Correlation

Vector = NDArray[np.float64]
Normals = Callable[[], Vector]
"""Gives independent standard normals, float64[d], fresh ones at every call."""


class NoiseStream:
    """Noise C^{-1} z for a z of unit variance, round by round: to be scaled by z's standard deviation.

    In memory, banded Toeplitz holds its last bands - 1 vectors, a BLT a vector a buffer, a tree a vector a level
    (Kairouz et al. 2021; Choquette-Choo et al. 2023; Dvijotham et al. 2024).

    Attributes:
        drawn: rounds whose noise was drawn.
    """

    def __init__(self, correlation: Correlation, dimension: int) -> None:
        self.drawn = 0
        self._correlation, self._dimension = correlation, dimension
        self._memory = np.zeros((_rows(correlation, 0), dimension))

    @classmethod
    def restored(cls, correlation: Correlation, drawn: int, memory: Vector) -> NoiseStream:
        """Make a stream that goes on after `drawn` rounds.

        Args:
            correlation: of the stream that was interrupted.
            drawn: rounds whose noise that stream had drawn.
            memory: what its `memory()` was then, float64[rows, d].

        Raises:
            ValueError: when the memory is not that of so many rounds.
        """
        stream = cls(correlation, memory.shape[-1])
        if drawn < 0:
            raise ValueError(f"drawn: expected 0 or more, got {drawn}")
        fits = memory.dtype == np.float64 and memory.shape == (_rows(correlation, drawn), stream._dimension)
        if not fits or not np.isfinite(memory).all():
            raise ValueError(
                f"memory: expected {_rows(correlation, drawn)} finite vectors of float64, "
                f"got {memory.dtype} of shape {memory.shape}"
            )
        stream.drawn, stream._memory = drawn, memory.copy()
        return stream

    def __repr__(self) -> str:
        return f"NoiseStream({self._correlation.kind}, {self.drawn} rounds)"

    def memory(self) -> Vector:
        """Return what the stream remembers, float64[rows, d], for a checkpoint; it is as secret as the noise."""
        return self._memory.copy()

    def next(self, normals: Normals) -> Vector:
        """Draw the noise that the next round's sum gets, float64[d].

        Raises:
            ValueError: when `normals` gives anything but d numbers, which could spread one number over all places.
        """
        if isinstance(self._correlation, BandedToeplitz):
            noise = self._banded(self._correlation, self._fresh(normals))
        elif isinstance(self._correlation, BufferedLinearToeplitz):
            noise = self._buffered(self._correlation, self._fresh(normals))
        else:
            noise = self._tree(normals)
        self.drawn += 1
        return noise

    def _fresh(self, normals: Normals) -> Vector:
        drawn = normals()
        if drawn.shape != (self._dimension,):
            raise ValueError(f"normals: expected {self._dimension} numbers, got shape {drawn.shape}")
        return drawn

    def _banded(self, correlation: BandedToeplitz, fresh: Vector) -> Vector:
        """Return n_t = z_t - sum_i c_i n_{t-i}; row i - 1 of the memory holds n_{t-i}."""
        noise = fresh - np.asarray(correlation.coefficients[1:]) @ self._memory
        if len(self._memory):
            self._memory = np.concatenate([noise[None], self._memory[:-1]])
        return noise

    def _buffered(self, correlation: BufferedLinearToeplitz, fresh: Vector) -> Vector:
        """Return n_t = z_t - sum_b scale_b s_b for buffers s_b <- decay_b s_b + n_t (Dvijotham et al. 2024)."""
        noise = fresh - np.asarray(correlation.scales) @ self._memory
        self._memory = np.asarray(correlation.decays)[:, None] * self._memory + noise
        return noise

    def _tree(self, normals: Normals) -> Vector:
        """Return the difference of two prefix sums, each from the nodes that make it up.

        A node is estimated from its own noise and its children's estimates, weighted by precision (Honaker 2015). The
        rows are the estimates of the nodes that the binary digits of `drawn` stand for, lowest digit first.
        """
        estimate, level, kept = self._fresh(normals), 0, list(self._memory)
        noise = np.zeros(self._dimension)
        while self.drawn >> level & 1:
            sibling = kept.pop(0)
            noise -= sibling
            weight = _own_weight(level + 1)
            estimate = weight * self._fresh(normals) + (1 - weight) * (sibling + estimate)
            level += 1
        self._memory = np.stack([estimate, *kept])
        return noise + estimate


def secure_normals(rng: Randomness, dimension: int) -> Normals:
    """Return a source of standard normals, float64[dimension] a call, drawn from `rng` by inversion.

    A number takes a sign and a tail probability in odd multiples of 2^-65. None lies more than 9.2 deviations out; what
    is cut off has probability below 2^-64 a number.
    """

    def draw() -> Vector:
        words = uniform_words(rng, dimension, np.uint64)
        tails = ((words >> np.uint64(1)).astype(np.float64) + 0.5) * 2.0**-64
        signs = 1.0 - 2.0 * (words & np.uint64(1)).astype(np.float64)
        return np.asarray(ndtri(tails) * signs, np.float64)

    return draw


def tree_prefix_variances(rounds: int, momentum: float = 0.0) -> Vector:
    """Return the variance of a tree's noise in the sum of the first 1, 2, ... rounds, for z of unit variance.

    With momentum it is that of theta_t = momentum * theta_{t-1} + prefix_t, where momentum SGD stands after round t.
    The nodes in a prefix are independent of each other, so theta's variance follows from its covariance with each.

    Returns:
        float64[rounds].
    """
    variances, squared = np.zeros(rounds), 0.0
    covariances: list[float] = []  # of theta with the nodes in the prefix, lowest first
    for drawn in range(rounds):
        merged, level = 0.0, 0
        while drawn >> level & 1:
            merged = (1 - _own_weight(level + 1)) * (covariances.pop(0) + merged)
            level += 1
        covariances = [merged, *covariances]
        heights = [height for height in range((drawn + 1).bit_length()) if drawn + 1 >> height & 1]
        own = [_node_variance(height) for height in heights]
        squared = momentum**2 * squared + 2 * momentum * sum(covariances) + sum(own)
        covariances = [momentum * kept + alone for kept, alone in zip(covariances, own, strict=True)]
        variances[drawn] = squared
    return variances


@cache
def noise_variance(correlation: Correlation, number: int) -> float:
    """Bound the variance of one coordinate of a round's noise from above, for z of unit variance; exact but for trees.

    Args:
        correlation: of the stream.
        number: the round's, from 1.
    """
    if isinstance(correlation, BinaryTree):
        prefixes = [0.0, *tree_prefix_variances(number).tolist()]
        return (math.sqrt(prefixes[number]) + math.sqrt(prefixes[number - 1])) ** 2
    impulse, stream = iter([1.0]), NoiseStream(correlation, 1)
    return sum(float(stream.next(lambda: np.array([next(impulse, 0.0)]))[0]) ** 2 for _ in range(number))


@cache
def _node_variance(height: int) -> float:
    """Return the variance of a node's estimate: 1 / (1 / 1 + 1 / (2 v)) with v that of a child."""
    variance = 1.0
    for _ in range(height):
        variance = 2 * variance / (1 + 2 * variance)
    return variance


@cache
def _own_weight(height: int) -> float:
    children = 2 * _node_variance(height - 1)
    return children / (1 + children)


def _rows(correlation: Correlation, drawn: int) -> int:
    if isinstance(correlation, BandedToeplitz):
        return len(correlation.coefficients) - 1
    if isinstance(correlation, BufferedLinearToeplitz):
        return len(correlation.scales)
    return drawn.bit_count()
