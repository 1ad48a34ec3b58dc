"""A simulation that stands for a fleet has the noise of the fleet's average, and says what that would cost there."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from privacy.accounting.accountant import spend
from privacy.accounting.events import PoissonGaussian, round_event, sampled_event
from privacy.accounting.extrapolation import fleet_epsilon, fleet_events, fleet_task
from privacy.base.randomness import SystemRandomness
from privacy.mechanism.mechanism import Mechanism, smallest_modulus, with_modulus
from privacy.secagg.membership.identity import DevicePolicy, PolicyError
from privacy.task.correlation import BandedToeplitz
from privacy.task.states import Total, Update
from privacy.task.task import (
    AdaptiveClip,
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    Fleet,
    PoissonParticipation,
    SimulationOnly,
    Statistic,
    TaskSpec,
)
from tests.support.tasks import make_extrapolated_task, make_task


def noise_of_average(task: TaskSpec) -> float:
    """Standard deviation a coordinate of a full round's released sum over the expected cohort, of all its devices."""
    fitting = with_modulus(task, smallest_modulus(task))
    shard = Mechanism.for_cohort(fitting, round(task.shard_cohort))
    return math.sqrt(shard.variance / task.participation.expected_cohort) / shard.scale


@given(
    cohort=st.integers(1, 5).map(lambda sixties: 60 * sixties),
    factor=st.integers(1, 100),
    shards=st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 5, 6, 10])),
    noise=st.floats(0.3, 4.0),
    extras=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_average_has_the_noise_of_the_fleets(
    cohort: int, factor: int, shards: tuple[int, int], noise: float, extras: bool
) -> None:
    own, there = (
        AggregationPolicy(
            max_dropouts=cohort * scale // count // 10,
            min_survivors=max(2, cohort * scale // count // 4),
            modulus_bits=32,
            shards=count,
        )
        for count, scale in zip(shards, (1, factor), strict=True)
    )
    plan = BoundedParticipation(cohort=cohort, max_participations=2)
    fleet = Fleet(
        population=10**7,
        participation=BoundedParticipation(cohort=cohort * factor, max_participations=1),
        aggregation=there,
        noise_multiplier=noise,
    )
    multiplier = fleet.noise_for(plan, own, by_server=False)
    adaptive = AdaptiveClip() if extras else None
    task = make_task(
        3_000,
        participation=plan,
        aggregation=own,
        mechanism=DeviceMechanism(clip=0.5, noise_multiplier=multiplier, adaptive=adaptive),
        statistics=(Statistic(name="loss", bound=3.0, sensitivity_fraction=0.2),) if extras else (),
        budget=Budget(delta=1e-6),
        simulation=SimulationOnly(fleet=fleet),
    )
    rounding = 0.015  # up to 1% of sensitivity and 0.4% of a device's variance, in either
    assert noise_of_average(task) == pytest.approx(noise_of_average(fleet_task(task)), rel=rounding)


def test_of_one_sum_it_is_the_multiplier_over_the_ratio_of_cohorts() -> None:
    """As McMahan et al. 2018, section 3, scale it."""
    task = make_extrapolated_task()
    assert task.simulation.fleet is not None
    one_sum = task.simulation.fleet.model_copy(update={"aggregation": task.aggregation})
    assert one_sum.noise_for(task.participation, task.aggregation, by_server=False) == pytest.approx(1.0 * 10 / 500)


def test_noise_of_the_servers_own_is_added_once_whatever_the_shards() -> None:
    task = make_extrapolated_task()
    assert task.simulation.fleet is not None
    assert task.simulation.fleet.noise_for(task.participation, task.aggregation, by_server=True) == pytest.approx(
        1.0 * 10 / 500
    )


def test_the_small_noise_is_still_sampled_finely_enough() -> None:
    """From 16 steps on a device's noise is a Gaussian for all purposes; the modulus grows until there are as many."""
    fleet = Fleet(
        population=10**8,
        participation=BoundedParticipation(cohort=100_000, max_participations=1),
        aggregation=AggregationPolicy(max_dropouts=40, min_survivors=100, modulus_bits=32, shards=250),
        noise_multiplier=0.5,
    )
    own = AggregationPolicy(max_dropouts=20, min_survivors=50, modulus_bits=32)
    plan = BoundedParticipation(cohort=200, max_participations=9)
    noise = fleet.noise_for(plan, own, by_server=False)
    mechanism = DeviceMechanism(clip=0.5, noise_multiplier=noise)
    task = make_task(
        16_385,
        participation=plan,
        aggregation=own,
        mechanism=mechanism,
        budget=Budget(delta=1e-9),
        simulation=SimulationOnly(fleet=fleet),
    )
    bits = smallest_modulus(task)
    fine = Mechanism.for_cohort(with_modulus(task, bits), 200)
    assert bits > 16
    assert fine.variance >= 16**2
    assert fine.rounding_cost <= 1.01
    assert fine.noise_multiplier == pytest.approx(noise, rel=0.005)


def test_noise_that_devices_really_draw_averages_to_the_fleets() -> None:
    """Of 10 devices against 500 in two shards, all honest; 4,096 coordinates, so within 1.1% a deviation."""
    task = make_extrapolated_task(model=make_task(4_096).model)
    drawn = [average_of_nothing(task, 10, 1), average_of_nothing(fleet_task(task), 250, 2)]
    own, there = (float(np.std(values)) for values in drawn)
    assert own == pytest.approx(there, rel=0.06)
    assert own == pytest.approx(noise_of_average(task), rel=0.05)


def average_of_nothing(task: TaskSpec, cohort: int, shards: int) -> NDArray[np.float64]:
    """What is released of updates that are all zero, over the whole cohort: float64[length]."""
    mechanism, rng = Mechanism.for_cohort(task, cohort), SystemRandomness()
    nothing, rotation = Update(np.zeros(task.model.dimension, np.float32)), bytes(32)
    sums = np.zeros(task.length, np.int64)
    for _ in range(cohort * shards):
        sums += mechanism.encode(nothing, rotation, rng).integers
    return mechanism.decode(Total(sums, cohort, cohort, rotation, "00" * 32)) / (cohort * shards)


def test_its_epsilon_is_the_accountants_for_the_fleet_and_the_ledgers_event_is_its_own() -> None:
    task = make_extrapolated_task()
    fleet = task.simulation.fleet
    assert fleet is not None
    assert isinstance(fleet.participation, PoissonParticipation)
    there = sampled_event(fleet.participation, fleet.aggregation, 1.0)
    assert (there.sampling_rate, there.shards) == (500 / 1_000_000, 2)
    assert fleet_events(task, [1, 2, 3]) == [there] * 3
    assert fleet_epsilon(task, 3) == spend(Counter({there: 3}), 1e-5).epsilon < 1
    charged = round_event(task, 1)
    assert isinstance(charged, PoissonGaussian)
    assert charged.noise_multiplier == task.mechanism.noise_multiplier
    assert spend([charged] * 3, 1e-5).epsilon > 100


def test_correlated_noise_is_accounted_for_by_the_fleets_limits() -> None:
    plan = BoundedParticipation(cohort=20, max_participations=4)
    fleet = Fleet(
        population=10**6,
        participation=BoundedParticipation(cohort=2_000, max_participations=1, min_separation=10),
        aggregation=make_task().aggregation.model_copy(update={"shards": 5}),
        noise_multiplier=2.0,
    )
    banded = BandedToeplitz(coefficients=(1.0, 0.5))
    mechanism = DeviceMechanism(clip=1.0, noise_multiplier=2.0 * 20 / 2_000, correlation=banded)
    task = make_task(
        mechanism=mechanism, participation=plan, budget=Budget(delta=1e-6), simulation=SimulationOnly(fleet=fleet)
    )
    assert fleet_epsilon(task, 10) == spend([round_event(fleet_task(task), 10)], 1e-6).epsilon
    assert fleet_epsilon(task, 10) < 5 < spend([round_event(task, 10)], 1e-6).epsilon


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"randomness": "system"}, "fleet: expected a simulation"),
        ({"budget": Budget(epsilon=8.0, delta=1e-5)}, "budget: expected no limit beside a fleet"),
        ({"mechanism": DeviceMechanism(clip=1.0, noise_multiplier=1.0)}, r"noise_multiplier: expected 0\.028"),
        ({"participation": BoundedParticipation(cohort=10, max_participations=1)}, "expected bounded, got poisson"),
        (
            {"aggregation": AggregationPolicy(corrupt_fraction=0.1, max_dropouts=3, min_survivors=4, modulus_bits=32)},
            "expected a corrupt fraction of 0.1, got 0.05",
        ),
    ],
)
def test_what_is_no_image_of_its_fleet_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_extrapolated_task(**changes)


def test_a_fleet_is_not_smaller_than_its_image_nor_than_its_cohorts() -> None:
    fleet = make_extrapolated_task().simulation.fleet
    assert fleet is not None
    small = BoundedParticipation(cohort=5, max_participations=1)
    with pytest.raises(ValueError, match="expected a cohort of at least the simulated 10, got 5"):
        fleet.model_copy(update={"participation": small}).noise_for(
            BoundedParticipation(cohort=10, max_participations=1), fleet.aggregation, by_server=False
        )
    with pytest.raises(ValueError, match="disjoint over 10 rounds need 50 devices, got 49"):
        Fleet(
            population=49,
            participation=BoundedParticipation(cohort=5, max_participations=1, min_separation=10),
            aggregation=fleet.aggregation,
            noise_multiplier=1.0,
        )
    with pytest.raises(ValueError, match=r"participation\.population: expected 5, got 1000000"):
        Fleet(population=5, participation=fleet.participation, aggregation=fleet.aggregation, noise_multiplier=1.0)


def test_real_devices_refuse_it_however_little_they_insist_on() -> None:
    wary = DevicePolicy(
        min_noise_multiplier=0, min_survivors=2, min_corrupt_fraction=0, min_draw_bits=0, accept_server_noise=True
    )
    with pytest.raises(PolicyError, match="no simulated one, the task has the noise of a larger fleet"):
        wary.check(make_extrapolated_task())
    wary.model_copy(update={"accept_extrapolation": True}).check(make_extrapolated_task())


def test_a_fleet_is_part_of_what_a_task_is() -> None:
    task = make_extrapolated_task()
    without = task.model_copy(update={"simulation": SimulationOnly()})
    assert task.id != without.id
    assert TaskSpec.model_validate_json(task.canonical()) == task
    with pytest.raises(ValueError, match="expected a task that extrapolates to one"):
        fleet_task(without)
