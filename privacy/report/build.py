"""The epsilon report: JSON from the task and the verified ledger, HTML drawn from the JSON alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from privacy.accounting.accountant import (
    Spend,
    confirmed_spend,
    known_cohorts_epsilon,
    message_level_epsilon,
    privacy_curve,
)
from privacy.accounting.events import Event, PoissonGaussian, round_event
from privacy.ledger.entries import Account, LedgerState
from privacy.ledger.ledger import SignedHead, replay
from privacy.ledger.limits import worst_in_window
from privacy.report import words
from privacy.report.fleet import extrapolated, extrapolation_part
from privacy.report.html import render_html
from privacy.report.meaning import attackers
from privacy.report.model import (
    AboutPart,
    Amplification,
    AuditPart,
    Claim,
    CompositionPart,
    EpsilonReport,
    EventCount,
    FailedRounds,
    MechanismPart,
    MessageSpend,
    ParticipationPart,
    PlannedSpend,
    Provenance,
    PurposeCount,
    RandomnessPart,
    RoundCounts,
    SpendPart,
    UnchargedUse,
    WindowSpend,
    json_schema,
)
from privacy.report.spend import device_spend, number
from privacy.report.thresholds import thresholds_part
from privacy.report.words import trust
from privacy.task.task import BoundedParticipation, Budget, PoissonParticipation, TaskSpec

__all__ = ["EpsilonReport", "ReportError", "RoundCounts", "RunFacts", "build_report", "json_schema", "render_html"]


_MOST_REASONS = 12
"""Reasons for failed rounds that a report lists one by one."""


class ReportError(ValueError):
    """Task, ledger and facts do not belong together."""


@dataclass(frozen=True)
class RunFacts:
    """What a report says and the ledger does not hold.

    Attributes:
        rounds: realised sizes; left out of the report where the claim needs them secret.
        least_noise_multiplier: smallest of the released rounds, from the devices assumed honest; None before a release.
        versions: version of each thing that ran, by name.
        audits: attacks on this run's release and on the code that made it.
        attempted: how many rounds were begun or refused; None where nobody tells.
        failures: why rounds released nothing, by their number; those without a charge count, which the ledger has not.
    """

    rounds: Sequence[RoundCounts] = ()
    least_noise_multiplier: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    audits: Sequence[AuditPart] = ()
    attempted: int | None = None
    failures: Mapping[int, str] = field(default_factory=dict)


def build_report(
    task: TaskSpec, entries: Sequence[bytes], head: SignedHead, public_key: bytes, facts: RunFacts
) -> EpsilonReport:
    """Verify the ledger, recompute every figure from it, and say what they mean.

    Args:
        task: what the report is about.
        entries: the whole ledger, canonical JSON.
        head: what the ledger's signer stands for.
        public_key: the signer's, 32 bytes, from a trusted place.
        facts: what the ledger does not hold.

    Raises:
        LedgerInvalid: when the ledger does not verify under `public_key`.
        ReportError: when the ledger charged this task for something else, or less noise was realised than charged; or
            when it charged others beside a task that extrapolates to a fleet, whose epsilon would leave them out.
        AccountantsDisagree: when no epsilon can be stated.
    """
    ledger_state = replay(entries, head, public_key)
    own = [account for account in ledger_state.accounts.values() if account.charge.task == task.id]
    _check(task, ledger_state, own, facts)
    device, fleet = confirmed_spend(ledger_state.counts, task.budget.delta), task.simulation.fleet
    return EpsilonReport(
        hypothetical=task.randomness == "seeded",
        about=_about(task, own),
        claim=_claim(task, ledger_state, device),
        extrapolation=None if fleet is None else extrapolation_part(task, fleet, own),
        mechanism=_mechanism(task, facts),
        participation=_participation(task, own, facts),
        thresholds=thresholds_part(task),
        spend=_spend(task, ledger_state, own, device),
        composition=_composition(task, ledger_state),
        audit=tuple(facts.audits),
        not_protected=words.NOT_PROTECTED,
        not_verified=words.not_verified(task),
        minimisation=words.minimisation(task),
        randomness=_randomness(task),
        provenance=_provenance(task, ledger_state, own, head, facts),
    )


def _check(task: TaskSpec, ledger_state: LedgerState, own: Sequence[Account], facts: RunFacts) -> None:
    opened = ledger_state.opened
    if opened is None or (opened.population, opened.budget) != (task.population, task.budget):
        raise ReportError(
            f"ledger: expected that of population {task.population} with budget {task.budget}, got another's"
        )
    if any(not account.charge.follows_from(task) for account in own):
        raise ReportError(f"ledger: expected every round of task {task.id} charged as the task says, got another event")
    if task.simulation.fleet is not None and len(own) < len(ledger_state.accounts):
        raise ReportError(f"ledger: expected charges of task {task.id} alone, which stands for a fleet, got others")
    planned, realised = task.mechanism.noise_multiplier, facts.least_noise_multiplier
    if realised is not None and realised < planned * (1 - 1e-9):
        raise ReportError(f"least_noise_multiplier: expected at least the charged {planned}, got {realised}")


def _about(task: TaskSpec, own: Sequence[Account]) -> AboutPart:
    return AboutPart(
        purpose=task.purpose,
        notice=task.notice,
        statement=words.NOTICE,
        first_charge=words.moment(own[0].time) if own else None,
        last_charge=words.moment(own[-1].time) if own else None,
    )


def _claim(task: TaskSpec, ledger_state: LedgerState, device: Spend) -> Claim:
    epsilon, delta = number(device.epsilon), number(device.delta)
    known = known_cohorts_epsilon(ledger_state.counts, device.delta)
    fleet = task.simulation.fleet
    extrapolation = () if fleet is None else (extrapolated(task, fleet),)
    return Claim(
        statement=words.claim(device.epsilon, epsilon, f"{Decimal(delta):f}"),
        unit=words.UNIT,
        adjacency=words.ADJACENCY,
        holds_against=words.holds_against(task, known),
        known_cohorts_epsilon=None if known is None else number(known),
        attackers=attackers(task, ledger_state.counts, device.epsilon, device.delta),
        trust=trust(task, known),
        epsilon=epsilon,
        delta=delta,
        budget_epsilon=None if task.budget.epsilon is None else number(task.budget.epsilon),
        warnings=extrapolation + words.warnings(task),
    )


def _mechanism(task: TaskSpec, facts: RunFacts) -> MechanismPart:
    realised = facts.least_noise_multiplier
    return MechanismPart(
        name=words.mechanism(task),
        dimension=task.model.dimension,
        clip=number(task.mechanism.clip),
        clip_adapts=task.mechanism.adaptive is not None,
        statistics=tuple(statistic.name for statistic in task.statistics),
        modulus_bits=task.aggregation.modulus_bits,
        shards=task.aggregation.shards,
        noise_multiplier_planned=number(task.mechanism.noise_multiplier),
        noise_multiplier_realised=None if realised is None else number(realised),
    )


def _participation(task: TaskSpec, own: Sequence[Account], facts: RunFacts) -> ParticipationPart:
    plan = task.participation
    sampled = plan if isinstance(plan, PoissonParticipation) else None
    bounded = plan if isinstance(plan, BoundedParticipation) else None
    charged = {account.charge.round for account in own}
    uncharged = [reason for number_, reason in facts.failures.items() if number_ not in charged]
    return ParticipationPart(
        kind=plan.kind,
        expected_cohort=number(plan.expected_cohort),
        population=sampled.population if sampled else None,
        sampling_rate=number(sampled.sampling_rate) if sampled else None,
        max_participations=bounded.max_participations if bounded else None,
        min_separation=bounded.min_separation if bounded else None,
        corrupt_fraction=number(task.aggregation.corrupt_fraction),
        max_dropouts=task.aggregation.max_dropouts,
        min_survivors=task.aggregation.min_survivors,
        rounds_planned=task.rounds,
        rounds_charged=len(own),
        rounds_released=sum(account.model_digest is not None for account in own),
        rounds_abandoned=sum(bool(account.abandoned) for account in own),
        rounds_attempted=facts.attempted,
        failed_after_charge=_grouped([account.abandoned for account in own if account.abandoned]),
        failed_before_charge=None if facts.attempted is None else _grouped(uncharged),
        realised=tuple(facts.rounds) if bounded else None,
        withheld=words.WITHHELD if sampled else None,
    )


def _grouped(reasons: Sequence[str]) -> tuple[FailedRounds, ...]:
    """Count equal reasons, the most frequent first; beyond so many, the rest together."""
    counted = sorted(Counter(reasons).items(), key=lambda item: (-item[1], item[0]))
    rest = sum(times for _, times in counted[_MOST_REASONS:])
    shown = tuple(FailedRounds(reason=reason, rounds=times) for reason, times in counted[:_MOST_REASONS])
    return (*shown, FailedRounds(reason=words.OTHER_REASONS, rounds=rest)) if rest else shown


def _spend(task: TaskSpec, ledger_state: LedgerState, own: Sequence[Account], device: Spend) -> SpendPart:
    events = [account.charge.event for account in ledger_state.accounts.values()]
    return SpendPart(
        device=device_spend(events, device),
        planned=_planned(task, ledger_state.counts, own, device),
        message=_message(task),
        window=_window(task.budget, ledger_state),
    )


def _planned(task: TaskSpec, counts: Counter[Event], own: Sequence[Account], device: Spend) -> PlannedSpend:
    """State where epsilon ends if every round that may still come is charged, as plans take it: of all devices."""
    left = task.rounds - max((account.charge.round for account in own), default=0)
    planned = counts + Counter({round_event(task, task.rounds): left})
    [epsilon] = privacy_curve(planned, [device.delta]) if left else [device.epsilon]
    return PlannedSpend(statement=words.planned(task), rounds_left=left, epsilon=number(epsilon))


def _window(budget: Budget, ledger_state: LedgerState) -> WindowSpend | None:
    window = budget.window
    if window is None:
        return None
    return WindowSpend(
        statement=words.WINDOW.format(days=window.days),
        days=window.days,
        limit=number(window.epsilon),
        epsilon=number(worst_in_window(ledger_state, window, budget.delta)),
    )


def _message(task: TaskSpec) -> MessageSpend:
    plan, delta = task.participation, task.budget.delta
    limit = plan.max_participations if isinstance(plan, BoundedParticipation) else task.rounds
    participations = min(limit, task.rounds)
    return MessageSpend(
        statement=words.MESSAGE if task.training.message_noise else words.NO_MESSAGE,
        delta=number(delta),
        one_participation=number(message_level_epsilon(task.training, 1, delta)),
        participations=participations,
        all_participations=number(message_level_epsilon(task.training, participations, delta)),
    )


def _composition(task: TaskSpec, ledger_state: LedgerState) -> CompositionPart:
    purposes = Counter(account.charge.purpose for account in ledger_state.accounts.values())
    return CompositionPart(
        statement=words.composition(task),
        population=task.population,
        tasks=len({account.charge.task for account in ledger_state.accounts.values()}),
        events=tuple(EventCount(event=event, times=times) for event, times in ledger_state.counts.items()),
        purposes=tuple(PurposeCount(purpose=purpose, charges=purposes[purpose]) for purpose in sorted(purposes)),
        uncharged=tuple(
            UnchargedUse(purpose=use.purpose, what=use.what, why=use.why) for use in ledger_state.uncharged
        ),
        amplification=_amplification(ledger_state.counts),
    )


def _amplification(counts: Counter[Event]) -> tuple[Amplification, ...]:
    return tuple(
        Amplification(
            rounds=times,
            sampling_rate=number(event.sampling_rate),
            pivotal_probability=number(event.pivotal_probability),
            proof=words.POISSON_PROOF,
            relies_on=words.POISSON_RELIES_ON,
        )
        for event, times in counts.items()
        if isinstance(event, PoissonGaussian)
    )


def _randomness(task: TaskSpec) -> RandomnessPart:
    seeded = task.randomness == "seeded"
    return RandomnessPart(origin=task.randomness, statement=words.HYPOTHETICAL if seeded else words.SYSTEM_RANDOMNESS)


def _provenance(
    task: TaskSpec, ledger_state: LedgerState, own: Sequence[Account], head: SignedHead, facts: RunFacts
) -> Provenance:
    released = [account.model_digest for account in own if account.model_digest is not None]
    return Provenance(
        task=task.id,
        task_name=task.name,
        ledger_head=head,
        ledger_key=ledger_state.opened.public_key if ledger_state.opened else "",
        last_entry=words.moment(ledger_state.time),
        model_digest=released[-1] if released else None,
        versions=dict(sorted(facts.versions.items())),
    )
