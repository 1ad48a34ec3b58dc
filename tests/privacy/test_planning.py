"""Plans against rounds that really run, and against independent tails."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from privacy.planning import Goal, plan, shard_corrupt_fraction
from privacy.secagg import Stage
from privacy.secagg.messages import encode_consistency_check
from privacy.task.task import AggregationPolicy, BoundedParticipation, DeviceMechanism
from tests.support.federation import Federation
from tests.support.tasks import make_task

GOAL = Goal(cohort=64, rounds=30, dimension=16_385, clip=0.5, delta=1e-5, epsilon=8.0, population=1_000)


def test_the_demonstration() -> None:
    """1,000 devices, 64 expected: the figures of the run itself."""
    figures = plan(GOAL)
    assert (figures.noise_multiplier, figures.epsilon, figures.bits) == (0.63, 7.952, 16)
    assert (figures.holders, figures.threshold, figures.survivors_required, figures.masks) == (64, 24, 58, 64)


@pytest.mark.parametrize("cohort", [12, 135])
def test_bytes_are_those_of_a_real_round(cohort: int) -> None:
    """Means over the devices, for on a random graph some are drawn more often than others."""
    goal = replace(GOAL, cohort=cohort, dimension=500, participation="bounded", max_participations=1)
    task = make_task(
        500,
        participation=BoundedParticipation(cohort=cohort, max_participations=1),
        mechanism=DeviceMechanism(clip=0.5, noise_multiplier=plan(goal).noise_multiplier),
        aggregation=AggregationPolicy(
            max_dropouts=cohort // 10, min_survivors=cohort // 4, modulus_bits=plan(goal).bits
        ),
    )
    federation = Federation(cohort, task=task)
    up, down = np.zeros(cohort), np.zeros(cohort)

    def sent(stage: Stage, device: int, message: bytes) -> bytes:  # noqa: ARG001
        up[device] += len(message)
        return message

    def received(stage: Stage, device: int, message: bytes) -> bytes:
        down[device] += len(message) if stage is not Stage.ADVERTISE else 0
        return message

    federation.run(requests=received, replies=sent)
    assert len(encode_consistency_check(bytes(64), {1: bytes(12)})) == 69 + 4 + 16
    assert plan(goal).upload == pytest.approx(up.mean(), rel=0.003)
    assert plan(goal).download == pytest.approx(down.mean(), rel=0.01)


def test_masks_are_those_of_a_real_round() -> None:
    federation = Federation(
        135, task=make_task(aggregation=AggregationPolicy(max_dropouts=13, min_survivors=14, modulus_bits=32))
    )
    federation.run(until=Stage.INPUT)
    states = [client._state for client in federation.clients]
    masks = [len(state.partners) + 1 for state in states if state is not None]
    goal = replace(GOAL, cohort=135, participation="bounded")
    assert plan(goal).masks == pytest.approx(np.mean(masks), rel=0.02)


def test_noise_in_the_mean_is_of_every_device_and_no_less_than_what_is_charged() -> None:
    figures = plan(GOAL)
    assert figures.noise_sum == pytest.approx(figures.noise_device * 64**0.5)
    assert figures.noise_mean == pytest.approx(figures.noise_sum / 64)
    assert figures.noise_sum / (0.63 * 0.5) == pytest.approx(math.sqrt(1 / (18 / 24 - 0.05)), rel=0.005)
    assert figures.error_over_clip == pytest.approx(figures.noise_mean * 16_385**0.5 / 0.5)


@pytest.mark.parametrize(
    ("fraction", "cohort", "shards"),
    [(0.05, 10_000, 25), (0.01, 900, 3), pytest.param(0.1, 51_200, 100, marks=pytest.mark.long)],
)
def test_the_fraction_of_a_shard_is_the_smallest_with_a_small_enough_tail(
    fraction: float, cohort: int, shards: int
) -> None:
    """By another way than the planner's: first how large a shard is, then how many of those are corrupt."""
    sizes, corrupt = np.arange(1, cohort + 1), round(fraction * cohort)
    chance = binom.pmf(sizes, cohort, 1 / shards)

    def tail(least: float) -> float:
        exceeded = hypergeom.sf(np.floor(least * sizes + 1e-9), cohort, corrupt, sizes)
        return float(shards * 2.0**64 * (chance @ exceeded))

    bound = shard_corrupt_fraction(fraction, cohort, shards, 40)
    assert tail(bound) <= 2.0**-40 < tail(bound - 0.001)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"population": None}, "population: expected at least the cohort's 64 devices"),
        ({"population": 63}, "population: expected at least"),
        ({"noise_multiplier": 1.0}, "expected either epsilon or noise_multiplier"),
        ({"epsilon": None}, "expected either epsilon or noise_multiplier"),
        ({"epsilon": 0.001, "rounds": 1_000_000}, "epsilon: 0.001"),
        ({"bits": 8}, "modulus_bits"),
        ({"shards": 1, "cohort": 5_000, "population": 10**6}, r"aggregation\.shards"),
        ({"min_survivors": 6}, r"min_survivors: expected more than max_dropouts \(6\)"),
        ({"corrupt_fraction": 0.7}, "corrupt_fraction"),
        ({"dimension": 0}, "shape"),
    ],
)
def test_what_cannot_be_planned_names_what_to_change(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        plan(replace(GOAL, **change))  # type: ignore[arg-type]
