"""Whether a task's cohorts fit secure aggregation, whatever their size turns out to be."""

from __future__ import annotations

from privacy.secagg.membership.params import COMPLETE, LARGEST, ParameterError, parameters
from privacy.task.task import PoissonParticipation, TaskSpec

_STEP = 16


def require_room(task: TaskSpec) -> None:
    """Refuse a task with draws that no shard takes, or with gaps between the cohorts that can be summed.

    A gap above the smallest cohort would be a second size at which a release hinges on one device
    (`privacy.accounting.pivotal`). Complete graphs are tried at every size, random ones at every sixteenth, for there
    the room grows with the cohort.

    Raises:
        ParameterError: when a shard's largest draw is above `LARGEST`, or parameters exist for a smaller cohort and not
            for a larger one.
    """
    if not isinstance(task.participation, PoissonParticipation):
        return
    largest, fewest = task.largest_shard, task.aggregation.min_survivors
    if largest > LARGEST:
        raise ParameterError(
            f"cohort: expected draws of at most {LARGEST} devices in a shard, got {task.shard_cohort:g} on average and "
            f"up to {largest}; raise aggregation.shards"
        )
    complete = range(fewest, min(largest, COMPLETE) + 1)
    on_graphs = range(max(fewest, COMPLETE + 1), largest, _STEP)
    for cohort in [*complete, *on_graphs, largest]:
        try:
            parameters(cohort, task.aggregation)
        except ParameterError as error:
            raise ParameterError(
                f"min_survivors: expected that any {fewest} devices or more can be summed, got none for {cohort}: "
                f"{error}; raise min_survivors"
            ) from error
