"""What looking for good settings would cost if it were charged, since a sweep does not charge it."""

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
    """Device-level epsilons at `delta`, of runs on one population; None where nothing can be promised.

    Attributes:
        runs: all of them, seeds included, with every round that they plan.
        noiseless: runs without noise. One of them, and `costliest`, `together` and `best_alone` are None.
        costliest: the one run with the largest epsilon.
        together: all runs, everything about them being seen.
        noisy_together: likewise, of the runs with noise.
        best_alone: had the number of runs been drawn at random, `runs` on average, and the best alone been seen.
    """

    runs: int
    noiseless: int
    delta: float
    costliest: float | None
    together: float | None
    noisy_together: float | None
    best_alone: float | None


def tuning_cost(tasks: Sequence[TaskSpec]) -> TuningCost:
    """Of one run of each task, at the smallest of their deltas."""
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
    """What run number `run` of a task exposes a device to, in the fleet if it extrapolates to one.

    Limits on participation hold within a run and are not shared by two.
    """
    charged = task if task.simulation.fleet is None else fleet_task(task)
    events = Counter(round_event(charged, number) for number in range(1, charged.rounds + 1))
    return Counter({_of_its_own(event, f"run {run}"): times for event, times in events.items()})


def _of_its_own(event: Event, name: str) -> Event:
    if isinstance(event, BoundedGaussian | CorrelatedGaussian):
        return event.model_copy(update={"task": name})
    return event


def _distinct(runs: Sequence[Counter[Event]]) -> list[Counter[Event]]:
    """Without repetitions, as of seeds."""
    return list({frozenset(_anonymous(events).items()): events for events in runs}.values())


def _anonymous(events: Counter[Event]) -> dict[Event, int]:
    return {_of_its_own(event, ""): times for event, times in events.items()}


def _epsilon(events: Counter[Event], delta: float) -> float | None:
    try:
        return _finite(spend(events, delta).epsilon)
    except AccountantsDisagree:
        return None


def _largest(epsilons: Sequence[float | None]) -> float | None:
    found = [epsilon for epsilon in epsilons if epsilon is not None]
    return max(found) if found and len(found) == len(epsilons) else None


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
