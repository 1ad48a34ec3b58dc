"""All checks that the files at hand allow, in the order in which a reviewer reads them."""

from __future__ import annotations

from privacy.accounting.accountant import AccountantsDisagree, Spend, confirmed_spend
from privacy.accounting.events import round_event
from privacy.ledger.entries import LedgerState
from privacy.ledger.ledger import LedgerInvalid, replay
from privacy.ledger.witness import WitnessError
from privacy.release.files import REPORT_FILE
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check
from privacy.verification.evidence import Files
from privacy.verification.fleet_check import check_fleet
from privacy.verification.record_check import Evidence, check_log
from privacy.verification.release_check import check_release
from privacy.verification.report_check import check_report

_LEDGER = "ledger: signed, chained and whole"
_ACCOUNTANTS = "epsilon: both accountants agree"
_WITNESS = "ledger: continues what a witness saw"


def verify_all(files: Files) -> list[Check]:
    """Return every check that the files allow; after a ledger that fails, no others, since they would mean nothing."""
    ledger, ledger_state = _ledger(files)
    witness = _witness(files)
    if ledger_state is None:
        return [ledger, witness]
    accountants, spent = _spent(ledger_state)
    checks = [ledger, witness, accountants, _charged_as_planned(files.task, ledger_state), *_simulated(files.task)]
    checks += _report(files, ledger_state, spent)
    checks += check_fleet(files.task, ledger_state, files.report, files.release)
    checks += _release(files, ledger_state)
    return checks + _log(files, ledger_state)


def _ledger(files: Files) -> tuple[Check, LedgerState | None]:
    head = files.head
    if head is None:
        return Check(_LEDGER, False, "expected a signed head with the last entry, got none"), None
    try:
        ledger_state = replay(files.entries, head, files.operator)
    except (LedgerInvalid, AccountantsDisagree) as error:
        return Check(_LEDGER, False, str(error)), None
    population = f"of population {ledger_state.opened.population}, " if ledger_state.opened else ""
    return Check(_LEDGER, True, f"{population}{ledger_state.size} entries, root {head.root[:16]}"), ledger_state


def _witness(files: Files) -> Check:
    checkpoint = files.checkpoint
    if checkpoint is None or files.witness is None:
        return Check(_WITNESS, None, "no --checkpoint was given: a signer could show an old or another history")
    try:
        checkpoint.check(files.witness, files.operator)
        checkpoint.check_extended(files.entries)
    except WitnessError as error:
        return Check(_WITNESS, False, str(error))
    later = len(files.entries) - checkpoint.head.size
    detail = f"the first {checkpoint.head.size} entries"
    return Check(_WITNESS, True, f"{detail}; {later} later ones are the signer's word alone" if later else detail)


def _spent(ledger_state: LedgerState) -> tuple[Check, Spend | None]:
    """Recompute what the ledger costs at the delta of its own budget, which no report can choose."""
    if ledger_state.opened is None:
        return Check(_ACCOUNTANTS, None, "the ledger is empty"), None
    try:
        spent = confirmed_spend(ledger_state.counts, ledger_state.opened.budget.delta)
    except AccountantsDisagree as error:
        return Check(_ACCOUNTANTS, False, str(error)), None
    first = f"{spent.epsilon} at {spent.delta:g} by {spent.accountant}"
    return Check(_ACCOUNTANTS, True, f"{first}; at most {spent.second_epsilon:.4f} by {spent.second_accountant}"), spent


def _charged_as_planned(task: TaskSpec | None, ledger_state: LedgerState) -> Check:
    name = "ledger: charged what the task says"
    if task is None:
        return Check(name, None, "no --task was given")
    charges = [account.charge for account in ledger_state.accounts.values()]
    own = [charge for charge in charges if charge.task == task.id]
    if not own:
        return Check(name, None, f"none of {len(charges)} charges is of task {task.id[:16]}")
    for charge in own:
        expected = round_event(task, charge.round)
        if (charge.event, charge.purpose) != (expected, task.purpose):
            return Check(name, False, f"round {charge.round}: expected {expected}, got another event")
    return Check(name, True, f"{len(own)} charges of this task, {len(charges) - len(own)} of others")


def _simulated(task: TaskSpec | None) -> list[Check]:
    if task is None or task.randomness == "system":
        return []
    who = "; a trusted aggregator saw every update" if task.simulation.trusted_aggregator else ""
    return [Check("noise: real", None, f"HYPOTHETICAL: a simulation, its noise recomputable from a seed{who}")]


def _report(files: Files, ledger_state: LedgerState, spent: Spend | None) -> list[Check]:
    if files.report is None:
        return [Check("report", None, "no --report was given")]
    canonical = files.report.canonical() == files.report_bytes
    detail = "RFC 8785" if canonical else "expected RFC 8785 canonical JSON, got another encoding of it"
    form = Check("report: in its one canonical form", canonical, detail)
    return [form, *_published(files), *check_report(files.report, files.task, files.entries, ledger_state, spent)]


def _published(files: Files) -> list[Check]:
    """Check that the report is the release's own, so that it is nobody's word but the one that the operator signed."""
    if files.release is None:
        return []
    same = files.report_bytes == files.release[REPORT_FILE]
    return [Check("report: is the release's own", same, "byte by byte" if same else "expected its bytes, got others")]


def _release(files: Files, ledger_state: LedgerState) -> list[Check]:
    if files.release is None or files.task is None:
        return [Check("release", None, "no --release was given")]
    return check_release(files.release, files.operator, files.task, files.entries, ledger_state)


def _log(files: Files, ledger_state: LedgerState) -> list[Check]:
    if files.lines is None or files.task is None or files.authority is None:
        return [Check("round log", None, "no --log was given")]
    charges = {name: account.charge for name, account in ledger_state.accounts.items()}
    released = {
        name: account.model_digest
        for name, account in ledger_state.accounts.items()
        if account.model_digest is not None
    }
    return check_log(files.lines, Evidence(files.task, files.operator, files.authority, charges, released))
