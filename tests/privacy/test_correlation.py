"""Sensitivity against every pattern of participation, and the published figures of a deployed model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from privacy.correlation import (
    BandedToeplitz,
    BinaryTree,
    BufferedLinearToeplitz,
    squared_sensitivity,
    toeplitz_coefficients,
)
from privacy.gaussian import epsilon_bracket

IDENTITY = BandedToeplitz(coefficients=(1.0,))
SCHEDULES = st.tuples(st.integers(1, 13), st.integers(1, 7), st.integers(1, 4))


def patterns(rounds: int, separation: int, participations: int) -> Iterator[tuple[int, ...]]:
    for count in range(participations + 1):
        for chosen in itertools.combinations(range(rounds), count):
            if all(later - earlier >= separation for earlier, later in itertools.pairwise(chosen)):
                yield chosen


def worst(encoder: NDArray[np.float64], separation: int, participations: int) -> float:
    """By the definition: the encoder's columns of a pattern, added."""
    rounds = encoder.shape[1]
    return max(float(np.sum(encoder[:, list(one)].sum(1) ** 2)) for one in patterns(rounds, separation, participations))


def toeplitz(column: NDArray[np.float64]) -> NDArray[np.float64]:
    rounds = len(column)
    return np.array(
        [[column[row - place] if row >= place else 0.0 for place in range(rounds)] for row in range(rounds)]
    )


def tree(rounds: int) -> NDArray[np.float64]:
    """A row for each complete node."""
    nodes = [
        (start, start + (1 << height))
        for height in range(rounds.bit_length())
        for start in range(0, rounds, 1 << height)
        if start + (1 << height) <= rounds
    ]
    return np.array([[float(first <= place < last) for place in range(rounds)] for first, last in nodes])


@given(SCHEDULES, st.lists(st.floats(0, 1), max_size=8))
def test_banded_against_every_pattern(schedule: tuple[int, int, int], falling: list[float]) -> None:
    rounds, separation, participations = schedule
    correlation = BandedToeplitz(coefficients=(1.0, *sorted(falling, reverse=True)))
    expected = worst(toeplitz(toeplitz_coefficients(correlation, rounds)), separation, participations)
    found = squared_sensitivity(correlation, *schedule)
    assert expected <= found <= expected * (1 + 1e-8)


@given(SCHEDULES, st.lists(st.tuples(st.floats(0.01, 0.3), st.floats(0, 0.99)), min_size=1, max_size=3))
def test_blt_against_every_pattern(schedule: tuple[int, int, int], buffers: list[tuple[float, float]]) -> None:
    rounds, separation, participations = schedule
    scales, decays = zip(*buffers, strict=True)
    correlation = BufferedLinearToeplitz(scales=scales, decays=decays)
    column = toeplitz_coefficients(correlation, rounds)
    for place in range(1, rounds):
        assert column[place] == pytest.approx(sum(w * d ** (place - 1) for w, d in buffers))
    expected = worst(toeplitz(column), separation, participations)
    found = squared_sensitivity(correlation, *schedule)
    assert expected <= found <= expected * (1 + 1e-8)


@given(SCHEDULES)
def test_the_tree_against_every_pattern(schedule: tuple[int, int, int]) -> None:
    rounds, separation, participations = schedule
    assert squared_sensitivity(BinaryTree(), *schedule) == worst(tree(rounds), separation, participations)


def test_a_deployed_models_published_figures() -> None:
    """Gboard es-ES: sigma 7, separation 313, 6 participations, 2,000 rounds; published as rho = 0.81 zCDP."""
    squared = squared_sensitivity(BinaryTree(), 2_000, 313, 6)
    assert squared == 79
    assert squared / (2 * 7**2) == pytest.approx(0.806, abs=5e-4)
    low, high = epsilon_bracket(math.sqrt(squared) / 7, 1e-10)
    assert low == pytest.approx(8.526, abs=5e-4)
    assert high == pytest.approx(8.526, abs=5e-4)


@pytest.mark.parametrize("correlation", [IDENTITY, BinaryTree(), BufferedLinearToeplitz(scales=(0.4,), decays=(0.9,))])
def test_more_rounds_and_participations_cost_more_and_separation_less(correlation: BinaryTree) -> None:
    costs = [squared_sensitivity(correlation, rounds, 7, 5) for rounds in range(1, 60)]
    assert costs == sorted(costs)
    assert squared_sensitivity(correlation, 50, 7, 6) >= squared_sensitivity(correlation, 50, 7, 5)
    assert squared_sensitivity(correlation, 50, 8, 5) <= squared_sensitivity(correlation, 50, 7, 5)


def test_independent_noise_counts_participations() -> None:
    assert squared_sensitivity(IDENTITY, 2_000, 313, 6) == pytest.approx(6)
    assert squared_sensitivity(IDENTITY, 2_000, 313, 60) == pytest.approx(7)


@pytest.mark.parametrize("coefficients", [(0.9,), (1.0, 0.2, 0.3), (1.0, -0.1), ()])
def test_coefficients_that_the_theorem_does_not_cover_are_refused(coefficients: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="coefficients"):
        BandedToeplitz(coefficients=coefficients)


@pytest.mark.parametrize(
    ("scales", "decays", "field"),
    [
        ((0.6, 0.6), (0.5, 0.4), "scales"),
        ((0.5,), (0.5, 0.4), "decays"),
        ((0.5,), (1.0,), "decays"),
        ((), (), "scales"),
    ],
)
def test_buffers_that_the_theorem_does_not_cover_are_refused(
    scales: tuple[float, ...], decays: tuple[float, ...], field: str
) -> None:
    with pytest.raises(ValidationError, match=field):
        BufferedLinearToeplitz(scales=scales, decays=decays)


@pytest.mark.parametrize("name", ["rounds", "min_separation", "max_participations"])
def test_impossible_schedules_are_named(name: str) -> None:
    schedule = {"rounds": 5, "min_separation": 5, "max_participations": 5, name: 0}
    with pytest.raises(ValueError, match=f"{name}: expected 1 or more, got 0"):
        squared_sensitivity(BinaryTree(), **schedule)
