"""The cost of picking the best run, against exact divergences of small selections computed by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from privacy.accounting.accountant import spend
from privacy.accounting.events import BoundedGaussian, PoissonGaussian
from privacy.accounting.selection import best_of_random_many, selected

ORDERS = np.array([1.5, 2.0, 3.0, 5.0, 8.0, 16.0, 64.0])
ROUND = PoissonGaussian(sampling_rate=0.064, noise_multiplier=0.63, pivotal_probability=1e-20, shards=1)


def renyi(p: NDArray[np.float64], q: NDArray[np.float64], order: float) -> float:
    return float(np.log(np.sum(p**order * q ** (1 - order))) / (order - 1))


def best_of_geometric(p: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Distribution of the largest of K draws from p over 0, 1, ..., P[K = k] = (1 - 1/mean)^(k - 1) / mean.

    P[largest <= y] is the generating function of K at P[one draw <= y].
    """
    below = np.cumsum(p)
    at_most = (below / mean) / (1 - (1 - 1 / mean) * below)
    return np.diff(np.concatenate([[0.0], at_most]))


outcomes = st.lists(st.floats(0.02, 1.0), min_size=4, max_size=4).map(lambda weights: np.array(weights) / sum(weights))


@given(outcomes, outcomes, st.floats(1, 200))
def test_no_selection_of_an_exactly_known_run_exceeds_the_bound(
    p: NDArray[np.float64], q: NDArray[np.float64], mean: float
) -> None:
    curve = np.array([max(renyi(p, q, order), renyi(q, p, order)) for order in ORDERS])
    bound = selected(ORDERS.tolist(), curve, mean)
    chosen = best_of_geometric(p, mean), best_of_geometric(q, mean)
    for order, limit in zip(ORDERS, bound, strict=True):
        assert renyi(*chosen, order) <= limit + 1e-9
        assert renyi(*chosen[::-1], order) <= limit + 1e-9


def test_selection_really_costs_more_than_one_run() -> None:
    """So that the test above can fail: without the penalty the bound is broken."""
    p, q = np.array([0.99, 0.01]), np.array([0.98, 0.02])
    assert renyi(best_of_geometric(q, 10), best_of_geometric(p, 10), 2.0) > renyi(q, p, 2.0)


def test_lies_between_one_run_and_the_composition_of_all() -> None:
    run = Counter({ROUND: 30})
    best = best_of_random_many([run] * 27, 27, 1e-5)
    assert spend(run, 1e-5).epsilon < best < spend(Counter({ROUND: 30 * 27}), 1e-5).epsilon


def test_a_single_run_costs_at_least_itself() -> None:
    run = Counter({ROUND: 30})
    assert best_of_random_many([run], 1, 1e-5) >= spend(run, 1e-5).epsilon


def test_the_candidate_with_the_least_noise_counts() -> None:
    quiet = Counter({ROUND: 30})
    noisy = Counter({ROUND.model_copy(update={"noise_multiplier": 5.0}): 30})
    assert best_of_random_many([quiet, noisy], 10, 1e-5) == best_of_random_many([quiet], 10, 1e-5)


def test_nothing_is_promised_without_noise() -> None:
    silent = BoundedGaussian(task="t", noise_multiplier=0.0, max_participations=1)
    assert math.isinf(best_of_random_many([Counter({silent: 1}), Counter({ROUND: 1})], 5, 1e-5))


def test_releases_that_hinge_on_a_device_cost_more() -> None:
    often = ROUND.model_copy(update={"pivotal_probability": 1e-3})
    rarely, hinged = (best_of_random_many([Counter({event: 30})], 5, 1e-5) for event in (ROUND, often))
    assert rarely < hinged


@pytest.mark.parametrize("mean", [0.5, math.inf, math.nan])
def test_bad_input(mean: float) -> None:
    with pytest.raises(ValueError, match="mean_runs"):
        best_of_random_many([Counter({ROUND: 1})], mean, 1e-5)
    with pytest.raises(ValueError, match="candidate"):
        best_of_random_many([], 2, 1e-5)
