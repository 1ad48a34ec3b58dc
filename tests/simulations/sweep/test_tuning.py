"""What a sweep says that tuning could have cost."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from privacy.accounting.accountant import spend
from privacy.accounting.events import round_event
from privacy.task.task import Budget, DeviceMechanism, PoissonParticipation, TaskSpec
from simulations.sweep.tuning import tuning_cost
from tests.support.tasks import make_extrapolated_task, make_task

COHORTS = PoissonParticipation(population=1000, sampling_rate=0.064)


def task(noise: float, delta: float = 1e-5) -> TaskSpec:
    """A task with cohorts so large that they release."""
    return make_task(
        participation=COHORTS,
        mechanism=DeviceMechanism(clip=1.0, noise_multiplier=noise),
        budget=Budget(delta=delta),
    )


QUIET, NOISY, NOISELESS = task(0.8), task(2.0), task(0.0)


def test_all_runs_together_are_the_composition_of_their_rounds() -> None:
    cost = tuning_cost([QUIET, QUIET, NOISY])
    rounds = Counter({round_event(QUIET, 1): 2 * QUIET.rounds, round_event(NOISY, 1): NOISY.rounds})
    assert math.isfinite(spend(rounds, 1e-5).epsilon)
    assert cost.together == cost.noisy_together == spend(rounds, 1e-5).epsilon
    assert cost.costliest == spend(Counter({round_event(QUIET, 1): QUIET.rounds}), 1e-5).epsilon


def test_one_run_without_noise_leaves_nothing_to_promise() -> None:
    cost = tuning_cost([NOISY, NOISELESS])
    assert (cost.costliest, cost.together, cost.best_alone) == (None, None, None)
    assert cost.noisy_together == spend(Counter({round_event(NOISY, 1): NOISY.rounds}), 1e-5).epsilon


def test_the_smallest_delta_counts() -> None:
    assert tuning_cost([NOISY, task(2.0, 1e-7)]).delta == pytest.approx(1e-7)


def test_a_run_that_stands_for_a_fleet_counts_as_the_fleet() -> None:
    extrapolated = make_extrapolated_task()
    once, twice = tuning_cost([extrapolated]).together, tuning_cost([extrapolated, extrapolated]).together
    assert once is not None
    assert twice is not None
    assert once < twice
    assert once != spend(Counter({round_event(extrapolated, 1): extrapolated.rounds}), 1e-5).epsilon
