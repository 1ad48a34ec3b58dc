"""`fl-privacy report`, `diff` and `budget`: figures drawn, compared, and looked ahead."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.cli.output import Json, check_writable, show, show_json, write
from privacy.cli.tables import budget_table, changes_table
from privacy.cli.verifying import Ledger, Operator
from privacy.command.exits import EXIT_FAILED, fail

if TYPE_CHECKING:
    from privacy.ledger.entries import LedgerState
    from privacy.ledger.ledger import SignedHead
    from privacy.report.model import EpsilonReport
    from privacy.verification.evidence import Files


def report(
    *,
    ledger: Annotated[Path | None, typer.Option(help="Recompute from this; needs --operator and --task.")] = None,
    operator: Annotated[str | None, typer.Option(help="The operator's public key: hex, or a file of it.")] = None,
    task: Annotated[Path | None, typer.Option(help="The task's JSON, as in a release.")] = None,
    audits: Annotated[Path | None, typer.Option(help="What `fl-privacy audit --out` wrote about the task.")] = None,
    source: Annotated[Path | None, typer.Option("--report", help="Draw this report instead, as it stands.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page for readers here.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Write a record for the OpenDP registry here.")] = None,
    curator: Annotated[str | None, typer.Option(help="Who answers for the data, for --registry.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the JSON here instead of to standard output.")] = None,
) -> None:
    """Write the epsilon report: recomputed from a ledger, or drawn from a report's JSON.

    Recomputed, it holds what the ledger proves and nothing that only the server knows: cohorts' sizes, realised noise.

    Examples:
    [bold]fl-privacy report --ledger ledger.db --operator operator.pub --task task.json --html report.html[/bold]

    [bold]fl-privacy report --report runs/demo/report.json --html report.html --registry deployment.json[/bold]

    Exit codes: 0 written, 1 the ledger does not verify, 2 bad input.
    """
    from privacy.report.build import render_html
    from privacy.report.registry_entry import NoDeployment, registry_entry
    from privacy.verification.evidence import EvidenceError, read_report

    read: list[Path | str | None] = [ledger, operator, task, audits, source]
    for option, path in (("--html", html), ("--registry", registry), ("--out", out)):
        check_writable(option, path, read)
    try:
        epsilon_report = read_report("--report", source) if source else _build(ledger, operator, task, audits)
        entry = None if registry is None else registry_entry(epsilon_report, curator)
    except EvidenceError as error:
        fail(str(error))
    except NoDeployment as error:
        fail(f"--registry: {error}")
    if html is not None:
        write("--html", html, render_html(epsilon_report))
    if registry is not None:
        write("--registry", registry, json.dumps(entry, indent=2, ensure_ascii=False) + "\n")
    if out is not None:
        write("--out", out, epsilon_report.canonical())
    elif html is None and registry is None:
        typer.echo(epsilon_report.canonical().decode())


def _build(ledger: Path | None, operator: str | None, task: Path | None, audits: Path | None) -> EpsilonReport:
    from privacy.accounting.accountant import AccountantsDisagree
    from privacy.ledger.ledger import LedgerInvalid
    from privacy.report.build import ReportError, RunFacts, build_report
    from privacy.verification.evidence import EvidenceError, Paths, read_audits, read_evidence

    if ledger is None or operator is None or task is None:
        raise EvidenceError("--report: expected a report, or else --ledger, --operator and --task")
    files = read_evidence(Paths(ledger=ledger, operator=operator, task=task))
    if files.task is None or files.head is None:
        raise EvidenceError("--ledger: expected a signed head with the last entry, got none")
    facts = RunFacts(audits=() if audits is None else read_audits("--audits", audits, files.task))
    try:
        return build_report(files.task, files.entries, files.head, files.operator, facts)
    except (LedgerInvalid, AccountantsDisagree, ReportError) as error:
        fail(str(error), EXIT_FAILED)


def diff(
    before: Annotated[Path, typer.Argument(help="An epsilon report, report.json.")],
    after: Annotated[Path, typer.Argument(help="Another one.")],
    *,
    as_json: Json = False,
) -> None:
    """Show what changed from one report to another.

    Examples:
    [bold]fl-privacy diff monday/report.json friday/report.json[/bold]

    Exit codes: 0 nothing changed, 1 something did, 2 bad input.
    """
    from privacy.report.diff import diff_reports
    from privacy.verification.evidence import EvidenceError, read_report

    try:
        changes = diff_reports(read_report("before", before), read_report("after", after))
    except EvidenceError as error:
        fail(str(error))
    if as_json:
        show_json({"same": not changes, "changes": [asdict(change) for change in changes]})
    elif changes:
        show(changes_table(changes))
    else:
        typer.echo("The two reports are the same.")
    if changes:
        raise typer.Exit(EXIT_FAILED)


def budget(
    *,
    ledger: Ledger,
    operator: Operator,
    task: Annotated[Path | None, typer.Option(help="Whose rounds to count. Default: the last charged.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a population has spent, what is left, and how many more rounds that is.

    Examples:
    [bold]fl-privacy budget --ledger runs/demo/ledger.db --operator runs/demo/operator.pub[/bold]

    Exit codes: 0 shown, whatever is left, 1 the ledger does not verify, 2 bad input.
    """
    from privacy.verification.evidence import EvidenceError, Paths, read_evidence

    try:
        files = read_evidence(Paths(ledger=ledger, operator=operator, task=task))
    except EvidenceError as error:
        fail(str(error))
    rows = _budget_rows(files, _replayed(files, files.head))
    if as_json:
        show_json({"limits": rows})
    else:
        show(budget_table(rows))


def _replayed(files: Files, head: SignedHead | None) -> LedgerState:
    from privacy.accounting.accountant import AccountantsDisagree
    from privacy.ledger.ledger import LedgerInvalid, replay

    if head is None:
        fail("--ledger: expected a signed head with the last entry, got none")
    try:
        return replay(files.entries, head, files.operator)
    except (LedgerInvalid, AccountantsDisagree) as error:
        fail(str(error), EXIT_FAILED)


def _budget_rows(files: Files, ledger_state: LedgerState) -> list[dict[str, object]]:
    """Return a row for each limit; a window is looked at as of the ledger's last entry."""
    from privacy.accounting.accountant import rounds_left, spend
    from privacy.accounting.events import round_event
    from privacy.ledger.limits import limits

    if ledger_state.opened is None:
        fail("--ledger: expected a ledger, got an empty one")
    delta = ledger_state.opened.budget.delta
    last = next((account.charge.event for account in reversed(ledger_state.accounts.values())), None)
    event = last if files.task is None else round_event(files.task, files.task.rounds)
    rows: list[dict[str, object]] = []
    for limit in limits(ledger_state, ledger_state.opened.budget, ledger_state.time):
        spent = spend(limit.counts, delta).epsilon
        unlimited = math.isinf(limit.epsilon)
        left = None if unlimited or event is None else rounds_left(limit.counts, event, delta, limit.epsilon)
        rows.append(
            {
                "population": ledger_state.opened.population,
                "span": limit.span,
                "delta": delta,
                "spent": spent if math.isfinite(spent) else None,
                "limit": None if unlimited else limit.epsilon,
                "charges": limit.counts.total(),
                "rounds_left": left,
            }
        )
    return rows
