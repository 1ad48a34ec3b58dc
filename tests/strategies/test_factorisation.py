"""Errors against dense matrices, and against what the literature reports."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from privacy.task.correlation import (
    BandedToeplitz,
    BinaryTree,
    BufferedLinearToeplitz,
    Correlation,
    dense,
    squared_sensitivity,
)
from strategies.factorisation import best_correlation, expected_error, optimal_banded, optimal_blt
from strategies.fedavg import FedAvgM, ModelState

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
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_the_error_is_that_of_the_dense_matrices(correlation: Correlation, momentum: float) -> None:
    rounds = 30
    models = np.array([[sum(momentum**i for i in range(t - s + 1)) for s in range(rounds)] for t in range(rounds)])
    noise = models @ np.linalg.inv(dense(correlation, rounds))
    expected = np.sqrt(squared_sensitivity(correlation, rounds, 4, 3) * np.sum(noise**2) / rounds)
    assert expected_error(correlation, rounds, 4, 3, momentum) == pytest.approx(expected, rel=1e-9)


def test_momentum_walks_as_fedavgm_does() -> None:
    """The models that the error speaks of are those of the optimiser that the released sums go to."""
    sums, optimiser = np.random.default_rng(5).standard_normal((6, 2)), FedAvgM(1.0, 0.7, 1.0)
    state = ModelState.start(np.zeros(2, np.float32), 1.0)
    models = np.array([[sum(0.7**i for i in range(t - s + 1)) for s in range(6)] for t in range(6)]) @ sums
    for values, expected in zip(sums, models, strict=True):
        state = optimiser.step(state, SimpleNamespace(values=values.astype(np.float32)))
        np.testing.assert_allclose(state.weights, expected, atol=1e-5)


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
    best = optimal_banded(rounds, min(separation, 32), *schedule[1:])
    error = expected_error(best, *schedule)
    for place in range(1, len(best.coefficients)):
        for factor in (0.97, 1.03):
            changed = list(best.coefficients)
            changed[place] *= factor
            if changed == sorted(changed, reverse=True):
                other = BandedToeplitz(coefficients=tuple(changed))
                assert expected_error(other, *schedule) > error * (1 - 1e-4)


def test_more_buffers_are_no_worse() -> None:
    errors = [expected_error(optimal_blt(500, buffers, 100, 4), 500, 100, 4) for buffers in (1, 2, 3)]
    assert errors[1] <= errors[0] * (1 + 1e-6)
    assert errors[2] <= errors[1] * (1 + 1e-6)


def test_two_buffers_do_on_a_deployed_schedule() -> None:
    best = optimal_blt(GBOARD[0], 2, *GBOARD[1:])
    assert expected_error(INDEPENDENT, *GBOARD) / expected_error(best, *GBOARD) == pytest.approx(8.38, abs=0.01)


def test_short_schedules_are_for_bands() -> None:
    best = best_correlation(100, 10, 10)
    assert isinstance(best, BandedToeplitz)
    ratio = expected_error(INDEPENDENT, 100, 10, 10) / expected_error(best, 100, 10, 10)
    assert ratio == pytest.approx(2.41, abs=0.01)


@pytest.mark.parametrize("buffers", [1, 4])
def test_what_is_found_for_momentum_does_better_with_it(buffers: int) -> None:
    plain, adapted = (optimal_blt(500, buffers, 100, 4, momentum) for momentum in (0.0, 0.9))
    assert expected_error(adapted, 500, 100, 4, 0.9) < 0.99 * expected_error(plain, 500, 100, 4, 0.9)
    assert expected_error(plain, 500, 100, 4) < expected_error(adapted, 500, 100, 4)


@pytest.mark.long
@pytest.mark.parametrize("schedule", [(1, 1, 1), (2, 1, 1), (3, 5, 2), (60, 1, 40), (60, 7, 3), (200, 150, 2)])
def test_what_is_found_is_the_same_again_and_survives_serialisation(schedule: tuple[int, int, int]) -> None:
    rounds, separation, _ = schedule
    for best in (
        optimal_blt(rounds, 4, *schedule[1:]),
        optimal_banded(rounds, min(rounds, separation), *schedule[1:]),
    ):
        assert type(best).model_validate_json(best.model_dump_json()) == best
        numbers = [value for name in ("coefficients", "scales", "decays") for value in getattr(best, name, ())]
        assert numbers == [round(number, 6) for number in numbers]
    assert best_correlation(*schedule) == best_correlation(*schedule)


@pytest.mark.parametrize("schedule", [(500, 100, 4), (100, 10, 10)])
def test_the_best_for_momentum_is_sought_with_it(schedule: tuple[int, int, int]) -> None:
    plain, adapted = best_correlation(*schedule), best_correlation(*schedule, momentum=0.9)
    assert plain is not None
    assert adapted is not None
    assert type(plain) is type(adapted)
    assert expected_error(adapted, *schedule, 0.9) < 0.97 * expected_error(plain, *schedule, 0.9)


@pytest.mark.parametrize("rounds", [1, 2, 50])
def test_participation_in_every_round_leaves_nothing_to_gain(rounds: int) -> None:
    assert best_correlation(rounds, 1, rounds) is None


def test_impossible_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="bands: expected 1 to 5, got 6"):
        optimal_banded(5, 6, 1, 1)
    with pytest.raises(ValueError, match="buffers: expected 1 or more, got 0"):
        optimal_blt(5, 0, 1, 1)
    with pytest.raises(ValueError, match="momentum: expected 0 or more and below 1, got 1"):
        expected_error(INDEPENDENT, 5, 1, 1, 1.0)
