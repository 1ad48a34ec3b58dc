"""Who takes part in the rounds of a task, and what is assumed of them."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from privacy.base.canonical import Frozen

_FAR = 40 * math.log(2) / 3


def _drawn_by_the_server(who: str) -> str:
    if who != "server":
        raise ValueError(
            "expected `server`: amplification is claimed only for cohorts that the server draws, every device by "
            "a coin that nobody else sees. Devices that check in when they please are not a random cohort; use bounded "
            f"participation, which claims none. Got {who}"
        )
    return who


Fraction = Annotated[float, Field(ge=0, lt=0.5)]


def largest_draw(population: int, rate: float) -> int:
    """Return a size that a binomial draw exceeds with probability at most 2^-40, by Bernstein's inequality.

    P[X >= mean + t] <= exp(-t^2 / (2 mean + 2 t / 3)) for the sum of independent coins.
    """
    mean = population * rate
    return min(population, math.ceil(mean + _FAR + math.sqrt(_FAR * _FAR + 6 * _FAR * mean)))


class PoissonParticipation(Frozen):
    """Every device is drawn independently each round, by the server, which keeps the draw to itself."""

    kind: Literal["poisson"] = "poisson"
    population: int = Field(ge=1)
    sampling_rate: float = Field(gt=0, le=1)
    drawn_by: Annotated[str, AfterValidator(_drawn_by_the_server)] = "server"

    @property
    def expected_cohort(self) -> float:
        """Devices drawn in a round, on average."""
        return self.population * self.sampling_rate

    @property
    def largest_cohort(self) -> int:
        """Devices drawn in a round at most, but for probability 2^-40."""
        return largest_draw(self.population, self.sampling_rate)


class BoundedParticipation(Frozen):
    """No randomness is claimed: a device takes part at most `max_participations` times, and enforces that itself."""

    kind: Literal["bounded"] = "bounded"
    cohort: int = Field(ge=1)
    max_participations: int = Field(ge=1)
    min_separation: int = Field(default=1, ge=1, le=1_000_000)
    """A device that took part in a round takes part again so many rounds later at the earliest."""

    @property
    def expected_cohort(self) -> float:
        """Devices that take part in a round."""
        return float(self.cohort)

    @property
    def largest_cohort(self) -> int:
        """Devices that take part in a round at most."""
        return self.cohort


Participation = Annotated[PoissonParticipation | BoundedParticipation, Field(discriminator="kind")]


def largest_shard(participation: Participation, shards: int) -> int:
    """Return how many devices of a cohort are in one shard at most, but for probability 2^-40, by lot."""
    cohort = participation.largest_cohort
    if shards == 1:
        return cohort
    return largest_draw(cohort, participation.expected_cohort / shards / cohort)


class AggregationPolicy(Frozen):
    """What secure aggregation assumes of a round's devices; the noise is sized for what remains honest."""

    corrupt_fraction: Fraction = Field(default=0.05)
    """Fraction of a cohort that may work with the server, the gamma of Bell et al. 2020."""
    max_dropouts: int = Field(ge=0)
    """Devices of one shard that may vanish in a round: a constant of the task, so that whether a round gives a sum
    hangs on how many vanished, which no device's being drawn changes, and on `min_survivors`."""
    min_survivors: int = Field(ge=2)
    """Fewest devices in a sum; with fewer the round ends and nothing is revealed."""
    modulus_bits: int = Field(ge=8, le=32)
    """Coordinates of the sum are counted modulo at least 2^modulus_bits; it sets the grid and the size of uploads."""
    shards: int = Field(default=1, ge=1, le=10_000)
    """Sums that a cohort is split into; each carries all its noise by itself."""
    security_bits: int = Field(default=40, ge=30, le=128)
    """Drawing holders at random betrays some device with probability at most 2^-security_bits a round."""
    failure_bits: int = Field(default=30, ge=10, le=128)
    """Drop-outs within `max_dropouts` spoil a round with probability at most 2^-failure_bits."""

    @model_validator(mode="after")
    def _survivors_are_a_majority(self) -> AggregationPolicy:
        if self.min_survivors <= self.max_dropouts:
            raise ValueError(
                f"min_survivors: expected more than max_dropouts ({self.max_dropouts}), or two halves could each pass "
                f"for the survivors, got {self.min_survivors}"
            )
        return self

    def required(self, cohort: int) -> int:
        """Return the fewest devices in the sum of a shard of `cohort`."""
        return max(self.min_survivors, cohort - self.max_dropouts)


def counted_devices(participation: Participation, policy: AggregationPolicy, cohort: float) -> float:
    """Return how many devices' noise is counted on in the sum of a shard of `cohort`: not corrupt, and not vanished.

    Where the cohort's size is no secret these are the devices that must survive, less the corrupt fraction of all. A
    Poisson cohort's size stays hidden only if the sum's noise does not depend on it, so there the same fraction of
    every cohort counts: the least that any has, which is that of `min_survivors + max_dropouts` devices.

    Returns:
        A real number, at most 0 when no noise can be counted on.
    """
    if isinstance(participation, PoissonParticipation):
        fewest = policy.min_survivors
        return cohort * (fewest / (fewest + policy.max_dropouts) - policy.corrupt_fraction)
    return max(policy.min_survivors, cohort - policy.max_dropouts) - policy.corrupt_fraction * cohort
