"""All checks that the files at hand allow, in the order in which a reviewer reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from privacy.accounting.events import round_event
from privacy.base.signing import SignatureError
from privacy.ledger.entries import Charge, LedgerState
from privacy.release.files import CARD_FILE, REPORT_FILE, STATEMENT_FILE, open_statement
from privacy.secagg.server.record import RecordError, RoundRecord
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check
from privacy.verification.evidence import Files
from privacy.verification.fleet_check import check_fleet
from privacy.verification.ledger_check import (
    check_ledger,
    check_rest_of_ledger,
    check_witnessed,
    recomputed_spend,
)
from privacy.verification.log_facts import LoggedRound, logged_rounds
from privacy.verification.record_check import Evidence, check_log, open_records
from privacy.verification.release_check import check_card, check_registry, check_release
from privacy.verification.report_check import Ground, check_report
from privacy.verification.run_check import Proven, check_run
from privacy.verification.spent import spent_by_rounds

_KEYS = "keys: from somebody else than the files"
_PLANNED = "ledger: charged what the task says"


def verify_all(files: Files) -> list[Check]:
    """Return every check that the files allow; after a ledger that fails, no others, since they would mean nothing.

    Signatures come first, and nothing is computed from a task that no signature ties to the ledger.
    """
    ledger, ledger_state = check_ledger(files)
    checks = [*_keys(files), ledger, *check_rest_of_ledger(files), check_witnessed(files)]
    if ledger_state is None:
        return checks
    accountants, spent = recomputed_spend(ledger_state)
    records, tied = _records(files), _tie(files, ledger_state)
    checks += [accountants, *tied.checks, *_simulated(files.task)]
    rounds = None
    if files.task is not None and tied.holds and records is not None:
        rounds = logged_rounds([record for record in records if record.task == files.task.id], files.task)
    epsilons = {} if files.task is None or not tied.holds else _epsilons(files, ledger_state, files.task)
    checks += _report(files, Ground(files.task, tied.holds, files.entries, ledger_state, spent, rounds))
    if tied.holds:
        checks += check_fleet(files.task, ledger_state, files.report)
    checks += _release(files, ledger_state, tied.holds, rounds)
    checks += _log(files, ledger_state, tied.holds, epsilons)
    if files.run is not None:
        release = None if files.registry is None else files.registry.chosen
        task = files.task if tied.holds else None
        checks += check_run(files.run, Proven(task, files.report, ledger_state, rounds, release, epsilons))
    return checks


def _keys(files: Files) -> list[Check]:
    """Say whose keys everything is held against: a run's own prove only that its files belong together."""
    if files.run is None:
        return []
    given = {"--operator": files.operator, "--authority": files.authority, "--witness": files.witness}
    for option, text in files.run.keys.items():
        key = given[option]
        if key is not None and text.strip() != key.hex():
            return [Check(_KEYS, False, f"the directory's key for {option}: expected the one given, got another")]
    if not files.run.own_keys:
        return [Check(_KEYS, True, "every key was given")]
    own = ", ".join(files.run.own_keys)
    detail = f"{own}: the run's own, and prove only that its files belong together; give keys that you have otherwise"
    return [Check(_KEYS, None, detail)]


@dataclass(frozen=True)
class _Tie:
    """Whether a signature ties the task to the ledger, and the checks that show it."""

    holds: bool
    checks: list[Check]


def _tie(files: Files, ledger_state: LedgerState) -> _Tie:
    """Find a charge of the task, or else a release or a round that the operator signed for it."""
    name, task = "task: bound by a signature", files.task
    if task is None:
        return _Tie(False, [Check(_PLANNED, None, "no --task was given")])
    if task.canonical() != files.task_bytes:
        return _Tie(False, [Check(name, False, "expected RFC 8785 canonical JSON, got another encoding of it")])
    charges = [account.charge for account in ledger_state.accounts.values()]
    own = [charge for charge in charges if charge.task == task.id]
    if own:
        return _Tie(True, [Check(name, True, "charged in the ledger"), _charged_as_planned(task, own, len(charges))])
    nothing = Check(_PLANNED, None, f"none of {len(charges)} charges is of task {task.id[:16]}")
    if _released(files, task) or any(record.task == task.id for record in _records(files) or ()):
        return _Tie(True, [Check(name, True, "by the operator, though never charged"), nothing])
    wanted = f"expected a charge, a release or a round of task {task.id[:16]}, got none: it may be anybody's"
    return _Tie(False, [Check(name, False, wanted), nothing])


def _released(files: Files, task: TaskSpec) -> bool:
    """Tell whether the operator signed a release of this very task."""
    if files.release is None:
        return False
    try:
        predicate = open_statement(files.release[STATEMENT_FILE], files.operator)[1]
    except SignatureError:
        return False
    return predicate.get("task") == task.id


def _charged_as_planned(task: TaskSpec, own: Sequence[Charge], charges: int) -> Check:
    for charge in own:
        if not charge.follows_from(task) or charge.purpose != task.purpose:
            expected = round_event(task, charge.round, charge.reachable)
            return Check(_PLANNED, False, f"round {charge.round}: expected {expected}, got another event")
    return Check(_PLANNED, True, f"{len(own)} charges of this task, {charges - len(own)} of others")


def _epsilons(files: Files, ledger_state: LedgerState, task: TaskSpec) -> dict[int, float]:
    """Recompute what was spent after each round that somebody states a figure for."""
    metrics = b"" if files.run is None or files.run.metrics is None else files.run.metrics
    return spent_by_rounds(ledger_state, task, min(task.rounds, max(len(files.lines or ()), metrics.count(b"\n"))))


def _simulated(task: TaskSpec | None) -> list[Check]:
    if task is None or task.randomness == "system":
        return []
    who = "; a trusted aggregator saw every update" if task.simulation.trusted_aggregator else ""
    return [Check("noise: real", None, f"HYPOTHETICAL: a simulation, its noise recomputable from a seed{who}")]


def _report(files: Files, ground: Ground) -> list[Check]:
    if files.report is None:
        return [Check("report", None, "no --report was given")]
    canonical = files.report.canonical() == files.report_bytes
    detail = "RFC 8785" if canonical else "expected RFC 8785 canonical JSON, got another encoding of it"
    form = Check("report: in its one canonical form", canonical, detail)
    return [form, *_published(files), *check_report(files.report, ground)]


def _published(files: Files) -> list[Check]:
    """Check that the report is the release's own, so that it is nobody's word but the one that the operator signed."""
    if files.release is None:
        return []
    same = files.report_bytes == files.release[REPORT_FILE]
    return [Check("report: is the release's own", same, "byte by byte" if same else "expected its bytes, got others")]


def _release(files: Files, ledger_state: LedgerState, tied: bool, rounds: Sequence[LoggedRound] | None) -> list[Check]:
    if files.release is None or files.task is None:
        return [Check("release", None, "no --release was given")]
    checks = check_release(files.release, files.operator, files.task, files.entries, ledger_state)
    if files.registry is not None:
        checks += check_registry(files.registry, files.operator)
    if not tied:
        return checks
    last = None if rounds is None else max((one.round for one in rounds), default=0)
    return checks + check_card(files.release[CARD_FILE], files.task, files.report, ledger_state, last)


def _records(files: Files) -> list[RoundRecord] | None:
    """Return the log's records; None where there is no log, or the operator did not sign all of it."""
    try:
        return None if files.lines is None else open_records(files.lines, files.operator)
    except RecordError:
        return None


def _log(files: Files, ledger_state: LedgerState, tied: bool, spent: Mapping[int, float]) -> list[Check]:
    if files.lines is None or files.task is None or files.authority is None:
        return [Check("round log", None, "no --log was given")]
    if not tied:
        return [Check("round log", None, "nothing ties its task to this ledger", ("rounds.jsonl",))]
    charges = {name: account.charge for name, account in ledger_state.accounts.items()}
    released = {
        name: account.model_digest
        for name, account in ledger_state.accounts.items()
        if account.model_digest is not None
    }
    evidence = Evidence(files.task, files.operator, files.authority, charges, released, spent)
    beyond = f"expected a line break at its end, got {files.unfinished} bytes after the last: unfinished, or added"
    end = Check("round log: nothing after its last line", not files.unfinished, beyond if files.unfinished else "whole")
    return [*check_log(files.lines, evidence), end]
