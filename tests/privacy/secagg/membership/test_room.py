"""Whatever cohort is drawn from `min_survivors` on can be summed, or the task is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from privacy.secagg.membership.params import COMPLETE, LARGEST, ParameterError, parameters
from privacy.secagg.membership.room import require_room
from privacy.task.task import AggregationPolicy, BoundedParticipation, PoissonParticipation, TaskSpec
from tests.support.tasks import make_task

CORRUPT = st.sampled_from([0.0, 0.05, 0.2, 0.3, 0.49])


def policy(least: int, dropouts: int, corrupt: float = 0.05) -> AggregationPolicy:
    return AggregationPolicy(corrupt_fraction=corrupt, max_dropouts=dropouts, min_survivors=least, modulus_bits=32)


def sampled(population: int, rate: float, least: int, dropouts: int) -> TaskSpec:
    return make_task(
        participation=PoissonParticipation(population=population, sampling_rate=rate),
        aggregation=policy(least, dropouts),
    )


@given(st.integers(2, COMPLETE), st.floats(0, 1), CORRUPT)
def test_no_size_in_a_complete_graph_is_a_gap(least: int, share: float, corrupt: float) -> None:
    """Every policy that there is, and every cohort from its `min_survivors` on; one fewer has no parameters."""
    allowed = policy(least, int(share * (least - 1)), corrupt)
    for cohort in range(least, COMPLETE + 1):
        assert parameters(cohort, allowed).survivors_required == allowed.required(cohort) <= cohort
    with pytest.raises(ParameterError, match="min_survivors"):
        parameters(least - 1, allowed)


@settings(max_examples=8, deadline=None)
@given(st.integers(COMPLETE + 1, 200), st.floats(0, 1), st.floats(0, 1), CORRUPT)
def test_no_size_on_a_random_graph_is_a_gap(cohort: int, least: float, share: float, corrupt: float) -> None:
    survivors = max(2, int(least * cohort))
    allowed = policy(survivors, int(share * (survivors - 1)), corrupt)
    assert parameters(cohort, allowed).survivors_required == allowed.required(cohort)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("least", "dropouts"), [(2, 1), (40, 39), (250, 100), (250, 249), (999, 998)])
def test_no_size_up_to_the_largest_is_a_gap(least: int, dropouts: int) -> None:
    allowed = policy(least, dropouts)
    for cohort in [*range(least, LARGEST, 7), LARGEST]:
        assert parameters(cohort, allowed)


def test_survivors_that_two_halves_could_be_are_no_policy() -> None:
    """What would leave a gap: of 14 devices 7 may vanish, and two sets of 7 could each pass for the survivors."""
    with pytest.raises(ValidationError, match="min_survivors: expected more than max_dropouts"):
        policy(7, 7)


def test_draws_that_no_shard_takes_are_refused() -> None:
    """782 devices are the largest expected draw that stays at 1,000, but for 2^-40."""
    require_room(sampled(1_000_000, 782e-6, 250, 78))
    for expected in (783, 950):
        with pytest.raises(ParameterError, match=rf"at most {LARGEST} devices in a shard, got {expected} on average"):
            require_room(sampled(1_000_000, expected * 1e-6, 250, 78))


def test_a_cohort_whose_size_is_known_needs_no_room_for_others() -> None:
    require_room(
        make_task(participation=BoundedParticipation(cohort=999, max_participations=1), aggregation=policy(500, 99))
    )
