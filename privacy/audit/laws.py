"""Tests of samples against exact laws, each by a p-value.

A p-value is the probability, under the law, of data that look at least as unlikely. Where several are taken of one
sample, `least` corrects for their number (Bonferroni), whatever they have to do with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, ndtr
from scipy.stats import binom, chi2, norm

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TAILS = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0)
"""Deviations beyond which values are counted, one count each."""
_BINS = 64
_RESIDUES = 64
_ODD = 15
_FINE = 512
"""Cells of a histogram in one deviation; twice as many at most, and no more than there are integers."""
_REACH = 32
"""Deviations that a histogram covers; what lies further out is counted in its last cells."""
_FEWEST = 20
"""Samples expected in a bin, at least, for Pearson's statistic to have its limiting law."""
_SPARE_BITS = 40
_STREAM = 1 << 20
"""Numbers in a row that are looked at for what repeats or correlates."""
_VECTORS = 1024
"""Vectors that are held against each other, each with each."""


def least(p_values: Iterable[float]) -> float:
    """Return the p-value of the smallest of several, by Bonferroni's correction; 1 of none."""
    given = list(p_values)
    return min(1.0, len(given) * min(given, default=1.0))


def two_sided(lower: float, upper: float) -> float:
    """Return the p-value of a statistic, from the probabilities of being at most, and at least, what it is."""
    return min(1.0, 2 * min(lower, upper))


def binomial(count: int, trials: int, chance: float) -> float:
    """Return the two-sided p-value of how often something happened."""
    return two_sided(float(binom.cdf(count, trials, chance)), float(binom.sf(count - 1, trials, chance)))


def pearson(counts: Integers, expected: Floats) -> float:
    """Return the p-value of counts by Pearson's chi-square; neither all alike nor too unequal, hence two-sided."""
    statistic = float(np.sum((counts - expected) ** 2 / expected))
    return two_sided(float(chi2.cdf(statistic, counts.size - 1)), float(chi2.sf(statistic, counts.size - 1)))


@dataclass
class Shape:
    """Counts of samples that should be discrete Gaussians of one variance, added up block by block.

    The distribution function of the discrete Gaussian of parameter sigma^2 is Phi(z) + z phi(z) / (24 sigma^2) with
    z = (k + 1/2) / sigma, but for some sigma^-4 / 1000: the Euler-Maclaurin sum of its masses.

    Attributes:
        variance: sigma^2, at least 256.
        size: how many samples were added.
    """

    variance: float
    size: int = 0
    _cells: Integers = field(init=False, repr=False)
    _residues: dict[int, Integers] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._sigma = math.sqrt(self.variance)
        self._shift = max(0, math.floor(math.log2(self._sigma / _FINE)))
        self._half = math.ceil(_REACH * self._sigma) >> self._shift
        self._cells = np.zeros(2 * self._half, np.int64)
        power = min(_RESIDUES, 1 << math.floor(math.log2(self._sigma / 2)))
        self._residues = {modulus: np.zeros(modulus, np.int64) for modulus in (power, _ODD)}

    def add(self, samples: Integers) -> Self:
        """Count samples, int64 of any shape."""
        flat = samples.reshape(-1)
        cells = np.clip((flat >> self._shift) + self._half, 0, self._cells.size - 1)
        self._cells += np.bincount(cells, minlength=self._cells.size)
        for modulus in self._residues:
            self._residues[modulus] += np.bincount(flat % modulus, minlength=modulus)
        self.size += flat.size
        return self

    def body(self) -> float:
        """Return the p-value of the counts in up to 64 about equally likely bins."""
        below = self._below()
        bins = max(2, min(_BINS, self.size // _FEWEST))
        cuts = np.unique(np.searchsorted(below, np.arange(1, bins) / bins))
        expected = np.diff(np.concatenate([[0.0], below[cuts], [1.0]])) * self.size
        return pearson(np.add.reduceat(self._cells, np.concatenate([[0], cuts + 1])), expected)

    def tails(self) -> float:
        """Return the p-value of how many values lie beyond each of `TAILS` deviations."""
        below = self._below()
        return least(self._tail(round(deviations * self._sigma) >> self._shift, below) for deviations in TAILS)

    def grid(self) -> float:
        """Return the p-value of the counts of residues, which are uniform within 1e-8: half a sigma holds them all."""
        return least(
            pearson(counts, np.full(modulus, self.size / modulus))
            for modulus, counts in self._residues.items()
            if self.size >= _FEWEST * modulus
        )

    def _below(self) -> Floats:
        """Return the probability of values up to the last one of each cell."""
        last = ((np.arange(self._cells.size) - self._half + 1) << self._shift) - 1
        z = (last + 0.5) / self._sigma
        below: Floats = ndtr(z) + z * norm.pdf(z) / (24 * self.variance)
        return below

    def _tail(self, cells: int, below: Floats) -> float:
        low, high = self._half - cells, self._half + cells
        beyond = int(self._cells[:low].sum() + self._cells[high:].sum())
        return binomial(beyond, self.size, float(below[low - 1] + (1 - below[high - 1])))


def spread(values: Floats, variance: float) -> float:
    """Return the p-value of the sum of squares about zero of independent normals of this variance."""
    return _squares(np.array(float(np.sum(values**2)) / variance), values.size)


def columns(values: Floats, variance: float) -> float:
    """Return the p-value of the worst column of float64[n, d], by its mean and by its squares about it."""
    count, means = values.shape[0], values.mean(axis=0)
    squares = np.sum((values - means) ** 2, axis=0) / variance
    p_values = [_squares(squares, count - 1), float(np.min(2 * norm.sf(np.abs(means) * math.sqrt(count / variance))))]
    return least([*p_values] * values.shape[1])


def _squares(squares: Floats, freedom: int) -> float:
    """Return the p-value of each of some sums of squares, the smallest of them and not corrected."""
    return min(1.0, 2 * float(np.min(np.minimum(chi2.cdf(squares, freedom), chi2.sf(squares, freedom)))))


def most_alike(vectors: Floats) -> float:
    """Return the p-value of the largest correlation about zero of all pairs of the first 1,024 rows."""
    rows = vectors[:_VECTORS]
    count, size = rows.shape
    if count < 2 or size < 2:
        return 1.0
    pairs = int(count * (count - 1) // 2)
    directions = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    largest = float(np.max(np.abs((directions @ directions.T)[np.triu_indices(count, 1)])))
    # About a known mean of zero, a correlation's square is Beta(1/2, (size - 1) / 2).
    p_value = float(betainc((size - 1) / 2, 0.5, max(0.0, 1 - largest**2)))
    return min(1.0, pairs * p_value)


def echoes(stream: Floats, variance: float) -> float:
    """Return the p-value of the largest autocorrelation of independent numbers of mean zero, over all distances.

    Those up to half of the stream, of its first 2^20 numbers. Each is a normal but for some 1 / size.
    """
    values = stream.reshape(-1)[:_STREAM] / math.sqrt(variance)
    distances = values.size // 2
    if distances < _FEWEST:
        return 1.0
    padded = 1 << (2 * values.size - 1).bit_length()
    powers = np.abs(np.fft.rfft(values, padded)) ** 2
    products = np.fft.irfft(powers, padded)[1 : distances + 1]
    largest = float(np.max(np.abs(products) / np.sqrt(values.size - np.arange(1, distances + 1))))
    return min(1.0, distances * 2 * float(norm.sf(largest)))


def repeats(values: Integers, bits: float) -> float:
    """Return the p-value of how many stretches of independent numbers occur twice, also with all signs turned.

    Stretches are so long that two are alike with a probability below 2^-40 in all.

    Args:
        values: int64[n, d]; stretches do not go over the end of a row, if it has room for one.
        bits: what two independent values are alike with, -log2 of the probability.
    """
    length = math.ceil((2 * math.log2(max(values.size, 2)) + _SPARE_BITS) / bits)
    rows = values if values.shape[1] >= length else values.reshape(1, -1)
    count = min(rows.shape[1] // length, max(1, _STREAM // length)) * length
    stretches = rows[: max(1, _STREAM // max(count, 1)), :count].reshape(-1, length)
    if len(stretches) < 2:
        return 1.0
    leading = np.sign(np.take_along_axis(stretches, np.argmax(stretches != 0, axis=1)[:, None], axis=1))
    turned = np.ascontiguousarray(stretches * leading)
    distinct = np.unique(turned.view(np.dtype((np.void, turned.itemsize * length)))).size
    return 1.0 if distinct == len(turned) else 2.0**-_SPARE_BITS


def bits_alike(variance: float) -> float:
    """Return -log2 of the probability that two discrete Gaussians of this variance are the same number."""
    return math.log2(2 * math.sqrt(math.pi * variance))
