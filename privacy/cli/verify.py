"""All checks that the files at hand allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from privacy.accountant import AccountantsDisagree, spend
from privacy.checks import Check
from privacy.cli.evidence import Files
from privacy.events import Event, round_event
from privacy.ledger import LedgerInvalid
from privacy.ledger import verify as verify_ledger
from privacy.ledger_entries import Charged, Entry, Released
from privacy.merkle import leaf_hash
from privacy.report_model import EpsilonReport
from privacy.secagg.record_check import Evidence, check_log

_LEDGER = "ledger: signed, chained and whole"


def verify_all(files: Files) -> list[Check]:
    """A ledger that fails ends it: nothing else would mean anything."""
    ledger, entries = _ledger(files)
    if entries is None:
        return [ledger]
    checks = [ledger, *_spent(files, entries)]
    if files.task is None:
        checks.append(Check("ledger: charged what the task says", None, "no --task was given"))
    else:
        checks.append(_charged_as_planned(files, entries))
    checks += _report(files, entries)
    return checks + _log(files, entries)


def _ledger(files: Files) -> tuple[Check, list[Entry] | None]:
    head = files.head
    if head is None:
        return Check(_LEDGER, False, "expected a signed head with the last entry, got none"), None
    try:
        entries = verify_ledger(files.entries, head, files.operator)
    except LedgerInvalid as error:
        return Check(_LEDGER, False, str(error)), None
    return Check(_LEDGER, True, f"{len(entries)} entries, root {head.root[:16]}"), list(entries)


def _spent(files: Files, entries: Sequence[Entry]) -> list[Check]:
    events, name = _events(entries), "epsilon: both accountants agree"
    delta = _delta(files)
    if delta is None:
        return [Check(name, None, "no --task and no --report that names a delta")]
    try:
        found = spend(events, delta)
    except AccountantsDisagree as error:
        return [Check(name, False, str(error))]
    detail = (
        f"{found.epsilon} at {delta:g} by {found.accountant}; {found.second_epsilon:.4f} by {found.second_accountant}"
    )
    return [Check(name, True, detail)]


def _delta(files: Files) -> float | None:
    if files.task is not None:
        return files.task.budget.delta
    return None if files.report is None else float(files.report.claim.delta)


def _charged_as_planned(files: Files, entries: Sequence[Entry]) -> Check:
    name, task = "ledger: charged what the task says", files.task
    charges = [entry.body.charge for entry in entries if isinstance(entry.body, Charged)]
    if task is None:
        return Check(name, None, "no --task was given")
    own = [charge for charge in charges if charge.task == task.id]
    wrong = [charge.round for charge in own if charge.event != round_event(task)]
    if wrong:
        return Check(name, False, f"round {wrong[0]}: expected {round_event(task)}, got another event")
    return Check(name, True, f"{len(own)} charges of this task, {len(charges) - len(own)} of others")


def _report(files: Files, entries: Sequence[Entry]) -> list[Check]:
    report = files.report
    if report is None:
        return [Check("report", None, "no --report was given")]
    return [_report_epsilon(report, entries), _report_events(report, entries), _report_head(report, files)]


def _report_epsilon(report: EpsilonReport, entries: Sequence[Entry]) -> Check:
    found, claimed = spend(_events(entries), float(report.claim.delta)).epsilon, float(report.claim.epsilon)
    detail = f"claimed {claimed}, recomputed {found}, at delta {report.claim.delta}"
    return Check("report: its epsilon is what the ledger costs", found == claimed, detail)


def _report_events(report: EpsilonReport, entries: Sequence[Entry]) -> Check:
    claimed = Counter({one.event: one.times for one in report.composition.events})
    found = Counter(_events(entries))
    detail = f"{found.total()} charges" if claimed == found else f"expected {found.total()}, got {claimed.total()}"
    return Check("report: composes every charge of the ledger", claimed == found, detail)


def _report_head(report: EpsilonReport, files: Files) -> Check:
    head, claimed = files.head, report.provenance.ledger_head
    same = claimed == head and report.provenance.ledger_key == files.operator.hex()
    detail = f"root {claimed.root[:16]}" if same else f"expected {head and head.root[:16]}, got {claimed.root[:16]}"
    return Check("report: is about this ledger", same, detail)


def _log(files: Files, entries: Sequence[Entry]) -> list[Check]:
    if files.lines is None or files.task is None or files.authority is None:
        return [Check("round log", None, "no --log was given")]
    charges = {
        leaf_hash(raw).hex(): entry.body.charge
        for raw, entry in zip(files.entries, entries, strict=True)
        if isinstance(entry.body, Charged)
    }
    bodies = [entry.body for entry in entries]
    released = {body.charge_hash: body.model_digest for body in bodies if isinstance(body, Released)}
    return check_log(files.lines, Evidence(files.task, files.operator, files.authority, charges, released))


def _events(entries: Sequence[Entry]) -> list[Event]:
    return [entry.body.charge.event for entry in entries if isinstance(entry.body, Charged)]
