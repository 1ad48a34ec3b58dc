"""The cost that looking for good settings would have if it were charged, since a sweep does not charge it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from privacy.accounting.accountant import AccountantsDisagree, spend
from privacy.accounting.events import BoundedGaussian, CorrelatedGaussian, Event, round_event
from privacy.accounting.extrapolation import fleet_task
from privacy.accounting.selection import best_of_random_many
from privacy.task.task import TaskSpec


@dataclass(frozen=True)
class TuningCost:
    """Device-level epsilons of runs on one population; None where nothing can be promised.

    Attributes:
        runs: how many runs there are, seeds included; each counts with every round that it plans.
        noiseless: how many have no noise. With any such, `costliest`, `together` and `best_alone` are None.
        delta: the delta that the epsilons hold at.
        costliest: the epsilon of the run with the largest.
        together: that of all runs, everything about them being seen.
        noisy_together: that of the runs with noise, likewise.
        best_alone: that of a search whose number of runs is drawn at random, `runs` on average, and of which the best
            run alone is seen.
    """

    runs: int
    noiseless: int
    delta: float
    costliest: float | None
    together: float | None
    noisy_together: float | None
    best_alone: float | None


def tuning_cost(tasks: Sequence[TaskSpec]) -> TuningCost:
    """Compute the cost of one run of each task, at the smallest of their deltas."""
    delta = min(task.budget.delta for task in tasks)
    noisy = [run_events(task, number) for number, task in enumerate(tasks) if task.mechanism.noise_multiplier]
    noisy_together = _epsilon(sum(noisy, Counter[Event]()), delta) if noisy else None
    bounded = len(noisy) == len(tasks)
    return TuningCost(
        runs=len(tasks),
        noiseless=len(tasks) - len(noisy),
        delta=delta,
        costliest=_largest([_epsilon(events, delta) for events in _distinct(noisy)]) if bounded else None,
        together=noisy_together if bounded else None,
        noisy_together=noisy_together,
        best_alone=_finite(best_of_random_many(noisy, len(tasks), delta)) if bounded else None,
    )


def run_events(task: TaskSpec, run: int) -> Counter[Event]:
    """Return what run number `run` of a task exposes a device to, in the fleet if it extrapolates to one.

    Limits on participation hold within each run, never over two.
    """
    charged = task if task.simulation.fleet is None else fleet_task(task)
    events = Counter(round_event(charged, number) for number in range(1, charged.rounds + 1))
    return Counter({_of_its_own(event, f"run {run}"): times for event, times in events.items()})


def _of_its_own(event: Event, name: str) -> Event:
    if isinstance(event, BoundedGaussian | CorrelatedGaussian):
        return event.model_copy(update={"task": name})
    return event


def _distinct(runs: Sequence[Counter[Event]]) -> list[Counter[Event]]:
    """Leave out repetitions, as of seeds."""
    return list({frozenset(_anonymous(events).items()): events for events in runs}.values())


def _anonymous(events: Counter[Event]) -> dict[Event, int]:
    return {_of_its_own(event, ""): times for event, times in events.items()}


def _epsilon(events: Counter[Event], delta: float) -> float | None:
    try:
        return _finite(spend(events, delta).epsilon)
    except AccountantsDisagree:
        return None


def _largest(epsilons: Sequence[float | None]) -> float | None:
    finite = [epsilon for epsilon in epsilons if epsilon is not None]
    return max(finite) if finite and len(finite) == len(epsilons) else None


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
