from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, norm

from privacy.accounting.composition import epsilon_bracket
from privacy.audit.bounds import certified_any, certified_gaussian, estimated_mu, upper_limit

DELTA = 1e-5


def gaussian(mu: float, runs: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    source = np.random.default_rng(seed)
    return source.normal(mu, 1, runs), source.normal(0, 1, runs)


def test_upper_limits_are_those_of_clopper_and_pearson() -> None:
    """Closed form without a hit, 1 - (1 - confidence)^(1 / n), and the published 95% two-sided limit of 3 in 10."""
    assert upper_limit(np.array(0), 50, 0.95) == pytest.approx(1 - 0.05 ** (1 / 50), rel=1e-12)
    assert upper_limit(np.array(3), 10, 0.975) == pytest.approx(0.6525, abs=5e-5)
    assert upper_limit(np.array(10), 10, 0.975) == 1.0


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))), st.floats(0.5, 0.999))
def test_at_the_upper_limit_so_few_hits_have_what_the_confidence_leaves(
    counts: tuple[int, int], confidence: float
) -> None:
    trials, hits = counts
    limit = float(upper_limit(np.array(hits), trials, confidence))
    assert binom.cdf(hits, trials, limit) == pytest.approx(1 - confidence, rel=1e-6)


@pytest.mark.parametrize("mu", [0.0, 0.25, 1.0, 3.0])
def test_bounds_exceed_the_truth_in_at_most_one_run_of_twenty(mu: float) -> None:
    truth = epsilon_bracket(mu, DELTA)[1]
    scores = [gaussian(mu, 300, seed) for seed in range(200)]
    assert sum(certified_gaussian(*pair, DELTA).mu > mu for pair in scores) <= 10
    assert sum(certified_any(*pair, DELTA).epsilon > truth for pair in scores) <= 10


def test_twenty_thousand_pairs_certify_most_of_the_truth() -> None:
    """At mu 1; a bound that needs no Gaussian curve is capped at log(n / 4) and far lower."""
    truth = epsilon_bracket(1.0, DELTA)[0]
    ratios = [certified_gaussian(*gaussian(1.0, 20_000, seed), DELTA).epsilon / truth for seed in range(20)]
    assert np.median(ratios) > 0.95
    assert min(ratios) > 0.9
    assert certified_any(*gaussian(1.0, 20_000, 1), DELTA).epsilon > 0.35 * truth


def test_the_threshold_of_two_normals_is_between_them() -> None:
    assert certified_gaussian(*gaussian(1.0, 20_000, 3), DELTA).threshold == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("runs", [100, 1000])
def test_what_is_told_apart_always_is_bounded_by_the_number_of_runs(runs: int) -> None:
    """With n runs left no error was seen: both limits are 1 - 0.025^(1/n)."""
    present, absent = gaussian(100.0, runs, 0)
    limit = 1 - 0.025 ** (1 / (0.9 * runs))
    assert certified_gaussian(present, absent, DELTA).mu == pytest.approx(-2 * norm.ppf(limit), rel=1e-9)
    expected = math.log((1 - DELTA - limit) / limit)
    assert certified_any(present, absent, DELTA).epsilon == pytest.approx(expected, rel=1e-9)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.integers(0, 50))
@settings(max_examples=30)
def test_bounds_do_not_depend_on_the_scale_of_the_scores(shift: float, scale: float, seed: int) -> None:
    present, absent = gaussian(1.5, 200, seed)
    estimate = certified_gaussian(present, absent, DELTA)
    other = certified_gaussian(present * scale + shift, absent * scale + shift, DELTA)
    assert other.mu == pytest.approx(estimate.mu, abs=0.2)


def test_guessing_the_wrong_way_round_certifies_nothing() -> None:
    absent, present = gaussian(1.0, 1000, 5)
    certified = certified_gaussian(present, absent, DELTA)
    assert (certified.mu, certified.epsilon) == (0.0, 0.0)


def test_the_estimate_is_the_truth_but_for_chance() -> None:
    """Its standard error is about sqrt(2 / n) = 0.01."""
    assert estimated_mu(*gaussian(1.0, 20_000, 7)) == pytest.approx(1.0, abs=0.04)
    assert estimated_mu(np.ones(30), np.zeros(30)) is None


@pytest.mark.parametrize(
    ("present", "absent", "message"),
    [
        (np.zeros(19), np.zeros(19), "n >= 20 on both sides"),
        (np.zeros(30), np.zeros(31), "n >= 20 on both sides"),
        (np.zeros((5, 20)), np.zeros((5, 20)), "n >= 20 on both sides"),
        (np.zeros(30), np.full(30, np.nan), "absent: expected finite scores"),
        (np.full(30, np.inf), np.zeros(30), "present: expected finite scores"),
    ],
)
def test_scores_that_say_nothing_are_refused(
    present: NDArray[np.float64], absent: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        certified_gaussian(present, absent, DELTA)


@pytest.mark.parametrize(("delta", "confidence", "name"), [(0.0, 0.95, "delta"), (1e-5, 1.0, "confidence")])
def test_shares_lie_between_zero_and_one(delta: float, confidence: float, name: str) -> None:
    for bound in (certified_gaussian, certified_any):
        with pytest.raises(ValueError, match=f"{name}: expected more than 0 and less than 1"):
            bound(np.zeros(30), np.ones(30), delta, confidence)
