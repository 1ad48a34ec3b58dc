"""The deployment that a simulation stands for, many times as large."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from privacy.base.canonical import Frozen
from privacy.task.participation import (
    AggregationPolicy,
    BoundedParticipation,
    Participation,
    PoissonParticipation,
    counted_devices,
)


class Fleet(Frozen):
    """Cohorts and noise of a deployment; the average of a simulated round gets the noise that it would have there.

    McMahan et al. 2018 (section 3), Kairouz et al. 2021 and others state results in this way. Nothing is charged to a
    fleet, for none was asked: the ledger has what the simulated devices paid, at a fraction of the noise.
    """

    population: int = Field(ge=1)
    participation: Participation
    aggregation: AggregationPolicy
    noise_multiplier: float = Field(gt=0)
    epsilon: float | None = Field(default=None, gt=0)
    """Budget of the fleet, at the delta of the task's own; None reports and does not limit."""

    @model_validator(mode="after")
    def _holds_its_cohorts(self) -> Fleet:
        plan = self.participation
        if isinstance(plan, PoissonParticipation) and plan.population != self.population:
            raise ValueError(f"participation.population: expected {self.population}, got {plan.population}")
        if isinstance(plan, BoundedParticipation) and plan.cohort * plan.min_separation > self.population:
            raise ValueError(
                f"population: cohorts of {plan.cohort} that are disjoint over {plan.min_separation} rounds need "
                f"{plan.cohort * plan.min_separation} devices, got {self.population}"
            )
        return self

    def noise_for(self, participation: Participation, aggregation: AggregationPolicy, *, by_server: bool) -> float:
        """Return the noise multiplier with which a simulation's average has the noise of the fleet's.

        The sum of every shard of m devices has z sqrt(m / counted(m)), see `counted_devices`, while noise of the
        server's is in the whole sum once: the average of n devices has noise in proportion to
        z sqrt(shards m / counted(m)) / n, or z / n.

        Args:
            participation: how the simulation's cohorts are drawn.
            aggregation: how they are summed, with the fleet's fraction of corrupt devices.
            by_server: whether the server adds the noise, correlated over the rounds.

        Raises:
            ValueError: when the simulation is no smaller image of the fleet.
        """
        self._check_image(participation, aggregation)

        def of_average(drawn: Participation, policy: AggregationPolicy) -> float:
            shard = drawn.expected_cohort / policy.shards
            of_sum = policy.shards * shard / counted_devices(drawn, policy, shard)
            return (1.0 if by_server else math.sqrt(of_sum)) / drawn.expected_cohort

        there = of_average(self.participation, self.aggregation)
        return self.noise_multiplier * there / of_average(participation, aggregation)

    def _check_image(self, participation: Participation, aggregation: AggregationPolicy) -> None:
        there = self.participation
        if there.kind != participation.kind:
            raise ValueError(f"fleet.participation: expected {participation.kind}, got {there.kind}")
        if there.expected_cohort < participation.expected_cohort * (1 - 1e-9):
            raise ValueError(
                f"fleet.participation: expected a cohort of at least the simulated {participation.expected_cohort:g}, "
                f"got {there.expected_cohort:g}"
            )
        if self.aggregation.corrupt_fraction != aggregation.corrupt_fraction:
            raise ValueError(
                f"fleet.aggregation: expected a corrupt fraction of {aggregation.corrupt_fraction}, "
                f"got {self.aggregation.corrupt_fraction}"
            )
