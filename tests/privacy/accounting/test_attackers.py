"""What the best attacker can do, against Neyman and Pearson's best test computed another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from privacy.accounting.accountant import spend
from privacy.accounting.attackers import changed_epsilon, posterior, profile
from privacy.accounting.composition import epsilon_bracket
from privacy.accounting.events import BoundedGaussian, Event, PoissonGaussian

DELTA = 1e-5
ALARMS = (0.1, 0.01, 0.001)


def gaussian(mu: float) -> dict[Event, int]:
    return {BoundedGaussian(task="ab" * 32, noise_multiplier=1 / mu, max_participations=1): 1}


def sampled(rate: float, noise: float, shards: int = 1) -> PoissonGaussian:
    return PoissonGaussian(sampling_rate=rate, noise_multiplier=noise, pivotal_probability=1e-24, shards=shards)


@settings(max_examples=40)
@given(st.floats(0.01, 8.0), st.floats(1e-4, 0.9))
def test_a_gaussian_is_told_apart_as_well_as_the_best_test_does(mu: float, alarms: float) -> None:
    """Dong, Roth and Su 2022, Definition 2.6: the best rates are normal tails that lie mu apart."""
    rates = profile(gaussian(mu), DELTA)
    best = float(norm.cdf(norm.ppf(alarms) + mu))
    assert best <= rates.true_positives(alarms) <= min(1.0, best * 1.02 + 1e-9)
    assert rates.right_guesses == pytest.approx(float(norm.cdf(mu / 2)), abs=1e-8)


def best_of_one_round(rate: float, noise: float, alarms: float) -> float:
    """One coordinate carries all: with the device a mixture, without it one Gaussian, and either may be to be found."""

    def above(x: float, *, used: bool) -> float:
        alone = float(norm.sf(x, 0, noise))
        return (1 - rate) * alone + rate * float(norm.sf(x, 1, noise)) if used else alone

    def threshold(share: float, *, used: bool) -> float:
        return float(brentq(lambda x: above(x, used=used) - share, -60 * noise, 60 * noise + 1))

    found = above(threshold(alarms, used=False), used=True)
    missed = 1 - above(threshold(1 - alarms, used=True), used=False)
    return max(found, missed)


@settings(max_examples=15)
@given(st.sampled_from([0.01, 0.1, 0.5]), st.sampled_from([0.5, 0.9, 3.0]), st.sampled_from(ALARMS))
def test_a_sampled_round_is_told_apart_as_well_as_the_best_test_does(rate: float, noise: float, alarms: float) -> None:
    bound = profile({sampled(rate, noise): 1}, DELTA).true_positives(alarms)
    best = best_of_one_round(rate, noise, alarms)
    assert best <= bound <= best * 1.03 + 1e-6


def test_more_rounds_tell_more_and_no_noise_tells_all() -> None:
    guesses = [profile({sampled(0.1, 0.9): times}, DELTA).right_guesses for times in (1, 4, 16)]
    assert guesses == sorted(guesses)
    assert guesses[0] < guesses[-1]
    silent = profile({BoundedGaussian(task="ab" * 32, noise_multiplier=0.0, max_participations=1): 1}, DELTA)
    assert (silent.right_guesses, silent.true_positives(0.001)) == (1.0, 1.0)
    nothing = profile({}, DELTA)
    assert (nothing.right_guesses, nothing.true_positives(0.01)) == (0.5, pytest.approx(0.01))


def test_lots_that_use_up_delta_leave_nothing_to_promise() -> None:
    rates = profile({sampled(0.1, 0.9, shards=2): 10}, 1e-24)
    assert (rates.right_guesses, rates.true_positives(0.01)) == (1.0, 1.0)


@given(st.floats(0.05, 3.0))
def test_other_updates_in_place_of_a_gaussians_are_twice_as_far(mu: float) -> None:
    doubled = epsilon_bracket(2 * mu, DELTA)[1]
    assert doubled <= changed_epsilon(gaussian(mu), DELTA) <= doubled * 1.0001 + 1e-4


def delta_of_replacing(rate: float, noise: float, epsilon: float) -> float:
    """One sampled round in which the device sends 1 in one world and -1 in the other: by quadrature."""
    x = np.linspace(-1 - 14 * noise, 1 + 14 * noise, 400_001)
    one, other = ((1 - rate) * norm.pdf(x, 0, noise) + rate * norm.pdf(x, place, noise) for place in (1.0, -1.0))
    return float(np.trapezoid(np.maximum(0.0, one - math.exp(epsilon) * other), x))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("noise", [0.7, 1.5])
def test_other_updates_in_place_of_a_sampled_round_cost_no_more_than_is_said(rate: float, noise: float) -> None:
    events = {sampled(rate, noise): 1}
    stated, zeroed = changed_epsilon(events, DELTA), spend(events, DELTA).epsilon
    assert delta_of_replacing(rate, noise, stated) <= DELTA * (1 + 1e-6)
    assert zeroed < stated <= epsilon_bracket(2 / noise, DELTA)[1] + 1e-3


def test_beliefs_follow_bayes_rule() -> None:
    assert posterior(0.5, math.log(3)) == pytest.approx(0.75)
    assert posterior(0.1, math.log(9)) == pytest.approx(0.5)
    assert posterior(0.01, 0.0) == pytest.approx(0.01)
    assert posterior(0.01, math.inf) == 1.0
