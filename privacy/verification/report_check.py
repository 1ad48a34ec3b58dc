"""Checks of an epsilon report against the ledger it claims to come from: recomputed, then compared part by part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from privacy.accounting.accountant import AccountantsDisagree, Spend
from privacy.accounting.events import Event
from privacy.ledger.entries import LedgerState
from privacy.ledger.ledger import LedgerInvalid, SignedHead
from privacy.ledger.merkle import leaf_hash, root_of
from privacy.report.build import ReportError, RunFacts, build_report
from privacy.report.model import DeviceSpend, EpsilonReport, ExtrapolationPart
from privacy.task.task import BoundedParticipation, LocalSgd, TaskSpec
from privacy.verification.audit_check import check_audits
from privacy.verification.checks import Check
from privacy.verification.log_facts import LoggedRound, least_noise, realised_counts

_PARTS = tuple(part for part in EpsilonReport.model_fields if part not in ("spend", "extrapolation"))
_SPEND = ("message", "planned", "window")
_RECOMPUTED = "report: all that follows from task, ledger and log, recomputed"
_BY_VERSION = ("accountant", "second_accountant", "second_epsilon", "discrepancy")
_CLOSE = 0.02
"""How far the second accountant's bound may be from one that another version of it states."""
MOST_MESSAGE_STEPS = 1_000_000
"""Steps of local training that are composed for a reviewer, which takes seconds; a task can ask for 10^10."""


@dataclass(frozen=True)
class Ground:
    """What a report is held against.

    Attributes:
        task: the task that it is to be of.
        tied: whether a signature ties that task to the ledger: nothing of another is computed.
        entries: the ledger's entries, in order.
        ledger_state: the same ledger, verified.
        spent: what the ledger costs; None when the accountants disagree.
        rounds: what a round log of the task says, its signatures verified; None where there is none.
    """

    task: TaskSpec | None
    tied: bool
    entries: Sequence[bytes]
    ledger_state: LedgerState
    spent: Spend | None
    rounds: Sequence[LoggedRound] | None


def check_report(report: EpsilonReport, ground: Ground) -> list[Check]:
    """Check a report; without its task it fails, since its words and most of its figures are then bound to nothing.

    Args:
        report: the report.
        ground: what it is held against.
    """
    entries, ledger_state = ground.entries, ground.ledger_state
    about = _is_about(report, entries, ledger_state)
    checks = [about, _budget(report, ledger_state)]
    if about.passed is False:
        return checks
    if report.provenance.ledger_head.size == ledger_state.size:
        checks += [_epsilon(report, ground.spent), _events(report, ledger_state)]
    if ground.task is None:
        wanted = "expected its task as well, --task or --release: words and other figures follow from that, got none"
        return [*checks, Check(_RECOMPUTED, False, wanted)]
    if not ground.tied:
        untied = "nothing ties the task to this ledger, so nothing is computed from it"
        return [*checks, Check(_RECOMPUTED, None, untied, ("report.json",))]
    if (steps := _message_steps(ground.task)) > MOST_MESSAGE_STEPS:
        costly = f"its message-level figures compose {steps:,} steps, more than {MOST_MESSAGE_STEPS:,}"
        return [*checks, Check(_RECOMPUTED, None, costly, ("report.json",))]
    return checks + _recomputed(report, ground.task, ground)


def _message_steps(task: TaskSpec) -> int:
    """Return how many steps of local training the message-level figure composes."""
    if isinstance(task.training, LocalSgd) or not task.training.message_noise:
        return 0
    plan = task.participation
    most = plan.max_participations if isinstance(plan, BoundedParticipation) else task.rounds
    return task.training.steps * min(most, task.rounds)


def _is_about(report: EpsilonReport, entries: Sequence[bytes], ledger_state: LedgerState) -> Check:
    """Check that the report names this ledger's key and a head in its past: the ledger may have grown since."""
    name, stated = "report: is about this ledger", report.provenance
    key = ledger_state.opened.public_key if ledger_state.opened else ""
    size = stated.ledger_head.size
    expected = f"key {key[:16]}, at least {size} entries"
    if stated.ledger_key != key or size > len(entries):
        return Check(name, False, f"expected {expected}, got {_head_line(stated.ledger_key, stated.ledger_head)}")
    root = root_of([leaf_hash(entry) for entry in entries[:size]]).hex()
    if root != stated.ledger_head.root:
        return Check(name, False, f"expected root {root[:16]} of {size} entries, got {stated.ledger_head.root[:16]}")
    try:
        stated.ledger_head.check_signature(bytes.fromhex(key))
    except LedgerInvalid as error:
        return Check(name, False, str(error))
    later = len(entries) - size
    return Check(name, True, f"{size} entries, root {root[:16]}" + (f"; the ledger has {later} more" if later else ""))


def _head_line(key: str, head: SignedHead) -> str:
    return f"key {key[:16]}, {head.size} entries, root {head.root[:16]}"


def _budget(report: EpsilonReport, ledger_state: LedgerState) -> Check:
    expected = ledger_state.opened.budget.epsilon if ledger_state.opened else None
    stated = report.claim.budget_epsilon
    same = (None if stated is None else float(stated)) == expected
    detail = f"epsilon {expected}" if same else f"expected epsilon {expected}, got {stated}"
    return Check("report: states the ledger's budget", same, detail)


def _epsilon(report: EpsilonReport, spent: Spend | None) -> Check:
    """Check epsilon in the headline and in the figures below it, at the ledger's own delta."""
    name = "report: its epsilon is what the ledger costs"
    if spent is None:
        return Check(name, None, "the accountants disagree")
    expected = (spent.epsilon, spent.delta)
    stated = [(float(part.epsilon), float(part.delta)) for part in (report.claim, report.spend.device)]
    wrong = [f"{epsilon} at delta {delta:g}" for epsilon, delta in stated if (epsilon, delta) != expected]
    right = f"{spent.epsilon} at delta {spent.delta:g}"
    return Check(name, not wrong, f"expected {right}, got {wrong[0]}" if wrong else right)


def _events(report: EpsilonReport, ledger_state: LedgerState) -> Check:
    claimed = Counter[Event]()
    for counted in report.composition.events:
        claimed[counted.event] += counted.times
    missing, foreign = ledger_state.counts - claimed, claimed - ledger_state.counts
    charges = ledger_state.counts.total()
    wrong = f"expected {charges} charges, got {missing.total()} of them missing and {foreign.total()} others"
    same = not missing and not foreign
    return Check("report: composes every charge of the ledger", same, f"{charges} charges" if same else wrong)


def _recomputed(report: EpsilonReport, task: TaskSpec, ground: Ground) -> list[Check]:
    """Compare the report with one that is built anew from the task, the ledger as it was, and the round log."""
    head = report.provenance.ledger_head
    try:
        again = build_report(
            task,
            ground.entries[: head.size],
            head,
            bytes.fromhex(report.provenance.ledger_key),
            _facts(report, ground.rounds),
        )
    except (ReportError, AccountantsDisagree, ValueError, RuntimeError) as error:
        return [Check(_RECOMPUTED, False, str(error))]
    if ground.rounds is None:
        taken = {"failed_before_charge": report.participation.failed_before_charge}
        again = again.model_copy(update={"participation": again.participation.model_copy(update=taken)})
    pairs = [("spend.device", again.spend.device, report.spend.device)]
    if again.extrapolation is not None and report.extrapolation is not None:
        pairs.append(("extrapolation.spend", again.extrapolation.spend, report.extrapolation.spend))
    wrong = [part for part in _PARTS if getattr(again, part) != getattr(report, part)]
    wrong += [place for place, ours, theirs in pairs if not _same_spend(ours, theirs)]
    wrong += [f"spend.{part}" for part in _SPEND if getattr(again.spend, part) != getattr(report.spend, part)]
    wrong += [] if _same_extrapolation(again.extrapolation, report.extrapolation) else ["extrapolation"]
    detail = f"these differ: {', '.join(wrong)}" if wrong else "but for what the lines below name"
    seconds = [] if wrong else [check for pair in pairs if (check := _second(*pair))]
    return [
        Check(_RECOMPUTED, not wrong, detail),
        *seconds,
        *_taken_over(task, ground),
        *check_audits(report, task),
    ]


def _facts(report: EpsilonReport, rounds: Sequence[LoggedRound] | None) -> RunFacts:
    """Return what the log proves of the run, and take over the rest, so that everything else can be compared."""
    realised = report.mechanism.noise_multiplier_realised
    least = None if realised is None else float(realised)
    if rounds is None:
        return RunFacts(
            rounds=report.participation.realised or (),
            attempted=report.participation.rounds_attempted,
            least_noise_multiplier=least,
            versions=report.provenance.versions,
            audits=report.audit,
        )
    return RunFacts(
        rounds=realised_counts(rounds),
        attempted=max((one.round for one in rounds), default=0),
        failures={one.round: one.aborted for one in rounds if one.aborted is not None},
        least_noise_multiplier=least_noise(rounds),
        versions=report.provenance.versions,
        audits=report.audit,
    )


def _taken_over(task: TaskSpec, ground: Ground) -> list[Check]:
    """Name what was not compared with anything, since only the server knows it."""
    versions = Check(
        "report: versions of what ran", None, "the server's word alone", ("report.json#provenance.versions",), word=True
    )
    if ground.rounds is not None:
        return [versions]
    places = ["report.json#mechanism.noise_multiplier_realised"]
    places += ["report.json#participation.realised"] if isinstance(task.participation, BoundedParticipation) else []
    places += [f"report.json#participation.{name}" for name in ("rounds_attempted", "failed_before_charge")]
    return [
        versions,
        Check("report: noise, cohorts and failures of rounds", None, "the round log would prove them", tuple(places)),
    ]


def _same_spend(again: DeviceSpend, stated: DeviceSpend) -> bool:
    """Compare two spends exactly, but for what depends on the accountants' versions."""
    exact = again.model_dump(exclude={*_BY_VERSION}) == stated.model_dump(exclude={*_BY_VERSION})
    names, others = ([_unversioned(one.accountant), _unversioned(one.second_accountant)] for one in (again, stated))
    same = names == others and math.isclose(float(again.second_epsilon), float(stated.second_epsilon), rel_tol=_CLOSE)
    return exact and same


def _unversioned(accountant: str) -> str:
    """Return an accountant's name without the version, which is the last word."""
    return accountant.rpartition(" ")[0]


def _second(place: str, again: DeviceSpend, stated: DeviceSpend) -> Check | None:
    """Say where the accountants' figures are close and not the same, as those of other versions would be."""
    wrong = [name for name in _BY_VERSION if getattr(again, name) != getattr(stated, name)]
    if not wrong:
        return None
    ours = f"{again.second_epsilon} by {again.second_accountant}, {again.discrepancy} off {again.accountant}"
    places = tuple(f"report.json#{place}.{name}" for name in wrong)
    return Check(f"report: the accountants' versions, {place}", None, f"recomputed here: {ours}", places)


def _same_extrapolation(again: ExtrapolationPart | None, stated: ExtrapolationPart | None) -> bool:
    if again is None or stated is None:
        return again is stated
    return again.model_dump(exclude={"spend"}) == stated.model_dump(exclude={"spend"})
