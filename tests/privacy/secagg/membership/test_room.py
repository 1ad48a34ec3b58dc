"""Whatever cohort is drawn from `min_survivors` on can be summed, or the task is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from privacy.secagg.membership.params import LARGEST, ParameterError, parameters
from privacy.secagg.membership.room import require_room
from privacy.task.task import AggregationPolicy, BoundedParticipation, PoissonParticipation, TaskSpec
from tests.support.tasks import make_task


def sampled(population: int, rate: float, least: int, dropouts: int, *, corrupt: float = 0.05) -> TaskSpec:
    return make_task(
        participation=PoissonParticipation(population=population, sampling_rate=rate),
        aggregation=AggregationPolicy(
            corrupt_fraction=corrupt, max_dropouts=dropouts, min_survivors=least, modulus_bits=32
        ),
    )


def has_room(task: TaskSpec, cohort: int) -> bool:
    try:
        parameters(cohort, task.aggregation)
    except ParameterError:
        return False
    return True


def test_every_size_from_the_fewest_to_the_largest_draw_is_tried() -> None:
    """Every single one, also where random graphs are tried at each sixteenth."""
    for task in (sampled(200, 0.2, 10, 4), sampled(4_000, 0.05, 50, 20)):
        require_room(task)
        assert all(has_room(task, cohort) for cohort in range(task.aggregation.min_survivors, task.largest_shard + 1))


def test_a_gap_above_the_fewest_is_refused_and_named() -> None:
    """Four of ten may vanish: of ten that came the six others are too few beside them, of sixteen they are not."""
    task = sampled(200, 0.2, 8, 7, corrupt=0.0)
    assert not has_room(task, 14)
    assert has_room(task, 15)
    with pytest.raises(ParameterError, match=r"min_survivors: expected that any 8 devices .* got none for 8: .*raise"):
        require_room(task)
    require_room(sampled(200, 0.2, 15, 7, corrupt=0.0))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(10, 60), st.floats(0.1, 0.9), st.integers(2, 20), st.integers(0, 10), st.sampled_from([0.0, 0.05, 0.3])
)
def test_it_is_refused_if_and_only_if_some_size_has_no_room(
    population: int, rate: float, least: int, dropouts: int, corrupt: float
) -> None:
    task = sampled(population, rate, max(least, dropouts + 1), dropouts, corrupt=corrupt)
    sizes = range(task.aggregation.min_survivors, task.largest_shard + 1)
    if all(has_room(task, cohort) for cohort in [*sizes, task.largest_shard]):
        require_room(task)
    else:
        with pytest.raises(ParameterError, match="min_survivors"):
            require_room(task)


def test_draws_that_no_shard_takes_are_refused() -> None:
    """782 devices are the largest expected draw that stays at 1,000, but for 2^-40."""
    require_room(sampled(1_000_000, 782e-6, 250, 78))
    with pytest.raises(ParameterError, match=rf"at most {LARGEST} devices in a shard, got 950 on average and up to 1"):
        require_room(sampled(10_000, 0.095, 250, 95))


def test_a_cohort_whose_size_is_known_needs_no_room_for_others() -> None:
    task = make_task(
        participation=BoundedParticipation(cohort=14, max_participations=1),
        aggregation=sampled(200, 0.2, 8, 7).aggregation,
    )
    require_room(task)
