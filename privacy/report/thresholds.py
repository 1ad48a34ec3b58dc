"""The part of a report that says how many devices may work together before secure aggregation fails."""

from __future__ import annotations

from privacy.mechanism.mechanism import Mechanism, MechanismError
from privacy.report.model import ShardThresholds, ThresholdsPart
from privacy.report.spend import number
from privacy.secagg.membership.params import LARGEST, ParameterError, parameters
from privacy.task.task import TaskSpec

_STATEMENT = (
    "The server sees sums, not single updates, unless more devices work with it than a shard withstands. That number "
    "holds whoever picked the devices; a probability, only where nobody steered the draw. Noise is sized for the "
    "corrupt devices that are to be expected: where a draw has more of them, a sum has less noise than was charged, "
    "down to what is stated; where it has none, more."
)


def thresholds_part(task: TaskSpec) -> ThresholdsPart | None:
    """Return what shards withstand, by the task's own numbers; None where an aggregator is trusted with every update.

    Args:
        task: what the report is about; everything stated here follows from it.
    """
    if task.simulation.trusted_aggregator:
        return None
    policy = task.aggregation
    sizes = {policy.min_survivors + policy.max_dropouts, round(task.shard_cohort)}
    shards = [found for size in sorted(sizes) if (found := _thresholds(task, size))]
    drawn = any(shard.holders < shard.devices for shard in shards)
    return ThresholdsPart(
        statement=_STATEMENT, security_bits=policy.security_bits if drawn else None, shards=tuple(shards)
    )


def _thresholds(task: TaskSpec, devices: int) -> ShardThresholds | None:
    """Return what a shard of so many devices withstands; None where it would not be summed."""
    if devices > LARGEST:
        return None
    try:
        params, mechanism = parameters(devices, task.aggregation), Mechanism.for_cohort(task, devices)
    except (ParameterError, MechanismError):
        return None
    with_tail = mechanism.noise_multiplier_of(params.survivors_required - params.corrupt)
    own_noise = mechanism.variance > 0
    return ShardThresholds(
        devices=devices,
        survivors_required=params.survivors_required,
        holders=params.degree,
        threshold=params.threshold,
        quorum=params.quorum,
        colluders_withstood=params.withstands,
        corrupt=params.corrupt,
        draw_bits=params.draw_bits,
        noise_multiplier_least=number(with_tail) if own_noise else None,
        noise_multiplier_most=number(mechanism.noise_multiplier_of(devices)) if own_noise else None,
    )
