from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, strategies as st

from privacy.accounting.composition import epsilon_bracket
from privacy.audit.bounds import any_epsilon, chance_of, correct_guesses, gaussian_mu, guesses_for, refutes


@pytest.mark.parametrize(("canaries", "guesses"), [(10, 10), (100, 100), (5000, 40)])
def test_all_right_without_delta_has_a_closed_form(canaries: int, guesses: int) -> None:
    """(e^eps / (1 + e^eps))^r = 0.05."""
    right = 0.05 ** (1 / guesses)
    assert any_epsilon(canaries, guesses, guesses, 1e-300) == pytest.approx(math.log(right / (1 - right)), rel=1e-6)


@pytest.mark.parametrize(
    ("guesses", "correct", "epsilon", "delta"), [(3, 2, 1.0, 0.1), (6, 5, 0.5, 0.01), (5, 0, 1, 0)]
)
def test_the_chance_is_the_theorem_s_by_enumeration(guesses: int, correct: int, epsilon: float, delta: float) -> None:
    """Steinke, Nasr and Jagielski 2023, Theorem 5.2, with the binomial written out over all outcomes."""
    right = math.exp(epsilon) / (1 + math.exp(epsilon))
    mass = [0.0] * (guesses + 1)
    for outcome in product((0, 1), repeat=guesses):
        mass[sum(outcome)] += math.prod(right if hit else 1 - right for hit in outcome)
    beta = sum(mass[correct:])
    alpha = max((2 / i * sum(mass[correct - i : correct]) for i in range(1, correct + 1)), default=0.0)
    expected = min(1.0, beta + 10 * delta * alpha)
    assert chance_of(10, guesses, correct, epsilon, delta) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "mu"),
    [
        (100, 100, 80, 0.530689),
        (1000, 100, 95, 0.786812),
        (1000, 1000, 650, 0.260111),
        (8000, 400, 330, 0.445340),
        (50, 20, 20, 0.868572),
    ],
)
def test_mu_is_that_of_the_published_recursion(canaries: int, guesses: int, correct: int, mu: float) -> None:
    """Mahloujifar, Melis and Chaudhuri 2024, Algorithm 3, run once by itself in its published form, on h and r."""
    assert gaussian_mu(canaries, guesses, correct) == pytest.approx(mu, abs=1e-6)


@pytest.mark.parametrize(("mu", "canaries", "guesses"), [(0.5, 500, 100), (1.0, 200, 200), (2.0, 100, 20)])
def test_the_truth_is_refuted_in_at_most_one_run_of_twenty(mu: float, canaries: int, guesses: int) -> None:
    source, alarms = np.random.default_rng(2), 0
    for _ in range(400):
        coins = source.random(canaries) < 0.5
        right = correct_guesses(source.normal(size=canaries) + mu * coins, coins, guesses)
        alarms += refutes(canaries, guesses, right, mu, 0.05)
    assert alarms <= 20


@given(st.integers(2, 300).flatmap(lambda r: st.tuples(st.just(r), st.integers(0, r - 1))), st.integers(0, 500))
def test_one_more_right_guess_never_certifies_less(counts: tuple[int, int], more: int) -> None:
    guesses, correct = counts
    lower, higher = (gaussian_mu(guesses + more, guesses, right) for right in (correct, correct + 1))
    assert lower <= higher + 1e-6


def test_the_gaussian_bound_says_more_than_that_for_any_mechanism() -> None:
    mu = gaussian_mu(2000, 200, 190)
    assert epsilon_bracket(mu, 1e-5)[0] > 1.2 * any_epsilon(2000, 200, 190, 1e-5)


def test_half_right_certifies_nothing() -> None:
    assert gaussian_mu(1000, 1000, 500) == 0.0
    assert any_epsilon(1000, 1000, 500, 1e-5) == 0.0


def test_the_number_of_guesses_is_chosen_by_the_claim() -> None:
    """What is easily told apart is guessed everywhere, what is not only where it is clearest."""
    chosen = [guesses_for(8000, mu, lambda guesses, right: gaussian_mu(8000, guesses, right)) for mu in (0.25, 4.0)]
    assert 2 < chosen[0] < chosen[1] <= 8000


def test_guesses_are_the_clearest_of_both_sides() -> None:
    scores, coins = np.array([-3.0, -1.0, 0.1, 0.2, 2.0]), np.array([False, True, True, False, True])
    assert [correct_guesses(scores, coins, guesses) for guesses in (0, 1, 2, 3, 5)] == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("counts", [(10, 11, 5), (10, 5, 6), (10, 5, -1), (0, 0, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected 0 <= correct <= guesses <= canaries"):
        gaussian_mu(*counts)
    with pytest.raises(ValueError, match="expected 0 <= correct <= guesses <= canaries"):
        any_epsilon(*counts, 1e-5)
