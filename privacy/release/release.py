"""A charged sum becomes a release: decoded, and nothing else can be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from privacy.base.randomness import Randomness
from privacy.ledger.entries import Receipt
from privacy.mechanism.correlated_noise import noise_variance
from privacy.mechanism.mechanism import Mechanism, MechanismError, hides_sizes, planned_noise_std, released_variance
from privacy.task.states import Total, joint_transcript
from privacy.task.task import TaskSpec


class ForgedSum(MechanismError):
    """A charged sum that no honest devices can have given; nobody can tell which of them did not."""


@dataclass(frozen=True, eq=False)
class Release:
    """A sum that was paid for.

    Only a charged sum can become one: the receipt's transcript must be the sum's.

    Attributes:
        values: float32[d], the sum of the clipped updates plus noise, in the units of the model's weights.
        statistics: noisy sums of the devices' statistics, by name.
        statistics_noise_std: lower bound of the standard deviation of each statistic's noise, by name.
        within_clip: noisy sum over the devices of 1/2 for an update within the clip and -1/2 for another; None where
            the clip does not adapt.
        survivors: devices in the sum.
        cohort: devices that shared keys, of all shards in the sum.
        noise_std: lower bound of the noise's standard deviation per coordinate, from the honest survivors alone.
        noise_multiplier: that noise over the sensitivity: what the charge may count on. Under Poisson sampling both are
            the task's, since what is realised would tell the cohort's size.
        receipt: of the charge that paid for it.
    """

    values: NDArray[np.float32] = field(repr=False)
    statistics: Mapping[str, float]
    statistics_noise_std: Mapping[str, float]
    within_clip: float | None
    survivors: int
    cohort: int
    noise_std: float
    noise_multiplier: float
    receipt: Receipt


def release(
    task: TaskSpec,
    totals: Sequence[Total],
    charged: Sequence[str],
    receipt: Receipt,
    *,
    noise: NDArray[np.float64] | None = None,
    padding: Randomness | None = None,
) -> Release:
    """Decode the sum of a round's shards, which the ledger has charged together.

    Formal guarantee: only sums that the receipt's transcript fixes are decoded, and under Poisson sampling their noise
    does not depend on how many devices came.

    Args:
        task: as it is in this round: `TaskSpec.with_clip` where the clip adapts.
        totals: the shards' sums.
        charged: the transcripts of all shards that the receipt is for; some may have ended without a total.
        receipt: the ledger's, for the charge.
        noise: float64[length], the round's correlated noise before scaling, if the task's server adds it.
        padding: source of the noise that hides a Poisson cohort's size; a trusted aggregator has added that already.

    Raises:
        MechanismError: when the receipt is for another sum, noise or padding is missing, or noise is given where
            devices add it.
        ForgedSum: when a sum is longer than honest devices' can be but for probability 2^-40.
    """
    _check_belongs_together(task, totals, charged, receipt, noise)
    shards = [Mechanism.for_cohort(task, total.cohort) for total in totals]
    if noise is None:
        for shard, total in zip(shards, totals, strict=True):
            _require_honest(total, shard.honest_norm(total.survivors, _padding_within(shard, total)))
    if hides_sizes(task) and not task.simulation.trusted_aggregator:
        if padding is None:
            raise MechanismError("padding: expected randomness for the noise that hides the cohort's size, got none")
        totals = [shard.padded(total, padding) for shard, total in zip(shards, totals, strict=True)]
    whole = replace(totals[0], sums=np.sum([total.sums for total in totals], axis=0))
    if noise is not None:
        whole = shards[0].with_server_noise(whole, noise)
        # Only now: what is told of a sum without noise, be it that it was too long, is told of the devices in it.
        _require_honest(whole, _with_server_noise(task, shards[0], totals, receipt.charge.round))
    noise_std, multiplier = _counted_noise(task, shards)
    summed = shards[0].decode(whole)
    dimension, count = task.model.dimension, len(task.statistics)
    units = {
        statistic.name: task.mechanism.clip * statistic.sensitivity_fraction / statistic.bound
        for statistic in task.statistics
    }
    measured = zip(units.items(), summed[dimension : dimension + count], strict=True)
    return Release(
        values=summed[:dimension].astype(np.float32),
        statistics={name: float(value / unit) for (name, unit), value in measured},
        statistics_noise_std={name: noise_std / unit for name, unit in units.items()},
        within_clip=_within_clip(task, float(summed[-1])),
        survivors=sum(total.survivors for total in totals),
        cohort=sum(total.cohort for total in totals),
        noise_std=noise_std,
        noise_multiplier=multiplier,
        receipt=receipt,
    )


def _check_belongs_together(
    task: TaskSpec,
    totals: Sequence[Total],
    charged: Sequence[str],
    receipt: Receipt,
    noise: NDArray[np.float64] | None,
) -> None:
    paid = receipt.charge.transcript == joint_transcript(charged)
    if not paid or not totals or not {total.transcript for total in totals} <= set(charged):
        raise MechanismError("receipt: expected one for this very sum, got one for another")
    if len({total.rotation for total in totals}) > 1:
        raise MechanismError("totals: expected shards of one round, got several rotations")
    if (noise is None) != (task.mechanism.correlation is None):
        raise MechanismError("noise: expected the server's if and only if the task is correlated")


def _padding_within(shard: Mechanism, total: Total) -> float:
    """Return the variance of what a trusted aggregator added to a sum to hide its size, in steps squared."""
    if not (hides_sizes(shard.task) and shard.task.simulation.trusted_aggregator):
        return 0.0
    return released_variance(shard, total.survivors) - total.survivors * shard.variance


def _counted_noise(task: TaskSpec, shards: Sequence[Mechanism]) -> tuple[float, float]:
    """Return the least standard deviation of a coordinate's noise, in weights, and the noise over the sensitivity."""
    stated = task.mechanism.noise_multiplier
    if task.mechanism.correlation is not None:
        return stated * shards[0].norm_bound / shards[0].scale, stated
    if hides_sizes(task):
        return planned_noise_std(task, len(shards)), stated
    noise_std = math.sqrt(sum(shard.noise_std**2 for shard in shards))
    return noise_std, min(shard.noise_multiplier for shard in shards)


def _with_server_noise(task: TaskSpec, mechanism: Mechanism, totals: Sequence[Total], number: int) -> float:
    """Return the L2 norm, in steps, of a sum to which the server has added a round's correlated noise, at most."""
    correlation = task.mechanism.correlation
    unit = noise_variance(correlation, number) if correlation else 0.0
    steps = task.mechanism.noise_multiplier * mechanism.norm_bound
    return mechanism.honest_norm(sum(total.survivors for total in totals), unit * steps**2)


def _require_honest(total: Total, longest: float) -> None:
    norm = float(np.linalg.norm(total.sums.astype(np.float64)))
    if norm > longest:
        raise ForgedSum(
            f"release: the sum is {norm / longest:.3g} times as long as any of honest devices but for probability "
            "2^-40; a device sent something other than a clipped and noised update"
        )


def _within_clip(task: TaskSpec, last: float) -> float | None:
    adaptive = task.mechanism.adaptive
    return None if adaptive is None else last / (2 * adaptive.sensitivity_fraction * task.mechanism.clip)
