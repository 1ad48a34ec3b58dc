"""Whether a task's cohorts fit secure aggregation, whatever their size turns out to be."""

from __future__ import annotations

from privacy.secagg.membership.params import LARGEST, ParameterError
from privacy.task.task import PoissonParticipation, TaskSpec


def require_room(task: TaskSpec) -> None:
    """Refuse a task with draws that no shard takes.

    A largest size is the only one to ask for: a policy has more `min_survivors` than `max_dropouts`, so from that many
    devices on every cohort has parameters. A gap would be a second size at which a release hinges on one device
    (`privacy.accounting.pivotal`).

    Raises:
        ParameterError: when a shard's largest draw, but for probability 2^-40, is above `LARGEST`.
    """
    largest = task.largest_shard
    if isinstance(task.participation, PoissonParticipation) and largest > LARGEST:
        raise ParameterError(
            f"cohort: expected draws of at most {LARGEST} devices in a shard, got {task.shard_cohort:g} on average and "
            f"up to {largest}; raise aggregation.shards"
        )
