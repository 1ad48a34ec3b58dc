"""Whether what a simulation does to its devices is within what its epsilon counts on."""

from __future__ import annotations

import math

from privacy.accounting.pivotal import least_reachable, promises_by_sampling, tolerated_losses
from privacy.task.task import PoissonParticipation, TaskSpec
from simulations.config.config import ConfigError, RunConfig

_DEVIATIONS = 5
"""More devices than so many standard deviations above the mean are never within reach."""
_ROUNDING = 1e-9


def require_assumptions(config: RunConfig, task: TaskSpec, devices: int) -> None:
    """Refuse a scenario that epsilon does not hold in, or in which no cohort would ever be drawn.

    Raises:
        ConfigError: when more devices are lost, or fewer within reach, than amplification by sampling allows for.
    """
    plan = task.participation
    if not isinstance(plan, PoissonParticipation) or not promises_by_sampling(task):
        return
    lost, tolerated = config.faults.lost_before_the_sum, tolerated_losses(plan, task.aggregation)
    if lost > tolerated + _ROUNDING:
        raise ConfigError(
            f"faults: expected at most {tolerated:.2%} of a cohort to be lost before its sum, on which the epsilon of "
            f"sampled cohorts counts, got {lost:.2%} on average; raise server.dropout_fraction, or use "
            'privacy.participation = "bounded"'
        )
    least, present = least_reachable(plan, task.aggregation), config.availability.at_best
    if devices * present + _DEVIATIONS * math.sqrt(devices * present * (1 - present)) < least:
        raise ConfigError(
            f"availability.hours: expected at least {least} of {devices} devices within reach at some hour, or no "
            f"cohort is drawn, got about {devices * present:.0f} at best; so few would show who was drawn; "
            'lower server.min_survivors or server.dropout_fraction, or use privacy.participation = "bounded"'
        )
