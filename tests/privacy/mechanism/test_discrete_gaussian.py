from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy import stats

from privacy.base.randomness import Origin, SystemRandomness
from privacy.mechanism import discrete_gaussian as dgauss
from privacy.mechanism.mechanism import standard_tail
from simulations.randomness import SeedTree

VARIANCES = [1, 2, 100, 300**2, 1000**2, dgauss.ONE_TABLE]
WIDE = [dgauss.ONE_TABLE + 1, 5_000**2, 30_000**2]
"""Too wide for one table."""
TOTAL = 1 << 192
CELL = TOTAL >> 16


class Script:
    """Gives the chosen answers in turn, each to a request of exactly its length."""

    origin: Origin = "seeded"

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    def token(self, size: int) -> bytes:
        answer = self._answers.pop(0)
        assert len(answer) == size
        return answer


def alias_of(table: dgauss._Table, cell: int) -> int:
    return int(table.packed[cell]) & 0xFFFF


def cell_masses(table: dgauss._Table) -> list[int]:
    """What the cells together give each value, in units of 2^-192."""
    masses = list(table.thresholds)
    for cell, threshold in enumerate(table.thresholds):
        masses[alias_of(table, cell)] += CELL - threshold
    return masses


def exact_probability(variance: int, value: int) -> mpmath.mpf:
    """The definition in 70 digits; its normaliser by Poisson summation, so independent of the table's sums."""
    with mpmath.workdps(70):
        theta = mpmath.jtheta(3, 0, mpmath.exp(-2 * mpmath.pi**2 * variance))
        return mpmath.exp(-(mpmath.mpf(value) ** 2) / (2 * variance)) / (mpmath.sqrt(2 * mpmath.pi * variance) * theta)


@pytest.mark.parametrize("variance", VARIANCES)
def test_cells_sum_to_the_exact_distribution(variance: int) -> None:
    table = dgauss._table(variance)
    masses = cell_masses(table)
    assert sum(masses) == TOTAL
    assert not any(masses[1 - 2 * table.lowest :])
    with mpmath.workdps(70):
        for value in range(table.lowest, 1 - table.lowest, max(1, -table.lowest // 60)):
            mass = mpmath.mpf(masses[value - table.lowest]) / TOTAL
            assert abs(mass - exact_probability(variance, value)) < mpmath.mpf(2) ** -175


@pytest.mark.parametrize("variance", VARIANCES)
def test_table_is_symmetric_and_reaches_18_sigma(variance: int) -> None:
    table = dgauss._table(variance)
    masses = cell_masses(table)[: 1 - 2 * table.lowest]
    assert masses == masses[::-1]
    assert (-table.lowest) ** 2 <= 18**2 * variance < (1 - table.lowest) ** 2


@pytest.mark.parametrize("variance", VARIANCES)
def test_leading_bits_are_those_of_the_thresholds(variance: int) -> None:
    table = dgauss._table(variance)
    assert [bound >> 160 for bound in table.thresholds] == (table.packed >> 16).tolist()


def pooled_masses(variance: int, values: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    weights = np.exp(-(values**2) / (2 * variance))
    pooled: NDArray[np.float64] = np.histogram(values, edges, weights=weights / weights.sum())[0]
    return pooled


@pytest.mark.parametrize("variance", [*VARIANCES, *WIDE])
def test_chi_square(variance: int) -> None:
    """A million draws in about 400 bins or fewer within 3 sigmas, and the two tails."""
    draws = dgauss.sample(variance, 1_000_000, SeedTree.root(3).stream())
    sigma = variance**0.5
    values = np.arange(-int(20 * sigma), int(20 * sigma) + 1)
    inner = np.arange(-int(3 * sigma), int(3 * sigma) + 2, max(1, int(6 * sigma) // 400))
    edges = np.concatenate([values[:1], inner, values[-1:] + 1])
    expected = pooled_masses(variance, values, edges) * draws.size
    assert expected.min() > 10
    assert stats.chisquare(np.histogram(draws, edges)[0], expected).pvalue > 1e-6


@pytest.mark.parametrize("variance", [100, 1024**2, *WIDE, dgauss.MAX_VARIANCE])
def test_moments(variance: int) -> None:
    """Mean 0, variance sigma^2, kurtosis 3, each within six standard errors."""
    draws = dgauss.sample(variance, 1_000_000, SeedTree.root(4).stream()) / variance**0.5
    assert abs(draws.mean()) < 6 / draws.size**0.5
    assert abs(draws.var() - 1) < 6 * (2 / draws.size) ** 0.5
    assert abs((draws**4).mean() - 3) < 6 * (96 / draws.size) ** 0.5


@given(st.integers(dgauss.ONE_TABLE + 1, dgauss.MAX_VARIANCE))
def test_a_wide_variance_is_split_exactly_and_smoothly(variance: int) -> None:
    stretch, coarse, fine = dgauss._split(variance)
    assert stretch**2 * coarse + fine == variance
    assert 1 <= coarse <= dgauss.ONE_TABLE
    assert fine <= dgauss.ONE_TABLE
    assert fine * (variance - fine) > 6 * stretch**2 * variance


@pytest.mark.parametrize("variance", WIDE[:2])
@pytest.mark.parametrize("value", [0, 1, 2, 777, 12_345])
def test_the_sum_of_two_tables_has_the_right_probability(variance: int, value: int) -> None:
    """The convolution of both definitions, summed term by term, against the definition of the sum."""
    stretch, coarse, fine = dgauss._split(variance)
    reach = int(20 * fine**0.5) // stretch + 1
    with mpmath.workdps(70):
        probability = mpmath.fsum(
            exact_probability(coarse, x) * exact_probability(fine, value - stretch * x)
            for x in range(value // stretch - reach, value // stretch + reach + 2)
        )
        assert abs(probability / exact_probability(variance, value) - 1) < mpmath.mpf(2) ** -160


def tied_draw(table: dgauss._Table, cell: int, rest: int) -> int:
    """The place drawn at variance 10^6 from a word with the threshold's leading bits and `rest` as the others."""
    word = (int(table.packed[cell]) & 0xFFFF0000 | cell).to_bytes(4, "little")
    return int(dgauss.sample(1000**2, 1, Script(word, rest.to_bytes(20, "little")))[0]) - table.lowest


def test_ties_are_settled_by_160_more_bits() -> None:
    """Only the rest of the coin tells the cell from its alias, on whichever side of it and however far that is."""
    table = dgauss._table(1000**2)
    cells = [cell for cell in range(0, 36_000, 101) if table.thresholds[cell] % 2**160]
    for cell in cells:
        rest = table.thresholds[cell] % 2**160
        assert tied_draw(table, cell, rest - 1) == cell
        assert tied_draw(table, cell, rest) == alias_of(table, cell)
    assert {alias_of(table, cell) > cell for cell in cells} == {True, False}
    assert any(alias_of(table, cell) ^ cell >= 1 << 15 for cell in cells)


def test_a_coin_of_zeros_is_not_under_the_threshold_zero() -> None:
    table = dgauss._table(1000**2)
    unused, full = len(table.thresholds) - 1, next(i for i in range(5000, 30_000) if not table.thresholds[i])
    assert tied_draw(table, unused, 0) == alias_of(table, unused) != unused
    assert tied_draw(table, full, 0) == alias_of(table, full) == full


def test_every_word_gives_its_cell_or_its_alias() -> None:
    """All coins of one cell, ties aside: as many give the cell as its threshold's leading bits say."""
    table = dgauss._table(1000**2)
    cell = next(i for i, bound in enumerate(table.thresholds) if bound > CELL // 3)
    leading = int(table.packed[cell]) >> 16
    coins = np.delete(np.arange(1 << 16, dtype=np.uint32), leading)
    words = (coins << np.uint32(16) | np.uint32(cell)).astype("<u4")
    # The sampler asks for at most 2^15 words at a time.
    drawn = dgauss.sample(1000**2, coins.size, Script(words[: 1 << 15].tobytes(), words[1 << 15 :].tobytes()))
    assert np.array_equal(drawn - table.lowest, np.where(coins < leading, cell, alias_of(table, cell)))


@pytest.mark.parametrize("size", [0, 1, (1 << 15) + 1])
def test_size_and_dtype(size: int) -> None:
    draws = dgauss.sample(100, size, SystemRandomness())
    assert draws.shape == (size,)
    assert draws.dtype == np.int64


def test_the_same_stream_gives_the_same_draws() -> None:
    first, again, other = (dgauss.sample(100, 1000, SeedTree.root(seed).stream()) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("variance", [0, -1, dgauss.MAX_VARIANCE + 1])
def test_variance_out_of_range(variance: int) -> None:
    with pytest.raises(ValueError, match="variance: expected 1 to"):
        dgauss.sample(variance, 1, SystemRandomness())


def test_negative_size() -> None:
    with pytest.raises(ValueError, match="size: expected at least 0, got -1"):
        dgauss.sample(1, -1, SystemRandomness())


@pytest.mark.parametrize(("bits", "draws"), [(0, 1), (20, 1), (40, 10**6)])
def test_standard_tail_bounds_the_gaussian_tail(bits: int, draws: int) -> None:
    reach = standard_tail(bits, draws)
    chance = 2 * draws * stats.norm.sf(reach)
    assert 0.01 * 2.0**-bits < chance < 2.0**-bits
