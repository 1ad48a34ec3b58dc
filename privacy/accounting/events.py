"""What happened to the privacy budget, apart from what it costs: one immutable event per round.

Adjacency everywhere: one device's whole update replaced by zero ("zero-out", Kairouz et al. 2021, DP-FTRL). For a sum
it has the privacy loss of adding or removing the device.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from privacy.accounting.pivotal import pivotal_probability
from privacy.base.canonical import Frozen
from privacy.task.correlation import Correlation
from privacy.task.task import AggregationPolicy, PoissonParticipation, TaskSpec


class PoissonGaussian(Frozen):
    """Gaussian noise on the sum of a cohort into which every device was drawn independently, and in secret."""

    kind: Literal["poisson_gaussian"] = "poisson_gaussian"
    sampling_rate: float = Field(gt=0, le=1)
    noise_multiplier: float = Field(ge=0)
    """Standard deviation of the noise over the L2 sensitivity."""
    pivotal_probability: float = Field(gt=0, le=1)
    """At most so often is there a release only thanks to the device, which is then in it for certain: see `pivotal`."""
    shards: int = Field(ge=1)
    """Sums that the cohort was split into by lot; more than one, and delta pays for unlikely lots."""


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


def round_event(spec: TaskSpec, number: int, reachable: int | None = None) -> Event:
    """Return what round `number` of the task, counted from 1, is charged as.

    Args:
        spec: the task.
        number: of the round.
        reachable: devices that coins were thrown for, on which only sampled rounds depend; None: the whole population,
            as plans take it.
    """
    noise, correlation = spec.mechanism.noise_multiplier, spec.mechanism.correlation
    taking_part = spec.participation
    if isinstance(taking_part, PoissonParticipation):
        return sampled_event(taking_part, spec.aggregation, noise, reachable)
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


def sampled_event(
    participation: PoissonParticipation, policy: AggregationPolicy, noise: float, reachable: int | None = None
) -> PoissonGaussian:
    """Return what a round of Poisson sampling is charged as.

    Args:
        participation: how cohorts are drawn.
        policy: shards, and what decides whether there is a release.
        noise: the noise multiplier.
        reachable: devices that coins were thrown for; None: the whole population.
    """
    drawn_from = participation.population if reachable is None else reachable
    return PoissonGaussian(
        sampling_rate=participation.sampling_rate,
        noise_multiplier=noise,
        pivotal_probability=pivotal_probability(participation, policy, drawn_from),
        shards=policy.shards,
    )


def _horizon(rounds: int, number: int) -> int:
    step = -(-rounds // _HORIZONS)
    return min(rounds, -(-number // step) * step)
