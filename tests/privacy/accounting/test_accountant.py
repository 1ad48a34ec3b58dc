"""Known answers come from dp-accounting's published examples and from mpmath, which has no code of the project's."""

from __future__ import annotations

import math
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
    message_level_epsilon,
    privacy_curve,
    rounds_left,
    spend,
    spend_by_round,
    within,
)
from privacy.accounting.calibration import message_noise_for, noise_multiplier_for
from privacy.accounting.composition import Bracket, Composition, epsilon_bracket, log_delta, planned_truncation_delta
from privacy.accounting.events import BoundedGaussian, Event, PoissonGaussian
from privacy.task.task import AggregationPolicy, BoundedParticipation, LocalTraining, PoissonParticipation, largest_draw


def poisson(
    rate: float, noise: float, *, population: int = 1_000_000, min_survivors: int = 1, shards: int = 1
) -> PoissonGaussian:
    return PoissonGaussian(
        population=population, sampling_rate=rate, noise_multiplier=noise, min_survivors=min_survivors, shards=shards
    )


def policy(min_survivors: int, shards: int = 1) -> AggregationPolicy:
    return AggregationPolicy(max_dropouts=2, min_survivors=min_survivors, modulus_bits=16, shards=shards)


def out_of_range(others: int, rate: float, least: int, most: int) -> float:
    """P[Bin(others, rate)] below `least` or at least `most`, term by term."""
    with mpmath.workdps(40):
        q = mpmath.mpf(rate)
        terms = (mpmath.binomial(others, k) * q**k * (1 - q) ** (others - k) for k in range(others + 1))
        return float(sum(term for k, term in enumerate(terms) if k < least or k >= most))


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
    participation = PoissonParticipation(population=event.population, sampling_rate=event.sampling_rate)
    ideal = delta + planned_truncation_delta(participation, 1, rounds)
    assert expected <= spend([event] * rounds, ideal).epsilon <= expected + 2e-4


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


@settings(deadline=None, max_examples=12)
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
    """Against privacy loss distributions on a grid ten times finer; epsilon is 0.3 and 0.04."""
    stated, fine = spend([event] * rounds, 1e-6), PLDAccountant(value_discretization_interval=composition.GRID / 10)
    gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
    fine.compose(dp_event.PoissonSampledDpEvent(event.sampling_rate, gaussian), rounds)
    best = fine.get_epsilon(1e-6 - stated.truncation_delta)
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


@pytest.mark.parametrize("shards", [1, 3])
def test_the_truncation_delta_is_the_binomial_tails_of_the_other_devices(shards: int) -> None:
    participation = PoissonParticipation(population=200, sampling_rate=0.1)
    most = largest_draw(200, 0.1 / shards)
    expected = 30 * out_of_range(199, 0.1 / shards, 5, most)
    assert planned_truncation_delta(participation, 5, 30, shards) == pytest.approx(expected, rel=1e-8)
    assert planned_truncation_delta(participation, 5, 30, shards) >= expected
    assert planned_truncation_delta(BoundedParticipation(cohort=10, max_participations=2), 5, 30, shards) == 0


@pytest.mark.parametrize(("population", "rate"), [(1_000, 0.064), (1_000, 0.9), (10_000, 0.001), (7, 0.5)])
def test_the_largest_draw_is_exceeded_with_next_to_no_probability(population: int, rate: float) -> None:
    """And is none of the draws that a federation meets: six standard deviations above the mean, where there are so
    many devices."""
    most, mean = largest_draw(population, rate), population * rate
    assert out_of_range(population, rate, 0, most + 1) <= 2**-40
    assert most >= min(population, mean + 6 * math.sqrt(mean * (1 - rate)))


def test_too_many_devices_cost_truncation_delta_as_too_few_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard beyond what the modulus is made for releases nothing, which tells of a draw as well."""
    participation = PoissonParticipation(population=203, sampling_rate=0.1)
    monkeypatch.setattr(composition, "largest_draw", lambda population, rate: 30)  # noqa: ARG005
    expected = 4 * out_of_range(202, 0.1, 1, 30)
    assert expected > 0.03
    assert planned_truncation_delta(participation, 1, 4) == pytest.approx(expected, rel=1e-8)


def test_smaller_shards_cost_more_truncation_delta_and_the_spend_says_so() -> None:
    participation = PoissonParticipation(population=4_000, sampling_rate=0.1)
    deltas = [planned_truncation_delta(participation, 60, 30, shards) for shards in (1, 2, 4)]
    assert deltas == sorted(deltas)
    assert 100 * deltas[1] < deltas[2]
    events = [poisson(0.1, 1.2, population=4_000, min_survivors=60, shards=4)] * 30
    assert spend(events, 1e-3).truncation_delta == deltas[2]


def test_the_truncation_delta_covers_what_silence_reveals() -> None:
    """Two others at rate 1/2 and at least two survivors: by brute force over all draws, against the ideal curve."""
    noise, rate, epsilon = 1.0, 0.5, 1.0
    gaussian = float(exact_delta(epsilon, 1 / noise))
    revealed = rate * gaussian  # one other device present: a release shows that this device is in
    ideal = rate * float(exact_delta(math.log(1 + (math.exp(epsilon) - 1) / rate), 1 / noise))
    actual = 0.5 * revealed + 0.25 * ideal  # one of two others present; both; with none there is never a release
    truncation_delta = planned_truncation_delta(PoissonParticipation(population=3, sampling_rate=rate), 2, 1)
    assert actual > ideal
    assert actual <= ideal + truncation_delta


def test_the_truncation_delta_covers_what_a_silent_shard_reveals() -> None:
    """Three others, two shards by lot, at least two survivors in each: by brute force over draws and lots.

    A view is which shards release, and what they release; ideally the other shards' draws are as secret as ever.
    """
    noise, rate, epsilon = 1.0, 0.8, 0.5
    chance_of_shard = rate / 2
    gaussian = float(exact_delta(epsilon, 1 / noise))
    ideal = rate * float(exact_delta(math.log(1 + (math.exp(epsilon) - 1) / rate), 1 / noise))
    actual = 0.0
    for others in range(4):
        chance = math.comb(3, others) * chance_of_shard**others * (1 - chance_of_shard) ** (3 - others)
        # With one other device in its shard a release shows that this device takes part, with none nothing is seen.
        actual += chance * {0: 0.0, 1: rate * gaussian}.get(others, ideal)
    truncation_delta = planned_truncation_delta(PoissonParticipation(population=4, sampling_rate=rate), 2, 1, 2)
    assert actual <= ideal + truncation_delta
    assert truncation_delta < 1


def test_truncation_delta_comes_off_delta_and_eats_it_up() -> None:
    careful = [poisson(0.064, 1.2, population=1_000, min_survivors=16)] * 30
    greedy = [poisson(0.064, 1.2, population=1_000, min_survivors=40)] * 30
    assert 0 < spend(careful, 1e-5).truncation_delta < 1e-9
    assert spend(greedy, 1e-5).epsilon == math.inf
    some = [poisson(0.064, 1.2, population=1_000, min_survivors=25)] * 30
    assert spend(some, 1e-5).epsilon > spend(careful, 1e-5).epsilon


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
        events = [poisson(0.2, noise, population=1_000)] * rounds
        confirmed, quick = confirmed_spend(events, 1e-5), spend(events, 1e-5)
        assert confirmed.epsilon == quick.epsilon > 20
        assert (confirmed.second_accountant, confirmed.second_epsilon) == (composition.RDP_NAME, quick.second_epsilon)


def test_far_above_any_promise_a_grid_that_gives_out_is_replaced_by_a_bound() -> None:
    """Seen where a simulation of 200 of 1,000 devices has the noise of a fleet."""
    noise = 0.66 * 200 / 5_000 * 13**0.5
    events = [poisson(0.2, noise, population=1_000, min_survivors=50)] * 30
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
@settings(max_examples=15, deadline=None)
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


@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_calibration_for_cohorts_is_the_smallest_that_fits(epsilon: float) -> None:
    participation = PoissonParticipation(population=1_000, sampling_rate=0.064)
    noise = noise_multiplier_for(participation, 30, epsilon, 1e-5, policy(16))
    events = [poisson(0.064, level, population=1_000, min_survivors=16) for level in (noise, round(noise - 0.01, 2))]
    assert noise == round(noise, 2)
    assert spend([events[0]] * 30, 1e-5).epsilon <= epsilon < spend([events[1]] * 30, 1e-5).epsilon


def test_calibration_without_amplification_is_the_smallest_that_fits() -> None:
    noise = noise_multiplier_for(BoundedParticipation(cohort=64, max_participations=4), 30, 8.0, 1e-5, policy(16))
    assert spend([bounded(noise, 4)] * 30, 1e-5).epsilon <= 8.0
    assert spend([bounded(noise - 0.01, 4)] * 30, 1e-5).epsilon > 8.0


@pytest.mark.long
def test_calibration_pays_for_the_shards_of_the_policy() -> None:
    participation = PoissonParticipation(population=4_000, sampling_rate=0.1)
    whole, split = (noise_multiplier_for(participation, 5, 8.0, 5e-6, policy(57, shards)) for shards in (1, 4))
    assert whole < split
    for noise, shards in ((whole, 1), (split, 4)):
        event = poisson(0.1, noise, population=4_000, min_survivors=57, shards=shards)
        assert spend([event] * 5, 5e-6).epsilon <= 8.0
    with pytest.raises(ValueError, match="min_survivors"):
        noise_multiplier_for(participation, 5, 8.0, 5e-6, policy(57, 8))


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
