"""The epsilon report: JSON from the task and the verified ledger, HTML drawn from the JSON alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context, Decimal

from privacy import report_words as words
from privacy.accountant import Spend, message_level_epsilon, spend, spend_by_round
from privacy.events import Event, round_event
from privacy.ledger import Charge, SignedHead, verify
from privacy.ledger_entries import Abandoned, Charged, Entry, Released
from privacy.merkle import leaf_hash
from privacy.report_html import render_html
from privacy.report_model import (
    AtDelta,
    Claim,
    CompositionPart,
    DeviceSpend,
    EpsilonReport,
    EventCount,
    MechanismPart,
    MessageSpend,
    ParticipationPart,
    Provenance,
    RandomnessPart,
    RoundCounts,
    SpendPart,
    json_schema,
)
from privacy.task import BoundedParticipation, PoissonParticipation, TaskSpec

__all__ = ["EpsilonReport", "ReportError", "RoundCounts", "RunFacts", "build_report", "json_schema", "render_html"]

_OTHER_DELTAS = (Decimal(10), Decimal("0.1"), Decimal("0.01"))
"""Times the task's delta."""
_UP = Context(prec=3, rounding=ROUND_CEILING)


class ReportError(ValueError):
    """Task, ledger and facts do not belong together."""


@dataclass(frozen=True)
class RunFacts:
    """What the ledger does not hold.

    Attributes:
        rounds: realised sizes; left out of the report where the claim needs them secret.
        least_noise_multiplier: over the released rounds, from the devices assumed honest; None before a release.
        versions: of what ran, by name.
    """

    rounds: Sequence[RoundCounts] = ()
    least_noise_multiplier: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def build_report(
    task: TaskSpec, entries: Sequence[bytes], head: SignedHead, public_key: bytes, facts: RunFacts
) -> EpsilonReport:
    """Verify the ledger, recompute every figure from it, and say what they mean.

    Raises:
        LedgerInvalid: when the ledger does not verify under `public_key`.
        ReportError: when the ledger charged this task for something else, or less noise was realised than charged.
        AccountantsDisagree: when no epsilon can be stated.
    """
    history = _History.of(task, entries, verify(entries, head, public_key))
    _check(task, history, facts)
    events = history.events
    device = spend(events, task.budget.delta)
    return EpsilonReport(
        hypothetical=task.randomness == "seeded",
        claim=_claim(task, device),
        mechanism=_mechanism(task, facts),
        participation=_participation(task, history, facts),
        spend=SpendPart(device=_device(events, device), message=_message(task)),
        composition=_composition(task, events),
        not_protected=words.NOT_PROTECTED,
        not_verified=words.not_verified(task),
        minimisation=tuple(line.format(min_survivors=task.aggregation.min_survivors) for line in words.MINIMISATION),
        randomness=_randomness(task),
        provenance=_provenance(task, history, head, public_key, facts),
    )


@dataclass(frozen=True)
class _History:
    """The whole ledger's events, for what a device has paid, and what became of this task's charges."""

    events: list[Event]
    charges: dict[str, Charge]
    released: list[str]
    abandoned: int
    last_entry: int

    @classmethod
    def of(cls, task: TaskSpec, raw: Sequence[bytes], entries: Sequence[Entry]) -> _History:
        bodies = [entry.body for entry in entries]
        charged = [(leaf_hash(line).hex(), body) for line, body in zip(raw, bodies, strict=True)]
        everyone = {name: body.charge for name, body in charged if isinstance(body, Charged)}
        own = {name: charge for name, charge in everyone.items() if charge.task == task.id}
        released = [body.model_digest for body in bodies if isinstance(body, Released) and body.charge_hash in own]
        abandoned = sum(isinstance(body, Abandoned) and body.charge_hash in own for body in bodies)
        return cls([charge.event for charge in everyone.values()], own, released, abandoned, entries[-1].time)


def _check(task: TaskSpec, history: _History, facts: RunFacts) -> None:
    if any(charge.event != round_event(task) for charge in history.charges.values()):
        raise ReportError(f"ledger: expected every round of task {task.id} charged as the task says, got another event")
    planned, realised = task.mechanism.noise_multiplier, facts.least_noise_multiplier
    if realised is not None and realised < planned * (1 - 1e-9):
        raise ReportError(f"least_noise_multiplier: expected at least the charged {planned}, got {realised}")


def _claim(task: TaskSpec, device: Spend) -> Claim:
    epsilon, delta = _number(device.epsilon), _number(device.delta)
    finite = math.isfinite(device.epsilon)
    return Claim(
        statement=words.CLAIM.format(epsilon=epsilon, delta=f"{Decimal(delta):f}") if finite else words.NO_CLAIM,
        unit=words.UNIT,
        adjacency=words.ADJACENCY,
        holds_against=words.holds_against(task),
        epsilon=epsilon,
        delta=delta,
        budget_epsilon=None if task.budget.epsilon is None else _number(task.budget.epsilon),
        warnings=words.warnings(task),
    )


def _mechanism(task: TaskSpec, facts: RunFacts) -> MechanismPart:
    realised = facts.least_noise_multiplier
    return MechanismPart(
        name="distributed discrete Gaussian noise on the securely aggregated sum of clipped updates",
        dimension=task.model.dimension,
        clip=_number(task.mechanism.clip),
        statistics=tuple(statistic.name for statistic in task.statistics),
        modulus_bits=task.aggregation.modulus_bits,
        shards=task.aggregation.shards,
        noise_multiplier_planned=_number(task.mechanism.noise_multiplier),
        noise_multiplier_realised=None if realised is None else _number(realised),
    )


def _participation(task: TaskSpec, history: _History, facts: RunFacts) -> ParticipationPart:
    plan = task.participation
    sampled = plan if isinstance(plan, PoissonParticipation) else None
    bounded = plan if isinstance(plan, BoundedParticipation) else None
    return ParticipationPart(
        kind=plan.kind,
        expected_cohort=_number(plan.expected_cohort),
        population=sampled.population if sampled else None,
        sampling_rate=_number(sampled.sampling_rate) if sampled else None,
        max_participations=bounded.max_participations if bounded else None,
        corrupt_share=_number(task.aggregation.corrupt_share),
        dropout_share=_number(task.aggregation.dropout_share),
        min_survivors=task.aggregation.min_survivors,
        rounds_planned=task.rounds,
        rounds_charged=len(history.charges),
        rounds_released=len(history.released),
        rounds_abandoned=history.abandoned,
        realised=tuple(facts.rounds) if bounded else None,
        withheld=words.WITHHELD if sampled else None,
    )


def _device(events: Sequence[Event], device: Spend) -> DeviceSpend:
    stated = Decimal(repr(device.delta))
    deltas = sorted(float(stated * factor) for factor in _OTHER_DELTAS if stated * factor < 1)
    return DeviceSpend(
        epsilon=_number(device.epsilon),
        delta=_number(device.delta),
        slack=_short(device.slack),
        accountant=device.accountant,
        second_accountant=device.second_accountant,
        second_epsilon=_number(_ceiling(device.second_epsilon)),
        discrepancy=_short(device.discrepancy),
        at_deltas=tuple(
            AtDelta(delta=_number(delta), epsilon=_number(spend(events, delta).epsilon)) for delta in deltas
        ),
        by_charge=tuple(_number(epsilon) for epsilon in spend_by_round(events, device.delta)),
    )


def _message(task: TaskSpec) -> MessageSpend:
    plan, delta = task.participation, task.budget.delta
    limit = plan.max_participations if isinstance(plan, BoundedParticipation) else task.rounds
    participations = min(limit, task.rounds)
    return MessageSpend(
        statement=words.MESSAGE if task.training.message_noise else words.NO_MESSAGE,
        delta=_number(delta),
        one_participation=_number(message_level_epsilon(task.training, 1, delta)),
        participations=participations,
        all_participations=_number(message_level_epsilon(task.training, participations, delta)),
    )


def _composition(task: TaskSpec, events: Sequence[Event]) -> CompositionPart:
    counts = tuple(EventCount(event=event, times=times) for event, times in Counter(events).items())
    return CompositionPart(statement=words.composition(task), events=counts)


def _randomness(task: TaskSpec) -> RandomnessPart:
    seeded = task.randomness == "seeded"
    return RandomnessPart(origin=task.randomness, statement=words.HYPOTHETICAL if seeded else words.SYSTEM_RANDOMNESS)


def _provenance(task: TaskSpec, history: _History, head: SignedHead, public_key: bytes, facts: RunFacts) -> Provenance:
    return Provenance(
        task=task.id,
        task_name=task.name,
        ledger_head=head,
        ledger_key=public_key.hex(),
        last_entry=words.moment(history.last_entry),
        model_digest=history.released[-1] if history.released else None,
        versions=dict(sorted(facts.versions.items())),
    )


def _number(value: float) -> str:
    """The shortest decimal that is exactly this float."""
    return "inf" if math.isinf(value) else repr(float(value)).removesuffix(".0")


def _ceiling(value: float) -> float:
    return math.ceil(value * 1e4) / 1e4 if math.isfinite(value) else value


def _short(value: float) -> str:
    """Three significant digits, rounded up."""
    return "inf" if math.isinf(value) else _number(float(_UP.create_decimal(repr(value))))
