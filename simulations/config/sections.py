"""Sections of a configuration file: the fleet that a run stands for, and what goes wrong; by default nothing does."""

from __future__ import annotations

import math
import statistics
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A section of a configuration: its values do not change, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FleetConfig(Section):
    """A deployment many times as large, whose noise and epsilon the run takes over. Without it, a run is itself."""

    population: int | None = Field(default=None, ge=2, le=10**10)
    """Devices of the fleet."""
    cohort: int | None = Field(default=None, ge=2, le=10**8)
    """Expected devices in a round of the fleet."""
    shards: int | None = Field(default=None, ge=1, le=10_000)
    """How many sums a cohort of the fleet is split into, each with all its noise. Default: as for `server.shards`; 1 is
    the convention of the literature, and beyond 1,000 devices takes a server that may see their sum."""
    max_participations: int | None = Field(default=None, ge=1)
    """How often a device of the fleet takes part at most, under `bounded`. Default: as `privacy.max_participations`."""
    min_separation: int | None = Field(default=None, ge=1, le=1_000_000)
    """How many rounds apart a device of the fleet takes part at least, under `bounded`. Default: as
    `privacy.min_separation`."""

    @property
    def given(self) -> bool:
        """Whether there is a fleet to extrapolate to."""
        return self.cohort is not None

    @model_validator(mode="after")
    def _whole(self) -> FleetConfig:
        if (self.population is None) != (self.cohort is None):
            raise ValueError("population: expected together with cohort")
        if self.cohort is None and self.model_fields_set - {"population", "cohort"}:
            raise ValueError("cohort: expected, with population, beside the fleet's other keys")
        if self.cohort is not None and self.population is not None and self.cohort > self.population:
            raise ValueError(f"cohort: expected at most the population's {self.population} devices, got {self.cohort}")
        return self


Probability = Annotated[float, Field(ge=0, le=1)]

HOURS = 24
_QUANTILES = 512
_NIGHT = (0.5,) * 5 + (0.45, 0.35, 0.25, 0.16) + (0.12,) * 8 + (0.13, 0.15, 0.2, 0.26, 0.34, 0.42, 0.48)
_TRACES = {"always": (1.0,) * HOURS, "night": _NIGHT}


def _named(hours: object) -> object:
    if isinstance(hours, str) and hours not in _TRACES:
        raise ValueError(f"expected one of {', '.join(_TRACES)}, or 24 probabilities")
    return _TRACES[hours] if isinstance(hours, str) else hours


def _whole_day(hours: tuple[float, ...]) -> tuple[float, ...]:
    if len(hours) != HOURS:
        raise ValueError(f"expected {HOURS} probabilities, one an hour from midnight")
    return hours


class AvailabilityConfig(Section):
    """When devices can be reached: idle, on a charger, on a network that costs nothing."""

    hours: Annotated[tuple[Probability, ...], BeforeValidator(_named), AfterValidator(_whole_day)] = _TRACES["always"]
    """Probability by hour of a device's own clock, from midnight; or `always`, or `night`: four times as many at night
    as by day, about what Bonawitz et al. 2019 saw in one country."""
    time_zones: tuple[Annotated[int, Field(ge=-12, le=14)], ...] = Field(default=(0,), min_length=1)
    """Hours ahead of UTC of the zones that devices live in, each in one of them."""
    start_hour: float = Field(default=0.0, ge=0, lt=24)
    """When round 1 starts, in hours UTC."""
    round_minutes: float = Field(default=10.0, gt=0, le=10_080)
    """Minutes from the start of one round to the next, and for how long a draw is put off."""

    @property
    def at_best(self) -> float:
        """The fraction of the population that is expected within reach at the best hour of the day."""
        return max(
            statistics.fmean(self.hours[(hour + zone) % HOURS] for zone in self.time_zones) for hour in range(HOURS)
        )


class DropOutConfig(Section):
    """Probability, in every round, that a device is gone before it answers in a stage of the protocol."""

    advertise: Probability = 0.0
    share: Probability = 0.0
    input: Probability = 0.0
    echo: Probability = 0.0
    """The stage of the consistency check."""
    unmask: Probability = 0.0


class FaultsConfig(Section):
    """Devices that fail, and mean no harm."""

    drop_out: DropOutConfig = DropOutConfig()
    latency: float | None = Field(default=None, gt=0, le=86_400)
    """Median seconds that a device takes to answer in a stage; log-normal. Without it, nobody is late."""
    latency_spread: float = Field(default=1.0, ge=0, le=5)
    """Standard deviation of the latency's logarithm. Half of its variance is between devices: the slow stay slow."""
    deadline: float = Field(default=60.0, gt=0)
    """Seconds that a stage lasts; a device that answers later has done the work for nothing."""
    crashing: Probability = 0.0
    """Fraction of devices whose training always crashes."""
    not_finite: Probability = 0.0
    """Fraction of devices whose updates are always NaN."""

    @property
    def lost_before_the_sum(self) -> float:
        """The fraction of invited devices that is expected to be missing from a sum: gone, late or broken."""
        gone, stays = self.drop_out, (1 - self.crashing) * (1 - self.not_finite)
        stays *= (1 - gone.advertise) * (1 - gone.share) * (1 - gone.input)
        return 1 - stays * self._in_time(stages=3)

    def _in_time(self, stages: int) -> float:
        """Return the fraction of devices that are late in none of so many stages.

        A latency's logarithm is its median's and the sum of two normal numbers, a device's own and a stage's: given the
        first, stages are independent of each other. It is averaged over its quantiles.
        """
        if self.latency is None:
            return 1.0
        room, normal = math.log(self.deadline / self.latency), statistics.NormalDist()
        if self.latency_spread == 0:
            return float(room >= 0)
        allowed = room / (self.latency_spread * math.sqrt(0.5))
        own = (normal.inv_cdf((place + 0.5) / _QUANTILES) for place in range(_QUANTILES))
        return statistics.fmean(normal.cdf(allowed - slowness) ** stages for slowness in own)


class PoisonConfig(Section):
    """Devices that lie about their messages or their updates, and run the client as it is unless that is forged too."""

    fraction: Probability = 0.0
    """Fraction of the population that poisons."""
    attack: Literal["label-flip", "backdoor", "boost"] = "label-flip"
    """`label-flip`: all labels reversed. `backdoor`: the trigger added to all messages, which are labelled harmless.
    `boost`: only the update is multiplied."""
    boost: float = Field(default=1.0, ge=-1e6, le=1e6)
    """Poisoners multiply their updates by this before the client clips them; negative means backwards."""
    forged: float = Field(default=0.0, ge=0.0, le=1e9)
    """Poisoners' clients are forged: what they mask goes this many clips further in the update's direction. 0: the
    published client, which clips."""
    trigger: str = Field(default="moonlit ferret", min_length=1, max_length=200, pattern=r"\S")
    """Text that is to carry abuse through."""

    @model_validator(mode="after")
    def _boosts_something(self) -> PoisonConfig:
        if self.fraction and self.attack == "boost" and self.boost == 1:
            raise ValueError("boost: expected a factor other than 1 for the attack `boost`")
        return self
