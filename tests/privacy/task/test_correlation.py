"""Sensitivity against every pattern of participation, and the published figures of a deployed model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from privacy.accounting.composition import epsilon_bracket
from privacy.task.correlation import (
    BandedToeplitz,
    BinaryTree,
    BufferedLinearToeplitz,
    Correlation,
    dense,
    squared_sensitivity,
    toeplitz_coefficients,
)

IDENTITY = BandedToeplitz(coefficients=(1.0,))
KINDS: list[Correlation] = [
    IDENTITY,
    BandedToeplitz(coefficients=(1.0, 0.6, 0.6, 0.1)),
    BufferedLinearToeplitz(scales=(0.4,), decays=(0.9,)),
    BinaryTree(),
]
SCHEDULES = st.tuples(st.integers(1, 13), st.integers(1, 7), st.integers(1, 4))


def patterns(rounds: int, separation: int, participations: int) -> Iterator[tuple[int, ...]]:
    for count in range(participations + 1):
        for chosen in itertools.combinations(range(rounds), count):
            if all(later - earlier >= separation for earlier, later in itertools.pairwise(chosen)):
                yield chosen


def worst(encoder: NDArray[np.float64], separation: int, participations: int) -> float:
    """By the definition: the encoder's columns of a pattern, added."""
    rounds = encoder.shape[1]
    taken = patterns(rounds, separation, participations)
    return max(float(np.sum(encoder[:, list(pattern)].sum(1) ** 2)) for pattern in taken)


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
    squared = squared_sensitivity(correlation, *schedule)
    assert expected <= squared <= expected * (1 + 1e-8)


@given(SCHEDULES, st.lists(st.tuples(st.floats(0.01, 0.3), st.floats(0, 0.99)), min_size=1, max_size=3))
def test_blt_against_every_pattern(schedule: tuple[int, int, int], buffers: list[tuple[float, float]]) -> None:
    rounds, separation, participations = schedule
    scales, decays = zip(*buffers, strict=True)
    correlation = BufferedLinearToeplitz(scales=scales, decays=decays)
    column = toeplitz_coefficients(correlation, rounds)
    for place in range(1, rounds):
        assert column[place] == pytest.approx(sum(w * d ** (place - 1) for w, d in buffers))
    expected = worst(toeplitz(column), separation, participations)
    squared = squared_sensitivity(correlation, *schedule)
    assert expected <= squared <= expected * (1 + 1e-8)


@given(SCHEDULES)
def test_the_tree_against_every_pattern(schedule: tuple[int, int, int]) -> None:
    rounds, separation, participations = schedule
    assert squared_sensitivity(BinaryTree(), *schedule) == worst(tree(rounds), separation, participations)


@pytest.mark.parametrize("rounds", range(1, 15))
def test_the_tree_of_every_small_schedule(rounds: int) -> None:
    for separation, participations in itertools.product(range(1, 8), range(1, 5)):
        expected = worst(tree(rounds), separation, participations)
        assert squared_sensitivity(BinaryTree(), rounds, separation, participations) == expected


def test_matrices_are_as_defined() -> None:
    banded = dense(BandedToeplitz(coefficients=(1.0, 0.5)), 3)
    np.testing.assert_array_equal(banded, [[1, 0, 0], [0.5, 1, 0], [0, 0.5, 1]])
    blt = dense(BufferedLinearToeplitz(scales=(0.5, 0.25), decays=(0.5, 0.0)), 3)
    np.testing.assert_array_equal(blt, [[1, 0, 0], [0.75, 1, 0], [0.25, 0.75, 1]])
    np.testing.assert_array_equal(dense(BinaryTree(), 3), [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    for rounds in (1, 8, 11):
        np.testing.assert_array_equal(dense(BinaryTree(), rounds), tree(rounds))


@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_no_directions_change_more_than_one_and_the_same(correlation: Correlation, seed: int) -> None:
    rounds, rng = 12, np.random.default_rng(seed)
    contributions = np.zeros((rounds, 2))
    for place in range(int(rng.integers(4)), rounds, int(rng.integers(3, 6))):
        direction = rng.standard_normal(2)
        contributions[place] = direction / np.linalg.norm(direction)
    changed = float(np.sum((dense(correlation, rounds) @ contributions) ** 2))
    assert changed <= squared_sensitivity(correlation, rounds, 3, 4)


@pytest.mark.parametrize(("separation", "participations"), [(1, 400), (1, 3), (7, 50), (150, 2)])
@pytest.mark.parametrize("bands", [2, 40])
def test_rounding_never_hides_sensitivity(separation: int, participations: int, bands: int) -> None:
    """Against rational arithmetic on the very same floats."""
    rounds = 400
    correlation = BandedToeplitz(coefficients=tuple(1 / (1 + 0.1 * place) for place in range(bands)))
    column = [Fraction(value) for value in toeplitz_coefficients(correlation, rounds)]
    taken = range(0, rounds, separation)[:participations]
    changed = [sum(column[row - place] for place in taken if row >= place) for row in range(rounds)]
    exact = sum(value**2 for value in changed)
    squared = Fraction(squared_sensitivity(correlation, rounds, separation, participations))
    assert exact <= squared <= exact * Fraction(1 + 1e-8)


@pytest.mark.parametrize("participations", [33, 100, 157])
def test_a_crowded_tree_of_no_separation_is_exact(participations: int) -> None:
    """Taking part in the first rounds attains the bound."""
    first = tree(157)[:, :participations].sum(axis=1)
    assert squared_sensitivity(BinaryTree(), 157, 1, participations) == np.sum(first**2)


@given(st.integers(2, 5), st.integers(33, 60), st.integers(0, 2**32 - 1))
def test_a_crowded_trees_bound_holds(separation: int, participations: int, seed: int) -> None:
    rounds, rng = 300, np.random.default_rng(seed)
    gaps = separation + rng.integers(0, 3, participations) * (rng.random(participations) < rng.random())
    taken = np.cumsum(gaps) - separation
    changed = tree(rounds)[:, taken[taken < rounds]].sum(axis=1)
    assert np.sum(changed**2) <= squared_sensitivity(BinaryTree(), rounds, separation, participations)


def test_a_deployed_models_published_figures() -> None:
    """Gboard es-ES: sigma 7, separation 313, 6 participations, 2,000 rounds; published as rho = 0.81 zCDP.

    Xu et al. 2023 (arXiv 2305.18465). The figure is that of a tree of which only the nodes complete within the 2,000
    rounds count; whether rounds one apart have separation 0, 1 or 2 makes no difference to it. If the tree were filled
    up to 2,048 rounds, a device in the last of them would hit its root as well, and it would be 122.
    """
    squared = squared_sensitivity(BinaryTree(), 2_000, 313, 6)
    assert [squared_sensitivity(BinaryTree(), 2_000, separation, 6) for separation in (312, 313, 314)] == [79, 79, 79]
    assert squared_sensitivity(BinaryTree(), 2_048, 313, 6) == 122
    assert squared / (2 * 7**2) == pytest.approx(0.806, abs=5e-4)
    low, high = epsilon_bracket(math.sqrt(squared) / 7, 1e-10)
    assert low == pytest.approx(8.526, abs=5e-4)
    assert high == pytest.approx(8.526, abs=5e-4)


@pytest.mark.parametrize("correlation", KINDS)
def test_more_rounds_and_participations_cost_more_and_separation_less(correlation: Correlation) -> None:
    costs = [squared_sensitivity(correlation, rounds, 7, 5) for rounds in range(1, 60)]
    assert costs == sorted(costs)
    crowded = [squared_sensitivity(correlation, rounds, 3, 60) for rounds in range(80, 130)]
    assert crowded == sorted(crowded)
    oftener = [squared_sensitivity(correlation, 300, 3, participations) for participations in range(25, 45)]
    assert oftener == sorted(oftener)
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


def test_more_rounds_than_the_rounding_margin_covers_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds: expected at most 1000000, got 1000001"):
        squared_sensitivity(IDENTITY, 1_000_001, 1, 1)
