"""Checks of an epsilon report against the ledger it claims to come from: recomputed, then compared part by part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from privacy.accounting.accountant import AccountantsDisagree, Spend
from privacy.accounting.events import Event
from privacy.audit import claimed_epsilon
from privacy.ledger.entries import LedgerState
from privacy.ledger.ledger import SignedHead
from privacy.ledger.merkle import leaf_hash, root_of
from privacy.report.build import ReportError, RunFacts, build_report
from privacy.report.model import AuditPart, DeviceSpend, EpsilonReport, ExtrapolationPart
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check

_PARTS = tuple(part for part in EpsilonReport.model_fields if part not in ("spend", "extrapolation"))
_SPEND = ("message", "window")
_CLOSE = 0.02


def check_report(
    report: EpsilonReport,
    task: TaskSpec | None,
    entries: Sequence[bytes],
    ledger_state: LedgerState,
    spent: Spend | None,
) -> list[Check]:
    """Check a report; without its task, only the figures that the ledger alone gives.

    Args:
        report: the report.
        task: the task that it is to be of.
        entries: the ledger's entries, in order.
        ledger_state: the same ledger, verified.
        spent: what the ledger costs; None when the accountants disagree.
    """
    about = _is_about(report, entries, ledger_state)
    checks = [about, _budget(report, ledger_state)]
    if about.passed is False:
        return checks
    if report.provenance.ledger_head.size == ledger_state.size:
        checks += [_epsilon(report, spent), _events(report, ledger_state)]
    if task is None:
        return [*checks, Check("report: every part recomputed", None, "no --task was given")]
    return checks + _recomputed(report, task, entries)


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


def _recomputed(report: EpsilonReport, task: TaskSpec, entries: Sequence[bytes]) -> list[Check]:
    """Compare the report with one that is built anew from the task and the ledger as it was."""
    name, head = "report: every part recomputed", report.provenance.ledger_head
    try:
        again = build_report(
            task, entries[: head.size], head, bytes.fromhex(report.provenance.ledger_key), _facts(report)
        )
    except (ReportError, AccountantsDisagree, ValueError, RuntimeError) as error:
        return [Check(name, False, str(error))]
    wrong = [part for part in _PARTS if getattr(again, part) != getattr(report, part)]
    wrong += [] if _same_spend(again.spend.device, report.spend.device) else ["spend.device"]
    wrong += [f"spend.{part}" for part in _SPEND if getattr(again.spend, part) != getattr(report.spend, part)]
    wrong += [] if _same_extrapolation(again.extrapolation, report.extrapolation) else ["extrapolation"]
    whole = Check(name, not wrong, f"these differ: {', '.join(wrong)}" if wrong else "from the task and the ledger")
    return [whole, *_audits(report, task), Check("report: sizes of cohorts, realised noise, versions", None, _WORD)]


_WORD = "only the server knows these; the round log has the counts it signed"


def _facts(report: EpsilonReport) -> RunFacts:
    """Take over what cannot be recomputed, so that everything else can be compared."""
    realised = report.mechanism.noise_multiplier_realised
    return RunFacts(
        rounds=report.participation.realised or (),
        least_noise_multiplier=None if realised is None else float(realised),
        versions=report.provenance.versions,
        audits=report.audit,
    )


def _same_spend(again: DeviceSpend, stated: DeviceSpend) -> bool:
    """Compare two spends exactly, but for what depends on the second accountant's version."""
    varying = {"accountant", "second_accountant", "second_epsilon", "discrepancy"}
    exact = again.model_dump(exclude=varying) == stated.model_dump(exclude=varying)
    return exact and math.isclose(float(again.second_epsilon), float(stated.second_epsilon), rel_tol=_CLOSE)


def _same_extrapolation(again: ExtrapolationPart | None, stated: ExtrapolationPart | None) -> bool:
    if again is None or stated is None:
        return again is stated
    exact = again.model_dump(exclude={"spend"}) == stated.model_dump(exclude={"spend"})
    return exact and _same_spend(again.spend, stated.spend)


def _audits(report: EpsilonReport, task: TaskSpec) -> list[Check]:
    """Check the audits: what an attack found is the server's word, what it was held against is not."""
    if not report.audit:
        return [Check("report: audit", None, "no attack was run for it")]
    refuted = [audit.name for audit in report.audit if not audit.passed or _refutes(audit)]
    detail = f"refuted by: {', '.join(refuted)}" if refuted else f"{len(report.audit)} attacks, by the server's word"
    return [_held_against(report, task), Check("report: no attack refutes it", not refuted, detail)]


def _held_against(report: EpsilonReport, task: TaskSpec) -> Check:
    name, delta = "report: attacks were held against the task's own claim", repr(task.budget.delta)
    for audit in report.audit:
        expected = claimed_epsilon(task, audit.name)
        if (audit.epsilon_claimed, audit.delta) != (expected, delta):
            stated = f"{audit.epsilon_claimed} at delta {audit.delta}"
            return Check(name, False, f"{audit.name}: expected {expected} at delta {delta}, got {stated}")
    return Check(name, True, "for one round, of a device that is surely in it")


def _refutes(audit: AuditPart) -> bool:
    bounds = [bound for bound in (audit.epsilon_bound, audit.epsilon_bound_any) if bound is not None]
    return any(float(bound) > float(audit.epsilon_claimed) for bound in bounds)
