"""Known answers come from dp-accounting's published examples and from mpmath, which has no code of the project's."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings, strategies as st
from opacus.accountants.utils import get_noise_multiplier

from privacy.accounting import composition, second_opinion
from privacy.accounting.accountant import (
    AccountantsDisagree,
    confirmed_spend,
    epsilon_of,
    known_cohorts_epsilon,
    message_level_epsilon,
    privacy_curve,
    rounds_left,
    spend,
    spend_by_round,
    within,
)
from privacy.accounting.calibration import message_noise_for, noise_multiplier_for
from privacy.accounting.composition import Bracket, Composition, epsilon_bracket, log_delta
from privacy.accounting.events import BoundedGaussian, Event, PoissonGaussian, sampled_event
from privacy.accounting.pivotal import LOTS_DELTA
from privacy.task.task import AggregationPolicy, BoundedParticipation, LocalTraining, PoissonParticipation


def poisson(rate: float, noise: float, *, pivotal: float = 1e-24, shards: int = 1) -> PoissonGaussian:
    return PoissonGaussian(sampling_rate=rate, noise_multiplier=noise, pivotal_probability=pivotal, shards=shards)


def policy(min_survivors: int, shards: int = 1) -> AggregationPolicy:
    return AggregationPolicy(max_dropouts=2, min_survivors=min_survivors, modulus_bits=16, shards=shards)


def bounded(noise: float, limit: int, task: str = "a") -> BoundedGaussian:
    return BoundedGaussian(task=task, noise_multiplier=noise, max_participations=limit)


def exact_delta(epsilon: float, mu: float) -> mpmath.mpf:
    """Balle and Wang 2018, Theorem 8, at 80 digits."""
    with mpmath.workdps(80):
        e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)
        return mpmath.ncdf(m / 2 - e / m) - mpmath.exp(e) * mpmath.ncdf(-m / 2 - e / m)


@pytest.mark.parametrize(
    ("event", "rounds", "delta", "expected"),
    [
        (poisson(0.01, 1.0), 1_000, 1e-6, 2.1245),
        (poisson(0.01, 1.0), 10_000, 1e-6, 6.9074),
        (poisson(0.001, 0.6), 2_000, 1e-7, 3.0455),
    ],
)
def test_poisson_known_answers(event: PoissonGaussian, rounds: int, delta: float, expected: float) -> None:
    assert expected <= spend([event] * rounds, delta).epsilon <= expected + 2e-4


@pytest.mark.parametrize(("rounds", "expected"), [(1_000, 2.437), (10_000, 7.414)])
def test_the_second_accountant_known_answers(rounds: int, expected: float) -> None:
    assert spend([poisson(0.01, 1.0)] * rounds, 1e-6).second_epsilon == pytest.approx(expected, abs=2e-3)


def test_the_unamplified_gaussian_known_answer() -> None:
    assert spend([bounded(1.0, 1)], 1e-6).epsilon == 4.8866


@settings(deadline=None, max_examples=150)
@given(
    mu=st.floats(1e-3, 200),
    log10_delta=st.floats(-40, -0.5),
)
def test_the_gaussian_curve_brackets_the_truth(mu: float, log10_delta: float) -> None:
    delta = 10.0**log10_delta
    low, high = epsilon_bracket(mu, delta)
    assert exact_delta(high, mu) <= delta
    assert high == 0 or exact_delta(max(0.0, low - 1e-7 * (1 + low)), mu) >= delta * (1 - 1e-6)
    assert high - low <= 1e-9 * (1 + high)


@pytest.mark.parametrize(("epsilon", "mu"), [(0.0, 0.01), (5000.0, 100.0), (1.0, 1e-1), (60.0, 10.0), (1e-6, 5.0)])
def test_log_delta_is_accurate_far_out(epsilon: float, mu: float) -> None:
    with mpmath.workdps(80):
        expected = float(mpmath.log(exact_delta(epsilon, mu)))
    assert log_delta(epsilon, mu) == pytest.approx(expected, abs=1e-9)


def test_the_worst_device_takes_part_as_often_as_it_may_and_no_more() -> None:
    once, four, five = (spend([bounded(3.0, 4)] * rounds, 1e-6).epsilon for rounds in (1, 4, 5))
    assert once < four == five == spend([bounded(1.5, 1)], 1e-6).epsilon


MIXED = [poisson(0.03, 0.8), bounded(3.0, 2), poisson(0.03, 0.8, pivotal=1e-5), poisson(0.05, 1.1), bounded(3.0, 2)]


@pytest.mark.parametrize(
    "events",
    [
        [poisson(200 / 7000, 0.52)] * 30,
        [bounded(3.0, 4)] * 6,
        [bounded(0.0, 1)],
        MIXED,
        [poisson(0.02, 1.0)],
        [poisson(0.1, 0.0103)],  # thousands, where a coarser grid can give the lower of two upper bounds
    ],
)
def test_a_rounds_epsilon_is_that_of_everything_from_scratch(events: list[Event]) -> None:
    for rounds in {1, len(events) // 2, len(events)} - {0}:
        assert epsilon_of(Counter(events[:rounds]), 1e-5) == spend(events[:rounds], 1e-5).epsilon


@pytest.mark.parametrize("below", [1e-16, 1e-12, 1e-8, 1e-6])
def test_a_rate_next_to_one_costs_what_the_rounds_cost_without_sampling(below: float) -> None:
    almost = spend([poisson(1 - below, 0.25)] * 3, 1e-2).epsilon
    assert almost == pytest.approx(epsilon_bracket(math.sqrt(3) / 0.25, 1e-2)[1], rel=1e-3)


def test_a_rounds_epsilon_needs_two_accountants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "upper_bound", lambda *_: 1.0)  # below what the coarse grid shows to be lost
    with pytest.raises(AccountantsDisagree):
        epsilon_of([poisson(200 / 7000, 0.52)] * 29, 1e-5)


def test_limits_are_counted_per_task() -> None:
    both = spend([bounded(3.0, 1, "a"), bounded(3.0, 1, "b")] * 3, 1e-6)
    assert both.epsilon == spend([bounded(3.0, 2)] * 2, 1e-6).epsilon


def test_the_least_noisy_rounds_of_a_task_are_charged() -> None:
    mixed = [bounded(9.0, 2), bounded(2.0, 2), bounded(9.0, 2), bounded(2.0, 2)]
    assert spend(mixed, 1e-6).epsilon == spend([bounded(2.0, 2)] * 2, 1e-6).epsilon


def test_sampled_and_unsampled_rounds_compose() -> None:
    sampled, plain = [poisson(0.05, 1.2)] * 10, [bounded(4.0, 2)] * 5
    together = spend(sampled + plain, 1e-6).epsilon
    assert max(spend(sampled, 1e-6).epsilon, spend(plain, 1e-6).epsilon) < together
    assert together < spend(sampled, 5e-7).epsilon + spend(plain, 5e-7).epsilon


@settings(deadline=None, max_examples=6)
@given(
    rate=st.floats(1e-4, 1),
    noise=st.floats(0.05, 50),
    rounds=st.integers(1, 400),
    log10_delta=st.floats(-10, -2),
)
def test_the_accountants_agree_and_epsilon_is_rounded_up(
    rate: float, noise: float, rounds: int, log10_delta: float
) -> None:
    delta = 10.0**log10_delta
    spent = spend([poisson(rate, noise)] * rounds, delta)
    unamplified = epsilon_bracket(math.sqrt(rounds) / noise, delta)[1]
    assert spent.epsilon == round(spent.epsilon, 4) or spent.epsilon < 1
    assert spent.epsilon <= spent.second_epsilon + 2e-3
    assert spent.epsilon <= unamplified * 1.001 + 0.02
    assert spent.discrepancy >= 0


@settings(deadline=None, max_examples=100)
@given(noise=st.floats(0.05, 1e4), limit=st.integers(1, 50), log10_delta=st.floats(-12, -2))
def test_what_is_stated_without_sampling_is_at_most_a_ten_thousandth_too_much(
    noise: float, limit: int, log10_delta: float
) -> None:
    """Also where epsilon is small; by the exact curve, at 80 digits."""
    mu, delta = math.sqrt(limit) / noise, 10.0**log10_delta
    stated = spend([bounded(noise, limit)] * limit, delta).epsilon
    assert exact_delta(stated, mu) <= delta
    assert stated == 0 or exact_delta(stated / 1.0001, mu) > delta * (1 - 1e-8)


@pytest.mark.parametrize(("event", "rounds"), [(poisson(0.001, 1.0), 1), (poisson(0.01, 3.0), 20)])
def test_what_is_stated_of_few_sampled_rounds_is_at_most_a_thousandth_too_much(
    event: PoissonGaussian, rounds: int
) -> None:
    """Against privacy loss distributions on a grid four times finer; epsilon is 0.3 and 0.04."""
    stated, fine = spend([event] * rounds, 1e-6), PLDAccountant(value_discretization_interval=composition.GRID / 4)
    gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
    fine.compose(dp_event.PoissonSampledDpEvent(event.sampling_rate, gaussian), rounds)
    best = fine.get_epsilon(1e-6)
    assert best * (1 - 1e-9) <= stated.epsilon <= 1.001 * best


@pytest.mark.parametrize("event", [poisson(0.1, 0.0), bounded(0.0, 3)])
def test_no_noise_is_no_privacy(event: PoissonGaussian | BoundedGaussian) -> None:
    assert spend([event], 1e-6).epsilon == math.inf
    assert spend_by_round([event, event], 1e-6) == [math.inf, math.inf]


def test_nothing_spent_costs_nothing() -> None:
    assert spend([], 1e-6).epsilon == 0
    assert spend_by_round([], 1e-6) == []


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-6, math.nan])
def test_delta_out_of_range_is_named(delta: float) -> None:
    with pytest.raises(ValueError, match="delta: expected"):
        spend([], delta)


@pytest.mark.parametrize(
    "wrong",
    [
        Bracket(1.0, 2.0, 1.5, "second below first"),
        Bracket(3.0, 2.0, 4.0, "lower above upper"),
        Bracket(1.0, 2.0, 3.0, "too far apart"),
        Bracket(math.nan, math.nan, 3.0, "not a number"),
    ],
)
def test_disagreement_fails_closed(wrong: Bracket) -> None:
    with pytest.raises(AccountantsDisagree):
        composition._checked(wrong, 0.1, 0.001)


def test_a_second_accountant_below_the_first_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "rdp_epsilon", lambda *_: 0.5)
    with pytest.raises(AccountantsDisagree, match="nothing may be released"):
        composition.bracket(Composition(1.2345), 1e-6)


@pytest.mark.parametrize(("pivotal", "expected"), [(1e-24, 7.9810), (3.4e-4, 8.0237), (0.0321, 9.6249)])
def test_releases_that_hinge_on_the_device_cost_more(pivotal: float, expected: float) -> None:
    """200 devices at rate .2 with all, half and 56 of them within reach: by a numerical integration of its own."""
    rounds = 16 if pivotal > 1e-2 else 20
    stated = spend([poisson(0.2, 0.9, pivotal=pivotal)] * rounds, 1e-5).epsilon
    assert expected - 3e-3 <= stated <= expected


def test_averaging_over_the_others_draws_would_be_no_bound() -> None:
    """16 releases with 56 within reach: what two worlds differ by when all others send one vector."""
    averaged = spend([poisson(0.0321 + 0.9679 * 0.2, 0.9)] * 16, 1e-5).epsilon
    mixture = spend([poisson(0.2, 0.9, pivotal=0.0321)] * 16, 1e-5).epsilon
    assert averaged < 8.1
    assert mixture > 9.6


@pytest.mark.parametrize("pivotal", [0.05, 0.4])
def test_the_mixture_is_that_of_both_components_whichever_it_is(pivotal: float) -> None:
    """Of one round in closed form: the hockey-stick divergence of a mixture that is known is the average."""
    noise, rate, delta = 1.0, 0.3, 1e-3
    epsilon = spend([poisson(rate, noise, pivotal=pivotal)], delta).epsilon

    def at(log_odds: float) -> float:
        sampled = rate * exact_delta(math.log(1 + math.expm1(log_odds) / rate), 1 / noise)
        return float((1 - pivotal) * sampled + pivotal * exact_delta(log_odds, 1 / noise))

    assert at(epsilon) <= delta * (1 + 1e-6)
    assert at(epsilon - 2e-3) > delta


@pytest.mark.long
def test_many_kinds_of_rounds_are_composed_as_one_after_the_other() -> None:
    kinds = [poisson(0.1, 1.0, pivotal=1e-3 * 1.3**-number) for number in range(40)]
    least, most = (spend([kind] * 40, 1e-5).epsilon for kind in (kinds[-1], kinds[0]))
    confirmed = confirmed_spend(kinds, 1e-5)
    assert least < confirmed.epsilon < most
    assert confirmed.second_accountant.startswith("privacy random variables")
    half = spend(kinds[:20], 1e-5).epsilon
    assert half < confirmed.epsilon


def test_what_is_too_unlikely_to_matter_is_paid_for_in_delta() -> None:
    assert spend([poisson(0.1, 1.0, pivotal=1e-14)] * 10, 1e-5).epsilon == spend([poisson(0.1, 1.0)] * 10, 1e-5).epsilon
    composition_, left = composition.settle(Counter({poisson(0.1, 1.0, pivotal=1e-14): 10}), 1e-5)
    assert left == pytest.approx(1e-5 - 1e-13, rel=1e-12)
    assert composition_ == Composition.of(0.0, [(composition.Sampled(0.1, 1.0), 10)])


def test_unlikely_lots_come_off_delta() -> None:
    assert spend([poisson(0.1, 1.0)] * 4, 1e-5).lots_delta == 0
    assert spend([poisson(0.1, 1.0, shards=3)] * 4, 1e-5).lots_delta == 4 * LOTS_DELTA
    assert spend([poisson(0.1, 1.0, shards=3)] * 4, 2 * LOTS_DELTA).epsilon == math.inf


def test_where_every_round_is_weak_the_grid_is_fine_enough() -> None:
    """At rate .001 and noise 50 a loss has a deviation of 2e-5: the fixed grid gave .0035."""
    assert 0.0015 < spend([poisson(0.001, 50.0)] * 1_000, 1e-6).epsilon < 0.00165


@pytest.mark.parametrize("delta", [1e-13, 1e-14, 1e-16, 1e-18, 1e-30])
def test_tiny_deltas_have_bounds_too(delta: float) -> None:
    """Below 1e-12 sums of floats tell nothing: the Renyi bound, and that without sampling, are what there is."""
    for event in (poisson(0.2, 0.9), poisson(0.001, 50.0), poisson(0.2, 0.9, pivotal=1e-3)):
        spent = confirmed_spend([event] * 20, delta)
        unsampled, _ = epsilon_bracket(math.sqrt(20) / event.noise_multiplier, delta)
        assert spend([event] * 20, 1e-12).epsilon < spent.epsilon <= unsampled * (1 + 1e-9) + 1e-4
        assert spent.accountant != spent.second_accountant


@pytest.mark.parametrize("delta", [0.2, 0.5, 0.9])
def test_large_deltas_are_confirmed_too(delta: float) -> None:
    """The independent accountant's bounds go below zero there, which nothing does."""
    confirmed = confirmed_spend([poisson(0.01, 1.0)] * 10, delta)
    assert 0 <= confirmed.epsilon <= 1e-3
    assert confirmed.second_epsilon >= 0


def test_towards_those_who_know_the_cohort_nothing_is_amplified() -> None:
    events = [poisson(0.2, 0.9, pivotal=1e-4)] * 20 + [bounded(4.0, 2)] * 5
    known = known_cohorts_epsilon(events, 1e-5)
    assert known == spend([bounded(0.9, 20)] * 20 + [bounded(4.0, 2, "b")] * 5, 1e-5).epsilon
    assert known > spend(events, 1e-5).epsilon
    assert known_cohorts_epsilon([bounded(4.0, 2)] * 5, 1e-5) is None


def test_the_curve_grows_and_ends_at_the_spend() -> None:
    events = [poisson(0.05, 1.0)] * 12
    curve = spend_by_round(events, 1e-6)
    assert len(curve) == 12
    assert all(before <= after for before, after in pairwise(curve))
    assert curve[4] == spend(events[:5], 1e-6).epsilon
    assert curve[-1] == spend(events, 1e-6).epsilon


def test_a_long_curve_is_an_upper_bound_everywhere() -> None:
    events = [bounded(20.0, 150)] * 200
    curve = spend_by_round(events, 1e-6)
    assert len(curve) == 200
    assert all(curve[i - 1] >= spend(events[:i], 1e-6).epsilon for i in range(1, 201))
    assert curve[-1] == spend(events, 1e-6).epsilon


MIXED = [poisson(0.01, 1.0)] * 100 + [bounded(20.0, 40)] * 60


@pytest.mark.parametrize("events", [[poisson(0.01, 1.0)] * 1000, [bounded(4.0, 10)] * 20, MIXED])
def test_an_independent_accountant_confirms_the_spend(events: list[Event]) -> None:
    confirmed, quick = confirmed_spend(events, 1e-6), spend(events, 1e-6)
    assert confirmed.epsilon == quick.epsilon
    assert confirmed.second_accountant not in (quick.accountant, quick.second_accountant)
    assert confirmed.second_epsilon == pytest.approx(quick.epsilon, abs=0.05)
    assert 0 <= confirmed.discrepancy < 0.05


def test_an_independent_accountant_that_says_otherwise_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_opinion, "_prv", lambda *_: (3.0, 3.1))
    with pytest.raises(AccountantsDisagree, match="nothing may be released"):
        confirmed_spend([poisson(0.02, 1.0)] * 7, 1e-6)


def test_far_above_any_promise_the_second_opinion_is_a_bound() -> None:
    """prv-accountant gives out there: between 30 and 50 by raising, at 12,000 by an infinite bracket."""
    for rounds, noise in ((30, 0.4), (100, 0.04)):
        events = [poisson(0.2, noise)] * rounds
        confirmed, quick = confirmed_spend(events, 1e-5), spend(events, 1e-5)
        assert confirmed.epsilon == quick.epsilon > 20
        assert (confirmed.second_accountant, confirmed.second_epsilon) == (composition.RDP_NAME, quick.second_epsilon)


def test_far_above_any_promise_a_grid_that_gives_out_is_replaced_by_a_bound() -> None:
    """Seen where a simulation of 200 of 1,000 devices has the noise of a fleet."""
    noise = 0.66 * 200 / 5_000 * 13**0.5
    events = [poisson(0.2, noise)] * 30
    for times in (14, 30):
        spent = confirmed_spend(events[:times], 1e-8)
        unsampled, _ = epsilon_bracket(times**0.5 / noise, spent.delta)
        assert 20 < spent.epsilon <= math.nextafter(unsampled, math.inf) + 1e-4
    assert math.isfinite(max(spend_by_round(events[:14], 1e-8)))


def test_no_promise_without_a_second_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_out(*_: object) -> tuple[float, float]:
        raise RuntimeError("Discrete mean differs")

    monkeypatch.setattr(second_opinion, "_prv", gives_out)
    with pytest.raises(AccountantsDisagree, match="no second opinion"):
        confirmed_spend([poisson(0.02, 1.0)] * 8, 1e-6)


@given(st.integers(1, 300), st.floats(0.6, 4.0))
@settings(max_examples=6, deadline=None)
def test_within_is_what_the_spend_says(times: int, noise: float) -> None:
    events = [poisson(0.02, round(noise, 1))] * times
    epsilon = spend(events, 1e-6).epsilon
    assert within(events, 1e-6, epsilon)
    assert not within(events, 1e-6, epsilon - 0.0001)


@pytest.mark.parametrize("event", [poisson(0.02, 1.0), bounded(20.0, 10_000)])
def test_rounds_left_are_the_most_that_fit(event: Event) -> None:
    spent = [event] * 50
    left = rounds_left(spent, event, 1e-6, 4.0)
    assert left > 0
    assert within(spent + [event] * left, 1e-6, 4.0)
    assert not within(spent + [event] * (left + 1), 1e-6, 4.0)
    assert rounds_left(spent + [event] * (left + 1), event, 1e-6, 4.0) == 0


def test_the_privacy_curve_is_the_spend_at_each_delta() -> None:
    deltas = [1e-8, 1e-6, 1e-4]
    assert privacy_curve(MIXED, deltas) == [spend(MIXED, delta).epsilon for delta in deltas]


@pytest.mark.parametrize("epsilon", [0.5, pytest.param(8.0, marks=pytest.mark.long)])
def test_calibration_for_cohorts_is_the_smallest_that_fits(epsilon: float) -> None:
    participation = PoissonParticipation(population=1_000, sampling_rate=0.064)
    noise = noise_multiplier_for(participation, 30, epsilon, 1e-5, policy(16))
    events = [sampled_event(participation, policy(16), level) for level in (noise, round(noise - 0.01, 2))]
    assert noise == round(noise, 2)
    assert spend([events[0]] * 30, 1e-5).epsilon <= epsilon < spend([events[1]] * 30, 1e-5).epsilon


def test_calibration_without_amplification_is_the_smallest_that_fits() -> None:
    noise = noise_multiplier_for(BoundedParticipation(cohort=64, max_participations=4), 30, 8.0, 1e-5, policy(16))
    assert spend([bounded(noise, 4)] * 30, 1e-5).epsilon <= 8.0
    assert spend([bounded(noise - 0.01, 4)] * 30, 1e-5).epsilon > 8.0


@pytest.mark.long
def test_calibration_pays_for_what_few_others_in_a_shard_would_show() -> None:
    participation = PoissonParticipation(population=4_000, sampling_rate=0.1)
    few, many = (noise_multiplier_for(participation, 100, 4.0, 1e-9, policy(least, 4)) for least in (10, 38))
    assert few < many
    for noise, least in ((few, 10), (many, 38)):
        event = sampled_event(participation, policy(least, 4), noise)
        assert spend([event] * 100, 1e-9).epsilon <= 4.0
    with pytest.raises(ValueError, match="min_survivors"):
        noise_multiplier_for(participation, 5, 8.0, 5e-6, policy(90, 4))


def test_calibration_refuses_what_cannot_be() -> None:
    often = BoundedParticipation(cohort=64, max_participations=1_000_000)
    with pytest.raises(ValueError, match=r"epsilon: 0\.01 at delta 1e-06 cannot be kept over 1000000 rounds"):
        noise_multiplier_for(often, 1_000_000, 0.01, 1e-6, policy(16))
    with pytest.raises(ValueError, match="min_survivors"):
        noise_multiplier_for(PoissonParticipation(population=100, sampling_rate=0.1), 30, 8.0, 1e-5, policy(9))
    for rounds, epsilon in ((0, 1.0), (1, 0.0), (1, math.inf), (1, math.nan)):
        with pytest.raises(ValueError, match=r"(rounds|epsilon): expected"):
            noise_multiplier_for(often, rounds, epsilon, 1e-6, policy(16))


def training(rate: float, noise: float, steps: int = 15) -> LocalTraining:
    return LocalTraining(
        steps=steps, sampling_rate=rate, expected_batch=2.0, learning_rate=0.5, message_clip=1.0, message_noise=noise
    )


def test_message_level_known_answers() -> None:
    assert message_level_epsilon(training(0.2, 1.0), 1, 1e-3) == pytest.approx(3.7, abs=0.06)
    assert message_level_epsilon(training(1.0, 4.0, 4), 4, 1e-6) == spend([bounded(1.0, 1)], 1e-6).epsilon
    assert message_level_epsilon(training(0.2, 0.0), 1, 1e-3) == math.inf
    assert message_level_epsilon(training(0.2, 1.0), 0, 1e-3) == 0
    with pytest.raises(ValueError, match="participations"):
        message_level_epsilon(training(0.2, 1.0), -1, 1e-3)


@pytest.mark.parametrize(("rate", "steps", "epsilon"), [(1 / 16, 512, 8.0), (0.25, 128, 1.0), (1.0, 16, 3.0)])
def test_calibration_of_dp_sgd_is_the_smallest_that_fits(rate: float, steps: int, epsilon: float) -> None:
    noise = message_noise_for(rate, steps, epsilon, 1e-5)
    less = round(noise - 0.01, 2)
    assert message_level_epsilon(training(rate, noise, steps), 1, 1e-5) <= epsilon
    assert message_level_epsilon(training(rate, less, steps), 1, 1e-5) > epsilon


@pytest.mark.long
def test_calibration_of_dp_sgd_agrees_with_opacus() -> None:
    theirs = get_noise_multiplier(
        target_epsilon=8.0, target_delta=1e-5, sample_rate=1 / 16, steps=512, accountant="prv", epsilon_tolerance=0.02
    )
    assert message_noise_for(1 / 16, 512, 8.0, 1e-5) == pytest.approx(theirs, abs=0.015)


@pytest.mark.parametrize(
    ("rate", "steps", "epsilon", "named"),
    [
        (0.0, 10, 1.0, "sampling_rate"),
        (1.5, 10, 1.0, "sampling_rate"),
        (0.1, 0, 1.0, "steps"),
        (0.1, 10, 0.0, "epsilon"),
    ],
)
def test_calibration_of_dp_sgd_refuses_what_cannot_be(rate: float, steps: int, epsilon: float, named: str) -> None:
    with pytest.raises(ValueError, match=f"{named}: expected"):
        message_noise_for(rate, steps, epsilon, 1e-5)


def test_message_level_composes_over_participations() -> None:
    once, twice = (message_level_epsilon(training(0.2, 1.0), times, 1e-3) for times in (1, 2))
    assert once < twice < 2 * once


def test_a_cohort_of_fixed_size_costs_more_than_a_sampled_one_and_no_more_than_is_charged() -> None:
    """Drawn without replacement, n of N: given the others, a device's round is q N(x) + (1 - q) N(y) against
    q N(0) + (1 - q) N(y), where y is the device that takes its place. With y = -x the tails show the device with no
    factor q: Poisson's figure is too low, and only the unamplified one, which is charged, is safe.
    """
    rate, sigma, delta = 0.1, 1.0, 1e-6
    z = np.linspace(-15.0, 15.0, 400_001)
    density = lambda at: np.exp(-((z - at) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))  # noqa: E731
    with_it = rate * density(1.0) + (1 - rate) * density(-1.0)
    without = rate * density(0.0) + (1 - rate) * density(-1.0)

    def delta_of(epsilon: float) -> float:
        return float(np.trapezoid(np.maximum(with_it - math.exp(epsilon) * without, 0.0), z))

    sampled = spend([poisson(rate, sigma)], delta).epsilon
    charged = spend([bounded(sigma, 1)], delta).epsilon
    assert delta_of(sampled) > 100 * delta
    assert delta_of(charged) <= delta


def test_orders_that_are_left_out_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    composition.rdp_epsilon.cache_clear()
    composition._rdp_of_round.cache_clear()
    assert composition.rdp_epsilon(Composition(0.0, ((composition.Sampled(0.5, 250.0), 10),)), 1e-5) < 0.1
    assert caplog.records == []
