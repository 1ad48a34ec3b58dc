"""Poisson runs with devices away and devices lost, against an oracle that shares no code with the accounting."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations, product
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from privacy.accounting.accountant import privacy_curve
from privacy.accounting.events import Event, sampled_event
from privacy.accounting.pivotal import (
    MOST_PIVOTAL,
    TooFewReachable,
    least_reachable,
    pivotal_probability,
    require_reachable,
)
from privacy.secagg.membership.params import default_max_dropouts, default_min_survivors
from privacy.task.task import AggregationPolicy, BoundedParticipation, PoissonParticipation
from tests.support.releases import Round, epsilon, hinged
from tests.support.tasks import make_task

DELTA = 1e-5
REFERENCE = PoissonParticipation(population=200, sampling_rate=0.2)


def policy(least: int, dropouts: int = 0, shards: int = 1) -> AggregationPolicy:
    return AggregationPolicy(min_survivors=least, max_dropouts=dropouts, modulus_bits=32, shards=shards)


def allowing(participation: PoissonParticipation, least: int, lost: float) -> AggregationPolicy:
    """A policy that withstands the loss of so large a fraction of those that were drawn."""
    return policy(least, math.ceil(lost * participation.expected_cohort - 1e-9))


def charged(events: Counter[Event]) -> float:
    return privacy_curve(events, [DELTA])[0]


def check(events: Counter[Event], rounds: Counter[Round]) -> None:
    """Never below the bound, and at most 1% above it."""
    bound, error = epsilon(rounds, DELTA)
    stated = charged(events)
    assert bound - error - 1e-4 <= stated <= 1.01 * bound + 1e-4, (stated, bound, error)


def check_run(
    participation: PoissonParticipation, noise: float, least: int, lost: float, within_reach: list[int]
) -> bool:
    """Charge a run by the number of devices within reach at each release; a draw is refused only where it has to be."""
    allowed, rate = allowing(participation, least, lost), participation.sampling_rate
    events, rounds = Counter[Event](), Counter[Round]()
    fewest = least_reachable(participation, allowed)
    for count in within_reach:
        really = hinged(count, rate, least, lost)
        if count < fewest:
            assert really > 0.4 * MOST_PIVOTAL
            continue
        assert really <= MOST_PIVOTAL
        events[sampled_event(participation, allowed, noise, count)] += 1
        rounds[Round(rate, noise, really)] += 1
    if events:
        check(events, rounds)
    return bool(events)


@pytest.mark.parametrize(
    ("within_reach", "expected"), [(200, 4.4e-11), (133, 3.1e-6), (100, 3.4e-4), (70, 9.7e-3), (56, 3.2e-2)]
)
def test_how_often_a_release_hinges_on_one_of_two_hundred(within_reach: int, expected: float) -> None:
    stated = pivotal_probability(REFERENCE, policy(10), within_reach)
    exact = hinged(within_reach, 0.2, 10)
    assert exact == pytest.approx(expected, rel=0.02)
    assert exact <= stated <= 1.025 * exact


def test_it_is_the_share_of_the_releases_among_all_draws_of_few_devices() -> None:
    """By adding up every subset of five others, exactly."""
    rate, least = Fraction(1, 4), 3
    chances = {
        size: sum(rate**size * (1 - rate) ** (5 - size) for _ in combinations(range(5), size)) for size in range(6)
    }
    alone = rate * chances[least - 1]
    released = alone + sum(chances[size] for size in range(least, 6))
    few = PoissonParticipation(population=6, sampling_rate=0.25)
    assert float(alone / released) <= pivotal_probability(few, policy(least), 6) <= 1.025 * float(alone / released)


def test_drop_outs_beyond_a_constant_number_do_not_make_a_device_pivotal() -> None:
    """Nine of ten of the others stay, by simulation: n - D of n devices are needed, and at least 10."""
    source, draws, dropouts = np.random.default_rng(5), 400_000, 4
    rate, others = 0.2, 69
    staying = source.binomial(others, rate * 0.92, draws)
    leaving = source.binomial(others - staying, rate * 0.08 / (1 - rate * 0.92))
    without = (staying >= 10) & (leaving <= dropouts)
    with_it = (staying + 1 >= 10) & (leaving <= dropouts)
    drawn = source.random(draws) < rate
    releases = np.where(drawn, with_it, without)
    simulated = float((drawn & with_it & ~without).sum() / releases.sum())
    assert simulated > 0.015
    assert simulated <= pivotal_probability(REFERENCE, policy(10, dropouts), 70) * 1.02
    assert pivotal_probability(REFERENCE, policy(10, 4), 200) < 5e-9


@pytest.mark.parametrize(("within_reach", "lost"), [(200, 0.0), (133, 0.0), (100, 0.0), (200, 0.15), (150, 0.08)])
def test_a_run_is_charged_what_it_costs(within_reach: int, lost: float) -> None:
    assert check_run(REFERENCE, 0.9, 10, lost, [within_reach] * 20)


def test_a_run_with_another_number_within_reach_in_every_round() -> None:
    assert check_run(REFERENCE, 0.9, 10, 0.0, list(range(90, 190, 5)))


def test_a_grid_of_runs_long_rare_and_large() -> None:
    large = PoissonParticipation(population=100_000, sampling_rate=0.001)
    assert check_run(large, 0.9, 25, 0.05, [45_000, 60_000, 100_000] * 30)


KINDS = [(200, 0.2, 0.9), (1_000, 0.06, 0.8), (10_000, 0.01, 0.7), (100_000, 0.001, 0.8)]
"""Populations, rates and noise multipliers."""
GRID = [
    (population, rate, noise, least, lost)
    for (population, rate, noise), lost in product(
        [*KINDS, (200, 0.5, 1.5), (10_000, 0.05, 1.0), (100_000, 0.005, 1.2)],
        [0.0, 0.05, 0.1, 0.15],
    )
    for least in (max(2, int(population * rate / 4)), int(population * rate / 2))
]


@pytest.mark.long
@pytest.mark.parametrize(("population", "rate", "noise", "least", "lost"), GRID)
def test_the_whole_grid(population: int, rate: float, noise: float, least: int, lost: float) -> None:
    participation = PoissonParticipation(population=population, sampling_rate=rate)
    runs = [
        check_run(participation, noise, least, lost, [round(share * population)] * rounds)
        for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
        for rounds in (20, 300)
    ]
    assert any(runs)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200))
def test_random_runs(seed: int) -> None:
    """Devices come and go as they do by day, at random hours; rates and noise are of few kinds, to save time."""
    source = np.random.default_rng(seed)
    population, rate, noise = KINDS[seed % len(KINDS)]
    participation = PoissonParticipation(population=population, sampling_rate=rate)
    least = max(2, int(population * rate * source.uniform(0.1, 0.4)))
    middle, swing = source.uniform(0.5, 0.9), source.uniform(0, 0.2)
    hours = source.uniform(0, 24, int(source.integers(5, 200)))
    shares = np.clip(middle + swing * np.sin(2 * np.pi * hours / 24), 0.3, 1.0)
    check_run(participation, noise, least, float(source.uniform(0, 0.15)), [round(x * population) for x in shares])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(20, 3_000), st.floats(0.01, 0.9), st.floats(0.05, 0.5), st.floats(0, 0.3), st.sampled_from([1, 2, 5])
)
def test_it_falls_with_the_devices_within_reach_and_the_least_is_the_least(
    population: int, rate: float, fraction: float, lost: float, shards: int
) -> None:
    participation = PoissonParticipation(population=population, sampling_rate=rate)
    expected = participation.expected_cohort / shards
    dropouts = int(lost * expected)
    allowed = policy(max(2, dropouts + 1, int(fraction * expected)), dropouts, shards)
    counts = sorted({max(1, population * part // 8) for part in range(1, 9)})
    chances = [pivotal_probability(participation, allowed, count) for count in counts]
    assert chances == sorted(chances, reverse=True)
    try:
        least = least_reachable(participation, allowed)
    except TooFewReachable:
        assert chances[-1] > MOST_PIVOTAL
        return
    assert pivotal_probability(participation, allowed, least) <= MOST_PIVOTAL * 1.02
    assert least == 0 or pivotal_probability(participation, allowed, least - 1) > MOST_PIVOTAL * 0.999


def test_shards_are_counted_by_the_fewest_that_lots_leave_in_one() -> None:
    whole = PoissonParticipation(population=1_000, sampling_rate=0.1)
    four = PoissonParticipation(population=4_000, sampling_rate=0.1)
    alone = pivotal_probability(whole, policy(25), 1_000)
    by_lot = pivotal_probability(four, policy(25, shards=4), 4_000)
    assert alone < by_lot < pivotal_probability(whole, policy(25), 650)


def test_a_draw_from_too_few_is_refused_with_what_to_do_instead() -> None:
    task = make_task(participation=REFERENCE, aggregation=policy(10))
    require_reachable(task, 100)
    with pytest.raises(TooFewReachable, match=r"expected at least 9\d devices within reach, got 56.*bounded"):
        require_reachable(task, 56)
    with pytest.raises(TooFewReachable, match="min_survivors: expected far fewer than the 40 devices"):
        require_reachable(make_task(participation=REFERENCE, aggregation=policy(38)), 200)
    require_reachable(make_task(participation=BoundedParticipation(cohort=9, max_participations=1)), 3)


def test_events_are_of_few_kinds() -> None:
    """Attempts with any number within reach from 3,000 to 13,000, f from 3e-6 down."""
    participation = PoissonParticipation(population=13_000, sampling_rate=0.005)
    kinds = {pivotal_probability(participation, policy(5), count) for count in range(3_000, 13_000, 4)}
    assert len(kinds) < 1_800  # of 2,500
    assert all(float(f"{kind:.3e}") == kind for kind in kinds)


@pytest.mark.parametrize("cohort", [8, 12, 16, 20, 22, 24, 32, 64, 100, 750])
def test_cohorts_with_the_default_survivors_can_be_drawn(cohort: int) -> None:
    dropouts = default_max_dropouts(cohort, 1, 0.1)
    survivors = default_min_survivors(cohort, 1, dropouts, 0.05)
    sampled = PoissonParticipation(population=20 * cohort, sampling_rate=1 / 20)
    assert least_reachable(sampled, policy(survivors, dropouts)) <= 0.9 * sampled.population


def in_the_sum(chances: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How many of so many devices come, each by itself with its own probability: their law, by convolution."""
    law = np.ones(1)
    for chance in chances:
        law = np.convolve(law, [1 - chance, chance])
    return law


@settings(max_examples=60, deadline=None)
@given(st.integers(30, 150), st.floats(0.05, 0.7), st.floats(0.05, 0.6), st.integers(1, 12), st.randoms())
def test_devices_that_fail_unevenly_are_covered_by_their_average(
    population: int, rate: float, fraction: float, dropouts: int, random: Random
) -> None:
    """Some always fail, some never, the rest with any probability: exactly, wherever a draw is allowed."""
    participation = PoissonParticipation(population=population, sampling_rate=rate)
    expected = participation.expected_cohort
    assume(dropouts < 0.3 * expected)
    allowed = policy(max(2, dropouts + 1, int(fraction * expected)), dropouts)
    stated, others = pivotal_probability(participation, allowed, population), population - 1
    assume(stated <= MOST_PIVOTAL)
    left, lost = dropouts / expected * others, []
    for _ in range(others):
        lost.append(min(left, random.choice([0.0, 1.0, random.random()])))
        left -= lost[-1]
    random.shuffle(lost)
    law = in_the_sum([rate * (1 - chance) for chance in lost])
    alone = rate * law[allowed.min_survivors - 1]
    assert alone <= stated * (alone + law[allowed.min_survivors :].sum())
