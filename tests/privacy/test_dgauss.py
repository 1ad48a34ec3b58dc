from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from privacy import dgauss
from privacy.randomness import SystemRandomness
from simulations.randomness import SeedTree


def exact_probability(sigma: int, value: int) -> mpmath.mpf:
    """The definition in 60 digits; its normaliser by Poisson summation, so independent of the table's sums."""
    with mpmath.workdps(60):
        width = mpmath.mpf(sigma)
        whole = width * mpmath.sqrt(2 * mpmath.pi) * mpmath.jtheta(3, 0, mpmath.exp(-2 * mpmath.pi**2 * width**2))
        return mpmath.exp(-(mpmath.mpf(value) ** 2) / (2 * width**2)) / whole


@pytest.mark.parametrize("sigma", [1, 3, 1024])
@pytest.mark.parametrize("value", [-2, 0, 1])
def test_table_is_the_exact_distribution(sigma: int, value: int) -> None:
    table = dgauss._table(sigma**2)
    place = value - table.lowest
    mass = table.cumulative[place] - table.cumulative[place - 1]
    with mpmath.workdps(60):
        assert abs(mpmath.mpf(mass) / 2**192 - exact_probability(sigma, value)) < mpmath.mpf(2) ** -180
    assert table.cumulative[-1] == 1 << 192


@pytest.mark.parametrize("sigma", [1, 2, 5])
def test_chi_square(sigma: int) -> None:
    draws = dgauss.sample(sigma**2, 200_000, SeedTree.root(3).stream())
    reach = 3 * sigma
    inside = np.bincount(np.clip(draws, -reach - 1, reach + 1) + reach + 1, minlength=2 * reach + 3)
    weights = np.exp(-(np.arange(-20 * sigma, 20 * sigma + 1) ** 2) / (2 * sigma**2))
    mass = np.bincount(
        np.clip(np.arange(-20 * sigma, 20 * sigma + 1), -reach - 1, reach + 1) + reach + 1,
        weights=weights / weights.sum(),
    )
    assert stats.chisquare(inside, mass * draws.size).pvalue > 1e-4


def test_large_sigma_has_its_variance_and_no_bias() -> None:
    draws = dgauss.sample(1024**2, 200_000, SystemRandomness())
    assert abs(draws.mean()) < 6 * 1024 / math.sqrt(draws.size)
    assert draws.std() == pytest.approx(1024, rel=0.01)


def test_ties_are_settled_by_more_bits() -> None:
    """Force the 64-bit word onto a table entry: 128 more bits decide between the two neighbours."""

    class Script:
        origin = "seeded"

        def __init__(self, *answers: bytes) -> None:
            self._answers = list(answers)

        def token(self, size: int) -> bytes:
            answer = self._answers.pop(0)
            assert len(answer) == size
            return answer

    table = dgauss._table(4)
    place = -table.lowest  # the value 0
    word = int(table.coarse[place]).to_bytes(8, "little")
    rest = table.cumulative[place] & ((1 << 128) - 1)
    below = (rest - 1).to_bytes(16, "little")
    above = rest.to_bytes(16, "little")
    assert dgauss.sample(4, 1, Script(word, below))[0] == 0  # type: ignore[arg-type]
    assert dgauss.sample(4, 1, Script(word, above))[0] == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("variance", [0, -1, dgauss.MAX_VARIANCE + 1])
def test_variance_out_of_range(variance: int) -> None:
    with pytest.raises(ValueError, match="variance: expected 1 to"):
        dgauss.sample(variance, 1, SystemRandomness())
