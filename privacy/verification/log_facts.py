"""What a verified round log says of each round, in the words of a run's report and metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from privacy.mechanism.mechanism import Mechanism, MechanismError, planned_noise_std
from privacy.report.model import RoundCounts
from privacy.secagg.server.record import RoundRecord
from privacy.task.task import PoissonParticipation, TaskSpec


@dataclass(frozen=True)
class LoggedRound:
    """One round, by its signed record.

    Attributes:
        round: its number.
        invited: how many devices were invited.
        cohort: devices in the shards that gave a sum; 0 where nothing was released.
        survivors: devices in those sums; 0 where nothing was released.
        refusals: how often each reason for a missing reply was given.
        aborted: why the round released nothing; None when it released a sum.
        epsilon: spent by then; None when nothing bounds it.
        noise_multiplier: the least of the released shards; None where nothing was released.
        noise_std: that of a coordinate of the released sum; None where the record does not fix it.
    """

    round: int
    invited: int
    cohort: int
    survivors: int
    refusals: Mapping[str, int]
    aborted: str | None
    epsilon: float | None
    noise_multiplier: float | None
    noise_std: float | None


def logged_rounds(records: Sequence[RoundRecord], task: TaskSpec) -> list[LoggedRound]:
    """Return what the records, whose signatures hold, say of their rounds."""
    return [_logged(record, task) for record in records]


def _logged(record: RoundRecord, task: TaskSpec) -> LoggedRound:
    shards = [] if record.aborted else [shard for shard in record.shards if str(shard.shard) not in record.ended]
    noise: float | None = min((shard.noise_multiplier for shard in shards), default=None)
    if shards and task.mechanism.correlation is not None:
        noise = task.mechanism.noise_multiplier
    return LoggedRound(
        round=record.round,
        invited=record.invited,
        cohort=sum(shard.cohort for shard in shards),
        survivors=sum(len(shard.survivors) for shard in shards),
        refusals=record.lost,
        aborted=record.aborted or None,
        epsilon=record.epsilon,
        noise_multiplier=None if noise is None else _stated_noise(task, noise),
        noise_std=_noise_std(task, [shard.cohort for shard in shards]),
    )


def _stated_noise(task: TaskSpec, realised: float) -> float:
    """Return the noise multiplier that is told: under Poisson sampling the task's, for the other would tell a size."""
    return task.mechanism.noise_multiplier if isinstance(task.participation, PoissonParticipation) else realised


def _noise_std(task: TaskSpec, cohorts: Sequence[int]) -> float | None:
    """Return the noise of a coordinate; None where it follows a clip that adapts, or is the server's."""
    if task.mechanism.adaptive is not None or task.mechanism.correlation is not None:
        return None
    try:
        if isinstance(task.participation, PoissonParticipation):
            return planned_noise_std(task, len(cohorts))
        return math.sqrt(sum(Mechanism.for_cohort(task, cohort).noise_std ** 2 for cohort in cohorts))
    except MechanismError:
        return None


def realised_counts(rounds: Sequence[LoggedRound]) -> tuple[RoundCounts, ...]:
    """Return the sizes of the released rounds, as a report lists them."""
    return tuple(
        RoundCounts(round=one.round, cohort=one.cohort, survivors=one.survivors)
        for one in rounds
        if one.aborted is None
    )


def least_noise(rounds: Sequence[LoggedRound]) -> float | None:
    """Return the least noise multiplier of the released rounds; None before a release."""
    return min((one.noise_multiplier for one in rounds if one.noise_multiplier is not None), default=None)
