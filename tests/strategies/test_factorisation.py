"""Errors against dense matrices, and against what the literature reports."""

from __future__ import annotations

import numpy as np
import pytest

from privacy.correlation import BandedToeplitz, BinaryTree, BufferedLinearToeplitz, squared_sensitivity
from privacy.correlation import toeplitz_coefficients as coefficients
from strategies.factorisation import best_correlation, expected_error, optimal_banded, optimal_blt

INDEPENDENT = BandedToeplitz(coefficients=(1.0,))
GBOARD = (2_000, 313, 6)


@pytest.mark.parametrize(
    "correlation",
    [
        INDEPENDENT,
        BandedToeplitz(coefficients=(1.0, 0.5, 0.25)),
        BufferedLinearToeplitz(scales=(0.4, 0.2, 0.1), decays=(0.95, 0.5, 0.0)),
    ],
)
def test_the_error_is_that_of_the_dense_matrices(correlation: BandedToeplitz | BufferedLinearToeplitz) -> None:
    rounds = 30
    column = coefficients(correlation, rounds)
    matrix = np.array([[column[i - j] if i >= j else 0.0 for j in range(rounds)] for i in range(rounds)])
    sums = np.tril(np.ones((rounds, rounds))) @ np.linalg.inv(matrix)
    expected = np.sqrt(squared_sensitivity(correlation, rounds, 4, 3) * np.sum(sums**2) / rounds)
    assert expected_error(correlation, rounds, 4, 3) == pytest.approx(expected, rel=1e-9)


def test_a_deployed_schedule_has_an_eighth_of_the_error_of_independent_noise() -> None:
    """McMahan, Xu and Zhang 2024 find BLTs ahead of trees on such schedules by more than half as much again."""
    best = best_correlation(*GBOARD)
    assert isinstance(best, BufferedLinearToeplitz)
    error = expected_error(best, *GBOARD)
    assert expected_error(INDEPENDENT, *GBOARD) / error > 8
    assert expected_error(BinaryTree(), *GBOARD) / error > 1.5


@pytest.mark.parametrize("schedule", [(30, 5, 6), (100, 10, 10), (64, 64, 1)])
def test_no_neighbouring_coefficients_do_better(schedule: tuple[int, int, int]) -> None:
    rounds, separation, _ = schedule
    found = optimal_banded(rounds, min(separation, 32), *schedule[1:])
    error = expected_error(found, *schedule)
    for place in range(1, len(found.coefficients)):
        for factor in (0.97, 1.03):
            changed = list(found.coefficients)
            changed[place] *= factor
            if changed == sorted(changed, reverse=True):
                other = BandedToeplitz(coefficients=tuple(changed))
                assert expected_error(other, *schedule) > error * (1 - 1e-4)


def test_more_buffers_are_no_worse() -> None:
    errors = [expected_error(optimal_blt(500, buffers, 100, 4), 500, 100, 4) for buffers in (1, 2, 3)]
    assert errors[1] <= errors[0] * 1.001
    assert errors[2] <= errors[1] * 1.001


def test_participation_in_every_round_leaves_nothing_to_gain() -> None:
    assert best_correlation(50, 1, 50) is None


def test_impossible_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="bands: expected 1 to 5, got 6"):
        optimal_banded(5, 6, 1, 1)
    with pytest.raises(ValueError, match="buffers: expected 1 or more, got 0"):
        optimal_blt(5, 0, 1, 1)
