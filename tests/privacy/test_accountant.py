"""Known answers come from dp-accounting's published examples and from mpmath, which shares no code with the project."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import composition
from privacy.accountant import (
    AccountantsDisagree,
    message_level_epsilon,
    noise_multiplier_for,
    spend,
    spend_by_round,
    truncation_slack,
)
from privacy.composition import Bracket, Composition
from privacy.events import BoundedGaussian, PoissonGaussian
from privacy.gaussian import epsilon_bracket, log_delta
from privacy.task import BoundedParticipation, LocalTraining, PoissonParticipation


def poisson(rate: float, noise: float, *, population: int = 1_000_000, min_survivors: int = 1) -> PoissonGaussian:
    return PoissonGaussian(
        population=population, sampling_rate=rate, noise_multiplier=noise, min_survivors=min_survivors
    )


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
    found = spend([poisson(rate, noise)] * rounds, delta)
    unamplified = epsilon_bracket(math.sqrt(rounds) / noise, delta)[1]
    assert found.epsilon == round(found.epsilon, 4)
    assert found.epsilon <= found.second_epsilon + 2e-3
    assert found.epsilon <= unamplified * 1.001 + 0.02
    assert found.discrepancy >= 0


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
        composition._agreed(wrong, 0.1)


def test_a_second_accountant_below_the_first_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "rdp_epsilon", lambda *_: 0.5)
    with pytest.raises(AccountantsDisagree, match="nothing may be released"):
        composition.bracket(Composition(1.2345), 1e-6)


def test_the_slack_is_the_binomial_tail_of_the_other_devices() -> None:
    participation = PoissonParticipation(population=200, sampling_rate=0.1)
    expected = sum(math.comb(199, k) * 0.1**k * 0.9 ** (199 - k) for k in range(5))
    assert truncation_slack(participation, 5, 30) == pytest.approx(30 * expected, rel=1e-8)
    assert truncation_slack(participation, 5, 30) >= 30 * expected
    assert truncation_slack(BoundedParticipation(cohort=10, max_participations=2), 5, 30) == 0


def test_the_slack_covers_what_silence_reveals() -> None:
    """Two others at rate 1/2 and at least two survivors: by brute force over all draws, against the ideal curve."""
    noise, rate, epsilon = 1.0, 0.5, 1.0
    gaussian = float(exact_delta(epsilon, 1 / noise))
    revealed = rate * gaussian  # one other device present: a release shows that this device is in
    ideal = rate * float(exact_delta(math.log(1 + (math.exp(epsilon) - 1) / rate), 1 / noise))
    actual = 0.5 * revealed + 0.25 * ideal  # one of two others present; both; with none there is never a release
    slack = truncation_slack(PoissonParticipation(population=3, sampling_rate=rate), 2, 1)
    assert actual > ideal
    assert actual <= ideal + slack


def test_slack_comes_off_delta_and_eats_it_up() -> None:
    careful = [poisson(0.064, 1.2, population=1_000, min_survivors=16)] * 30
    greedy = [poisson(0.064, 1.2, population=1_000, min_survivors=40)] * 30
    assert 0 < spend(careful, 1e-5).slack < 1e-9
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


@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_calibration_for_cohorts_is_the_smallest_that_fits(epsilon: float) -> None:
    participation = PoissonParticipation(population=1_000, sampling_rate=0.064)
    noise = noise_multiplier_for(participation, 30, epsilon, 1e-5, 16)
    events = [poisson(0.064, level, population=1_000, min_survivors=16) for level in (noise, round(noise - 0.01, 2))]
    assert noise == round(noise, 2)
    assert spend([events[0]] * 30, 1e-5).epsilon <= epsilon < spend([events[1]] * 30, 1e-5).epsilon


def test_calibration_without_amplification_is_the_smallest_that_fits() -> None:
    noise = noise_multiplier_for(BoundedParticipation(cohort=64, max_participations=4), 30, 8.0, 1e-5, 16)
    assert spend([bounded(noise, 4)] * 30, 1e-5).epsilon <= 8.0
    assert spend([bounded(noise - 0.01, 4)] * 30, 1e-5).epsilon > 8.0


def test_calibration_refuses_what_cannot_be() -> None:
    often = BoundedParticipation(cohort=64, max_participations=1_000_000)
    with pytest.raises(ValueError, match=r"epsilon: 0\.01 at delta 1e-06 cannot be kept over 1000000 rounds"):
        noise_multiplier_for(often, 1_000_000, 0.01, 1e-6, 16)
    with pytest.raises(ValueError, match="min_survivors"):
        noise_multiplier_for(PoissonParticipation(population=100, sampling_rate=0.1), 30, 8.0, 1e-5, 9)
    for rounds, epsilon in ((0, 1.0), (1, 0.0), (1, math.inf), (1, math.nan)):
        with pytest.raises(ValueError, match=r"(rounds|epsilon): expected"):
            noise_multiplier_for(often, rounds, epsilon, 1e-6, 16)


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


def test_message_level_composes_over_participations() -> None:
    once, twice = (message_level_epsilon(training(0.2, 1.0), times, 1e-3) for times in (1, 2))
    assert once < twice < 2 * once
