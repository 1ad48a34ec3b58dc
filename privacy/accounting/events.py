"""What happened to the privacy budget, apart from what it costs: one immutable event per round.

Adjacency everywhere: one device's whole update replaced by zero ("zero-out", Kairouz et al. 2021, DP-FTRL). For a sum
it has the privacy loss of adding or removing the device.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from privacy.base.canonical import Frozen
from privacy.task.correlation import Correlation
from privacy.task.task import PoissonParticipation, TaskSpec


class PoissonGaussian(Frozen):
    """Gaussian noise on the sum of a cohort into which every device was drawn independently, and in secret."""

    kind: Literal["poisson_gaussian"] = "poisson_gaussian"
    population: int = Field(ge=1)
    sampling_rate: float = Field(gt=0, le=1)
    noise_multiplier: float = Field(ge=0)
    """Standard deviation of the noise over the L2 sensitivity."""
    min_survivors: int = Field(ge=1)
    """Fewest devices in a shard's sum. A smaller shard gives no release, which ideal Poisson sampling does not do: see
    `planned_truncation_delta`."""
    shards: int = Field(ge=1)


class BoundedGaussian(Frozen):
    """Gaussian noise on the sum of a cohort about which nothing is random; devices limit how often they take part."""

    kind: Literal["bounded_gaussian"] = "bounded_gaussian"
    task: str
    """Id of the task. Devices count their participations per task, so events of one task have one limit."""
    noise_multiplier: float = Field(ge=0)
    """Standard deviation of the noise over the L2 sensitivity."""
    max_participations: int = Field(ge=1)


class CorrelatedGaussian(Frozen):
    """Gaussian noise correlated over the rounds of a task, on the sums of cohorts about which nothing is random."""

    kind: Literal["correlated_gaussian"] = "correlated_gaussian"
    task: str
    correlation: Correlation
    noise_multiplier: float = Field(ge=0)
    """Standard deviation of the independent noise z over the L2 sensitivity of one round."""
    horizon: int = Field(ge=1)
    """Rounds that are paid for with this charge and those before it: it counts rounds, with or without a release."""
    min_separation: int = Field(ge=1)
    max_participations: int = Field(ge=1)


Event = Annotated[PoissonGaussian | BoundedGaussian | CorrelatedGaussian, Field(discriminator="kind")]

_HORIZONS = 32
"""Steps in which the horizon follows the rounds, so that a ledger holds few kinds of events."""


def round_event(spec: TaskSpec, number: int) -> Event:
    """Return what round `number` of the task, counted from 1, is charged as."""
    noise, correlation = spec.mechanism.noise_multiplier, spec.mechanism.correlation
    taking_part = spec.participation
    if isinstance(taking_part, PoissonParticipation):
        return PoissonGaussian(
            population=taking_part.population,
            sampling_rate=taking_part.sampling_rate,
            noise_multiplier=noise,
            min_survivors=spec.aggregation.min_survivors,
            shards=spec.aggregation.shards,
        )
    if correlation is not None:
        return CorrelatedGaussian(
            task=spec.id,
            correlation=correlation,
            noise_multiplier=noise,
            horizon=_horizon(spec.rounds, number),
            min_separation=taking_part.min_separation,
            max_participations=taking_part.max_participations,
        )
    return BoundedGaussian(task=spec.id, noise_multiplier=noise, max_participations=taking_part.max_participations)


def _horizon(rounds: int, number: int) -> int:
    step = -(-rounds // _HORIZONS)
    return min(rounds, -(-number // step) * step)
