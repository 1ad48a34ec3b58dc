"""`fl-privacy verify`: every check that the files at hand allow."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from privacy.cli.output import Json, show, show_json
from privacy.cli.tables import checks_table
from privacy.command.exits import EXIT_FAILED, fail

Ledger = Annotated[Path, typer.Option(help="The ledger's SQLite file.")]
Operator = Annotated[str, typer.Option(help="The operator's Ed25519 public key: hex, or a file of it.")]

_STRICT = typer.Option("--strict", help="Fail also for what was not verified and could have been.")


def verify(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="A run's directory: finds its files.")] = None,
    *,
    ledger: Annotated[Path | None, typer.Option(help="The ledger's SQLite file.")] = None,
    operator: Annotated[str | None, typer.Option(help="The operator's Ed25519 public key: hex, or a file.")] = None,
    release: Annotated[Path | None, typer.Option(help="A release directory; brings its own task and report.")] = None,
    task: Annotated[Path | None, typer.Option(help="The task's JSON, as in a release.")] = None,
    report: Annotated[Path | None, typer.Option(help="The epsilon report, report.json; needs its task.")] = None,
    log: Annotated[Path | None, typer.Option(help="The log of rounds; needs --task and --authority.")] = None,
    authority: Annotated[str | None, typer.Option(help="The enrolment authority's public key: hex, or a file.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A witness's checkpoint; needs --witness.")] = None,
    witness: Annotated[str | None, typer.Option(help="The witness's public key: hex, or a file.")] = None,
    strict: Annotated[bool, _STRICT] = False,
    as_json: Json = False,
) -> None:
    """Check that all files of a run are whole, signed, and tell the same story; recompute epsilon.

    An option takes the place of the directory's own file. Keys of the directory itself prove only that its files belong
    together: give --operator and --authority that you have from elsewhere.

    Examples:
    [bold]fl-privacy verify runs/demo[/bold]

    [bold]fl-privacy verify runs/demo --operator operator.pub --authority authority.pub --strict[/bold]

    [bold]fl-privacy verify --ledger ledger.db --operator operator.pub --authority authority.pub --task task.json --log
    rounds.jsonl --checkpoint checkpoint.json --witness witness.key.pub[/bold]

    Exit codes: 0 every check passed or is marked as not verified, 1 a check failed or a file is bound to nothing (with
    --strict also: something was not verified that is not somebody's word in any case, as versions are), 2 bad input.
    """
    from privacy.verification.directory import find_run
    from privacy.verification.evidence import EvidenceError, Paths, read_evidence
    from privacy.verification.verify import verify_all

    given = Paths(
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
    try:
        evidence = read_evidence(given) if directory is None else read_evidence(*find_run(directory, given))
    except EvidenceError as error:
        fail(str(error))
    checks = verify_all(evidence)
    found = Counter(check.passed for check in checks)
    open_questions = [check for check in checks if check.passed is None and not check.word]
    passed = not found[False] and not (strict and open_questions)
    if as_json:
        show_json({"passed": passed, "checks": [asdict(check) for check in checks]})
    else:
        show(checks_table(checks))
        words = found[None] - len(open_questions)
        typer.echo(
            f"{found[True]} ok, {found[None]} not verified ({words} of them words that no file shows), "
            f"{found[False]} failed"
        )
    if not passed:
        raise typer.Exit(EXIT_FAILED)
