"""The fleet that a run stands for, as a configuration names it."""

from __future__ import annotations

from pydantic import Field, model_validator

from simulations.config.section import Section


class FleetConfig(Section):
    """A deployment many times as large, whose noise and epsilon the run takes over. Without it, a run is itself."""

    population: int | None = Field(default=None, ge=2, le=10**10)
    cohort: int | None = Field(default=None, ge=2, le=10**8)
    """Devices a round, there."""
    shards: int | None = Field(default=None, ge=1, le=10_000)
    """How many sums a cohort there is split into, each with all its noise. Default: as for `server.shards`; 1 is the
    convention of the literature, and beyond 1,000 devices takes a server that may see their sum."""
    max_participations: int | None = Field(default=None, ge=1)
    """Under `bounded`, there. Default: `privacy.max_participations`."""
    min_separation: int | None = Field(default=None, ge=1, le=1_000_000)
    """Under `bounded`, there. Default: `privacy.min_separation`."""

    @property
    def given(self) -> bool:
        """Whether there is one to extrapolate to."""
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
