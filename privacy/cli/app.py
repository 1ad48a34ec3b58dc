"""The `fl-privacy` command."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from privacy.cli.evidence import EvidenceError, read_evidence
from privacy.cli.tables import checks_table, plan_fields, plans_table
from privacy.cli.verify import verify_all
from privacy.planning import Goal, plan

app = typer.Typer(
    name="fl-privacy",
    help="For privacy reviewers, and for engineers who plan a federation. Works offline; trusts nobody.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

EXIT_FAILED = 1
EXIT_USAGE = 2

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


class Kind(StrEnum):
    """How devices come into a cohort."""

    POISSON = "poisson"
    BOUNDED = "bounded"


@app.callback()
def commands() -> None:
    """For privacy reviewers, and for engineers who plan a federation. Works offline; trusts nobody."""


@app.command("plan")
def plan_command(
    *,
    cohort: Annotated[list[int], typer.Option(min=2, help="Devices expected in a round; give it again to compare.")],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the task.")] = 100,
    dimension: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 16_385,
    clip: Annotated[float, typer.Option(help="L2 bound of a device's update.")] = 0.5,
    epsilon: Annotated[float | None, typer.Option(help="What all rounds may spend. Default: 8.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Instead of --epsilon.")] = None,
    delta: Annotated[float, typer.Option(help="For epsilon.")] = 1e-6,
    participation: Annotated[Kind, typer.Option(help="Drawn in secret, or nothing random claimed.")] = Kind.POISSON,
    population: Annotated[int | None, typer.Option(help="Devices to draw from, under poisson.")] = None,
    max_participations: Annotated[int, typer.Option(min=1, help="Of one device, under bounded.")] = 1,
    corrupt_share: Annotated[float, typer.Option(help="Share of a cohort that may work with the server.")] = 0.05,
    dropout_share: Annotated[float, typer.Option(help="Share of a cohort that may vanish.")] = 0.1,
    min_survivors: Annotated[int | None, typer.Option(min=2, help="In a shard. Default: a quarter of it.")] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Default: one up to 750 devices, then of about 400.")
    ] = None,
    bits: Annotated[
        int | None, typer.Option(min=8, max=32, help="Of the modulus. Default: the fewest that do.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a cohort costs before anything runs: noise, bits, thresholds, bytes and expected error.

    Examples:

    [bold]fl-privacy plan --cohort 200 --population 100000 --epsilon 8[/bold]

    [bold]fl-privacy plan --cohort 64 --cohort 1000 --cohort 10000 --population 10000000 --dimension 1000000[/bold]

    [bold]fl-privacy plan --cohort 500 --participation bounded --max-participations 4 --epsilon 6 --json[/bold]

    Exit codes: 0 planned, 2 no such plan: the message names what to change.
    """
    budget = 8.0 if epsilon is None and noise_multiplier is None else epsilon
    try:
        plans = [
            plan(
                Goal(
                    cohort=size,
                    rounds=rounds,
                    dimension=dimension,
                    clip=clip,
                    delta=delta,
                    epsilon=budget,
                    noise_multiplier=noise_multiplier,
                    participation=participation.value,
                    population=population,
                    max_participations=max_participations,
                    corrupt_share=corrupt_share,
                    dropout_share=dropout_share,
                    min_survivors=min_survivors,
                    shards=shards,
                    bits=bits,
                )
            )
            for size in cohort
        ]
    except ValueError as error:
        _fail(_by_option(error))
    if as_json:
        typer.echo(json.dumps({"plans": [plan_fields(one) for one in plans]}, allow_nan=False))
    else:
        Console(width=_width()).print(plans_table(plans))


@app.command()
def verify(
    *,
    ledger: Annotated[Path, typer.Option(help="The ledger's SQLite file.")],
    operator: Annotated[str, typer.Option(help="The operator's Ed25519 public key: hex, or a file of it.")],
    task: Annotated[Path | None, typer.Option(help="The task's JSON, as in a release.")] = None,
    log: Annotated[Path | None, typer.Option(help="The log of rounds; needs --task and --authority.")] = None,
    authority: Annotated[str | None, typer.Option(help="The enrolment authority's public key: hex, or a file.")] = None,
    report: Annotated[Path | None, typer.Option(help="The epsilon report, report.json.")] = None,
    as_json: Json = False,
) -> None:
    """Check that ledger, report and round log are whole, signed, and tell the same story; recompute epsilon.

    Examples:

    [bold]fl-privacy verify --ledger runs/demo/ledger.db --operator HEX --report runs/demo/report.json[/bold]

    [bold]fl-privacy verify --ledger ledger.db --operator operator.pub --authority authority.pub --task task.json --log
    rounds.jsonl[/bold]

    Exit codes: 0 every check passed or is marked as not verified, 1 a check failed, 2 bad input.
    """
    try:
        evidence = read_evidence(
            ledger=ledger, operator=operator, task=task, log=log, authority=authority, report=report
        )
    except EvidenceError as error:
        _fail(str(error))
    checks = verify_all(evidence)
    passed = all(check.passed is not False for check in checks)
    if as_json:
        typer.echo(json.dumps({"passed": passed, "checks": [asdict(check) for check in checks]}))
    else:
        Console(width=_width()).print(checks_table(checks))
    if not passed:
        raise typer.Exit(EXIT_FAILED)


def _by_option(error: ValueError) -> str:
    """The message with the option's name for the field's."""
    message = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        message = f"{first['loc'][0]}: {first['msg']}, got {first['input']}"
    field, _, rest = message.partition(": ")
    name = "bits" if field == "modulus_bits" else field
    known = {one.name for one in fields(Goal)}
    return f"--{name.replace('_', '-')}: {rest}" if name in known else message


def _width() -> int | None:
    """As wide as the terminal; wide enough for a line a check where there is none."""
    return None if "COLUMNS" in os.environ or Console().is_terminal else 160


def _fail(message: str) -> NoReturn:
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(EXIT_USAGE)


if __name__ == "__main__":
    app()
