"""The part of a report that speaks of a fleet which a simulation stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from privacy.accounting.accountant import confirmed_spend, known_cohorts_epsilon
from privacy.accounting.events import Event
from privacy.accounting.extrapolation import fleet_events, fleet_task
from privacy.ledger.entries import Account
from privacy.report import words
from privacy.report.model import EventCount, ExtrapolationPart
from privacy.report.spend import device_spend, number
from privacy.secagg.membership.params import LARGEST
from privacy.task.fleet import Fleet
from privacy.task.task import BoundedParticipation, PoissonParticipation, TaskSpec

_EXTRAPOLATED = (
    "Extrapolated, hypothetical: noise rescaled to a larger fleet. {simulated} simulated devices a round stood for "
    "{cohort} of {population}, and their average got only the noise that it would have there. Nothing was charged to "
    "such a fleet. The fleet’s ε protects no device of this run: what the run cost them is the ε of its own claim."
)
_CLAIM = (
    "Of a fleet of {population} devices, trained by this very plan in cohorts of {cohort} and with real randomness, it "
    "could be said: {claim}"
)
_ASSUMPTIONS = (
    "That the average update of {simulated} devices stands for that of {cohort}. It varies more from round to round, "
    "and so does what noise of local training leaves in it: that alone makes the simulated model worse than the "
    "fleet’s. Whether the fleet’s devices resemble the simulated ones, nobody verified.",
    "That the fleet trains as many rounds, with the same clip, fraction of drop-outs and steps of the server, and that "
    "nothing of it was tuned on the fleet’s devices.",
    "That each of the {shards} sums which a cohort of the fleet is split into carries all its noise by itself.",
)
_OPEN_SUM = (
    "Whoever sees the released models, and nobody who sees into the server: sums of so many devices are beyond secure "
    "aggregation here, and an aggregator that is trusted would have to add them up."
)
_DRAWN = (
    "That a server draws every cohort from all {population} devices, each by its own coin, and hides the draw. A fleet "
    "whose devices check in when they are idle cannot promise it.",
)


def extrapolated(task: TaskSpec, fleet: Fleet) -> str:
    """Say in words what was done to the noise of a simulation that stands for a fleet."""
    return _EXTRAPOLATED.format(**_sizes(task, fleet))


def extrapolation_part(task: TaskSpec, fleet: Fleet, own: Sequence[Account]) -> ExtrapolationPart:
    """State what the charged rounds would have cost a device of the fleet.

    Args:
        task: the simulation's.
        fleet: what it stands for.
        own: the task's charges, in order.

    Raises:
        AccountantsDisagree: when no epsilon can be stated.
    """
    events = fleet_events(task, [account.charge.round for account in own])
    spent = device_spend(events, confirmed_spend(events, task.budget.delta))
    plan, delta = fleet.participation, f"{Decimal(spent.delta):f}"
    sampled = plan if isinstance(plan, PoissonParticipation) else None
    bounded = plan if isinstance(plan, BoundedParticipation) else None
    return ExtrapolationPart(
        statement=extrapolated(task, fleet),
        claim=_CLAIM.format(claim=words.claim(float(spent.epsilon), spent.epsilon, delta), **_sizes(task, fleet)),
        holds_against=_holds_against(fleet_task(task), events),
        assumptions=tuple(line.format(**_sizes(task, fleet)) for line in _ASSUMPTIONS + (_DRAWN if sampled else ())),
        population=fleet.population,
        cohort=number(plan.expected_cohort),
        simulated_cohort=number(task.participation.expected_cohort),
        sampling_rate=number(sampled.sampling_rate) if sampled else None,
        max_participations=bounded.max_participations if bounded else None,
        min_separation=bounded.min_separation if bounded else None,
        min_survivors=fleet.aggregation.min_survivors,
        shards=fleet.aggregation.shards,
        noise_multiplier=number(fleet.noise_multiplier),
        budget_epsilon=None if fleet.epsilon is None else number(fleet.epsilon),
        events=tuple(EventCount(event=event, times=times) for event, times in Counter(events).items()),
        spend=spent,
    )


def _holds_against(there: TaskSpec, events: Sequence[Event]) -> str:
    if there.shard_cohort > LARGEST:
        return _OPEN_SUM
    return words.holds_against(there, known_cohorts_epsilon(events, there.budget.delta))


def _sizes(task: TaskSpec, fleet: Fleet) -> dict[str, str]:
    return {
        "simulated": f"{task.participation.expected_cohort:,.0f}",
        "cohort": f"{fleet.participation.expected_cohort:,.0f}",
        "population": f"{fleet.population:,}",
        "shards": f"{fleet.aggregation.shards:,}",
    }
