"""What happened to the privacy budget, apart from what it costs: one immutable event per round.

Adjacency everywhere: one device's whole update replaced by zero ("zero-out", Kairouz et al. 2021, DP-FTRL). For a sum
it has the privacy loss of adding or removing the device.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from privacy.canonical import Frozen
from privacy.task import PoissonParticipation, TaskSpec


class PoissonGaussian(Frozen):
    """Gaussian noise on the sum of a cohort into which every device was drawn independently, and in secret."""

    kind: Literal["poisson_gaussian"] = "poisson_gaussian"
    population: int = Field(ge=1)
    sampling_rate: float = Field(gt=0, le=1)
    noise_multiplier: float = Field(ge=0)
    """Standard deviation of the noise over the L2 sensitivity."""
    min_survivors: int = Field(ge=1)
    """A smaller shard gives no release, which ideal Poisson sampling does not do: see `truncation_slack`."""
    shards: int = Field(ge=1)


class BoundedGaussian(Frozen):
    """Gaussian noise on the sum of a cohort about which nothing is random; devices limit how often they take part."""

    kind: Literal["bounded_gaussian"] = "bounded_gaussian"
    task: str
    """Devices count their participations per task, so events of one task share one limit."""
    noise_multiplier: float = Field(ge=0)
    """Standard deviation of the noise over the L2 sensitivity."""
    max_participations: int = Field(ge=1)


Event = Annotated[PoissonGaussian | BoundedGaussian, Field(discriminator="kind")]


def round_event(spec: TaskSpec) -> Event:
    """What one round of the task is charged as."""
    noise = spec.mechanism.noise_multiplier
    taking_part = spec.participation
    if isinstance(taking_part, PoissonParticipation):
        return PoissonGaussian(
            population=taking_part.population,
            sampling_rate=taking_part.sampling_rate,
            noise_multiplier=noise,
            min_survivors=spec.aggregation.min_survivors,
            shards=spec.aggregation.shards,
        )
    return BoundedGaussian(task=spec.id, noise_multiplier=noise, max_participations=taking_part.max_participations)
