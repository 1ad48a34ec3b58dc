"""`fl-privacy verify`: every check that the files at hand allow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from privacy.cli.output import Json, show, show_json
from privacy.cli.tables import checks_table
from privacy.command.exits import EXIT_FAILED, fail

Ledger = Annotated[Path, typer.Option(help="The ledger's SQLite file.")]
Operator = Annotated[str, typer.Option(help="The operator's Ed25519 public key: hex, or a file of it.")]


def verify(
    *,
    ledger: Ledger,
    operator: Operator,
    release: Annotated[Path | None, typer.Option(help="A release directory; brings its own task and report.")] = None,
    task: Annotated[Path | None, typer.Option(help="The task's JSON, as in a release.")] = None,
    report: Annotated[Path | None, typer.Option(help="The epsilon report, report.json.")] = None,
    log: Annotated[Path | None, typer.Option(help="The log of rounds; needs --task and --authority.")] = None,
    authority: Annotated[str | None, typer.Option(help="The enrolment authority's public key: hex, or a file.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A witness's checkpoint; needs --witness.")] = None,
    witness: Annotated[str | None, typer.Option(help="The witness's public key: hex, or a file.")] = None,
    as_json: Json = False,
) -> None:
    """Check that ledger, release, report and round log are whole, signed, and tell the same story; recompute epsilon.

    Examples:
    [bold]fl-privacy verify --ledger runs/demo/ledger.db --operator runs/demo/operator.pub
    --release runs/demo/release/stable[/bold]

    [bold]fl-privacy verify --ledger ledger.db --operator operator.pub --authority authority.pub --task task.json --log
    rounds.jsonl --checkpoint checkpoint.json --witness witness.key.pub[/bold]

    Exit codes: 0 every check passed or is marked as not verified, 1 a check failed, 2 bad input.
    """
    from privacy.verification.evidence import EvidenceError, Paths, read_evidence
    from privacy.verification.verify import verify_all

    try:
        evidence = read_evidence(
            Paths(
                ledger=ledger,
                operator=operator,
                task=task,
                log=log,
                authority=authority,
                report=report,
                release=release,
                checkpoint=checkpoint,
                witness=witness,
            )
        )
    except EvidenceError as error:
        fail(str(error))
    checks = verify_all(evidence)
    passed = all(check.passed is not False for check in checks)
    if as_json:
        show_json({"passed": passed, "checks": [asdict(check) for check in checks]})
    else:
        show(checks_table(checks))
    if not passed:
        raise typer.Exit(EXIT_FAILED)
