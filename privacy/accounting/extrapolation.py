"""What an extrapolated simulation says about its fleet: the task there, and what its rounds would have cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from privacy.accounting.accountant import spend
from privacy.accounting.events import Event, round_event
from privacy.task.task import Budget, SimulationOnly, TaskSpec


def fleet_task(task: TaskSpec) -> TaskSpec:
    """Return what the fleet's devices would be asked: the simulated task with their cohorts, noise and budget.

    Raises:
        ValueError: when the task extrapolates to no fleet.
    """
    fleet = task.simulation.fleet
    if fleet is None:
        raise ValueError("fleet: expected a task that extrapolates to one, got none")
    return task.model_copy(
        update={
            "mechanism": task.mechanism.model_copy(update={"noise_multiplier": fleet.noise_multiplier}),
            "participation": fleet.participation,
            "aggregation": fleet.aggregation,
            "budget": Budget(epsilon=fleet.epsilon, delta=task.budget.delta),
            "simulation": SimulationOnly(),
        }
    )


def fleet_events(task: TaskSpec, rounds: Iterable[int]) -> list[Event]:
    """Return what these rounds would have been charged as in the fleet, in order.

    Raises:
        ValueError: when the task extrapolates to no fleet.
    """
    there = fleet_task(task)
    return [round_event(there, number) for number in rounds]


def fleet_epsilon(task: TaskSpec, rounds: int) -> float:
    """Return the epsilon that the first `rounds` rounds would have cost a device of the fleet, at the task's delta.

    Raises:
        ValueError: when the task extrapolates to no fleet.
        AccountantsDisagree: when no epsilon can be stated.
    """
    return spend(Counter(fleet_events(task, range(1, rounds + 1))), task.budget.delta).epsilon
