"""All checks that the files at hand allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from privacy.accountant import AccountantsDisagree, Spend, spend
from privacy.checks import Check
from privacy.cli.evidence import Files
from privacy.events import Event, round_event
from privacy.ledger import LedgerInvalid, SignedHead
from privacy.ledger import verify as verify_ledger
from privacy.ledger_entries import Charged, Entry, Opened, Released
from privacy.merkle import leaf_hash
from privacy.report_model import EpsilonReport
from privacy.secagg.record_check import Evidence, check_log
from privacy.task import Budget

_LEDGER = "ledger: signed, chained and whole"
_ACCOUNTANTS = "epsilon: both accountants agree"


def verify_all(files: Files) -> list[Check]:
    """A ledger that fails ends it: nothing else would mean anything."""
    ledger, entries = _ledger(files)
    if entries is None:
        return [ledger]
    accountants, spent = _spent(entries)
    checks = [ledger, accountants]
    if files.task is None:
        checks.append(Check("ledger: charged what the task says", None, "no --task was given"))
    else:
        checks.append(_charged_as_planned(files, entries))
    checks += _report(files, entries, spent)
    return checks + _log(files, entries)


def _ledger(files: Files) -> tuple[Check, list[Entry] | None]:
    head = files.head
    if head is None:
        return Check(_LEDGER, False, "expected a signed head with the last entry, got none"), None
    try:
        entries = verify_ledger(files.entries, head, files.operator)
    except (LedgerInvalid, AccountantsDisagree) as error:
        return Check(_LEDGER, False, str(error)), None
    return Check(_LEDGER, True, f"{len(entries)} entries, root {head.root[:16]}"), list(entries)


def _spent(entries: Sequence[Entry]) -> tuple[Check, Spend | None]:
    """At the delta of the ledger's own budget, which no report can choose."""
    try:
        found = spend(_events(entries), _budget(entries).delta)
    except AccountantsDisagree as error:
        return Check(_ACCOUNTANTS, False, str(error)), None
    first = f"{found.epsilon} at {found.delta:g} by {found.accountant}"
    return Check(_ACCOUNTANTS, True, f"{first}; {found.second_epsilon:.4f} by {found.second_accountant}"), found


def _charged_as_planned(files: Files, entries: Sequence[Entry]) -> Check:
    name, task = "ledger: charged what the task says", files.task
    charges = [entry.body.charge for entry in entries if isinstance(entry.body, Charged)]
    if task is None:
        return Check(name, None, "no --task was given")
    own = [charge for charge in charges if charge.task == task.id]
    if not own:
        return Check(name, None, f"none of {len(charges)} charges is of task {task.id[:16]}")
    wrong = [charge.round for charge in own if charge.event != round_event(task)]
    if wrong:
        return Check(name, False, f"round {wrong[0]}: expected {round_event(task)}, got another event")
    return Check(name, True, f"{len(own)} charges of this task, {len(charges) - len(own)} of others")


def _report(files: Files, entries: Sequence[Entry], spent: Spend | None) -> list[Check]:
    report = files.report
    if report is None:
        return [Check("report", None, "no --report was given")]
    return [
        _report_epsilon(report, spent),
        _report_budget(report, entries),
        _report_events(report, entries),
        _report_head(report, files),
    ]


def _report_epsilon(report: EpsilonReport, spent: Spend | None) -> Check:
    """In the headline and in the figures below it."""
    name = "report: its epsilon is what the ledger costs"
    if spent is None:
        return Check(name, None, "the accountants disagree")
    expected = (spent.epsilon, spent.delta)
    stated = [(float(part.epsilon), float(part.delta)) for part in (report.claim, report.spend.device)]
    wrong = [f"{epsilon} at delta {delta:g}" for epsilon, delta in stated if (epsilon, delta) != expected]
    found = f"{spent.epsilon} at delta {spent.delta:g}"
    return Check(name, not wrong, f"expected {found}, got {wrong[0]}" if wrong else found)


def _report_budget(report: EpsilonReport, entries: Sequence[Entry]) -> Check:
    stated, expected = report.claim.budget_epsilon, _budget(entries).epsilon
    same = (None if stated is None else float(stated)) == expected
    detail = f"epsilon {expected}" if same else f"expected epsilon {expected}, got {stated}"
    return Check("report: states the ledger's budget", same, detail)


def _report_events(report: EpsilonReport, entries: Sequence[Entry]) -> Check:
    claimed = Counter[Event]()
    for one in report.composition.events:
        claimed[one.event] += one.times
    found = Counter(_events(entries))
    missing, foreign = found - claimed, claimed - found
    wrong = f"expected {found.total()} charges, got {missing.total()} of them missing and {foreign.total()} others"
    same = not missing and not foreign
    return Check("report: composes every charge of the ledger", same, f"{found.total()} charges" if same else wrong)


def _report_head(report: EpsilonReport, files: Files) -> Check:
    expected = (files.operator.hex(), files.head)
    got = (report.provenance.ledger_key, report.provenance.ledger_head)
    detail = _head_line(*got) if got == expected else f"expected {_head_line(*expected)}, got {_head_line(*got)}"
    return Check("report: is about this ledger", got == expected, detail)


def _head_line(key: str, head: SignedHead | None) -> str:
    return f"key {key[:16]}, none" if head is None else f"key {key[:16]}, {head.size} entries, root {head.root[:16]}"


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


def _budget(entries: Sequence[Entry]) -> Budget:
    return next(entry.body.budget for entry in entries if isinstance(entry.body, Opened))


def _events(entries: Sequence[Entry]) -> list[Event]:
    return [entry.body.charge.event for entry in entries if isinstance(entry.body, Charged)]
