"""The command `fl-sim doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from privacy.command.exits import EXIT_FAILED, fail


def doctor_command(
    run: Annotated[Path, typer.Argument(help="The directory of a finished run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
) -> None:
    """Say what was wrong with a finished run, from its own numbers, and which flag to change.

    Example: [bold]fl-sim doctor runs/chat[/bold]

    Exit codes: 0 nothing was found, 1 something was, 2 there is no finished run.
    """
    from simulations.runs.doctor.findings import as_json as for_programs, diagnose
    from simulations.runs.doctor.reading import NoFinishedRun, read_run

    try:
        finished = read_run(run)
    except NoFinishedRun as error:
        fail(str(error))
    findings = diagnose(finished)
    if as_json:
        typer.echo(json.dumps(for_programs(finished, findings), indent=2))
    else:
        for mark in finished.summary["marks"]:
            typer.echo(f"{mark['code'].replace('_', ' ')}: {mark['text']}")
        for finding in findings:
            typer.echo(f"\n{finding.code.replace('_', ' ')}: {finding.what}\n  change: {finding.change}")
            for seen in finding.evidence:
                typer.echo(f"  from {seen.source} = {seen.value:.3g} ({seen.bound})")
        if not findings:
            typer.echo("nothing was found")
    if findings:
        raise typer.Exit(EXIT_FAILED)
