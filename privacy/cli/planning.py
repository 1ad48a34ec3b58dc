"""`fl-privacy plan`: what a cohort costs, before anything runs."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from typing import Annotated

import typer

from privacy.cli.output import Json, show, show_json
from privacy.cli.tables import plan_fields, plans_table
from privacy.command.exits import fail


class Kind(StrEnum):
    """How devices come into a cohort."""

    POISSON = "poisson"
    BOUNDED = "bounded"


def plan_command(
    *,
    cohort: Annotated[
        list[int] | None,
        typer.Option(min=2, help="Devices expected in a round; give it again to compare. Default: chosen."),
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of the task. Default: chosen.")] = None,
    dimension: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 16_385,
    clip: Annotated[float, typer.Option(help="L2 bound of a device's update.")] = 0.5,
    epsilon: Annotated[float | None, typer.Option(help="What all rounds may spend. Default: 8.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Instead of --epsilon.")] = None,
    delta: Annotated[float, typer.Option(help="For epsilon.")] = 1e-6,
    participation: Annotated[Kind, typer.Option(help="Drawn in secret, or nothing random claimed.")] = Kind.POISSON,
    population: Annotated[int | None, typer.Option(help="Devices to draw from, under poisson.")] = None,
    max_participations: Annotated[int, typer.Option(min=1, help="Of one device, under bounded.")] = 1,
    corrupt_fraction: Annotated[float, typer.Option(help="Fraction of a cohort that may work with the server.")] = 0.05,
    dropout_fraction: Annotated[float, typer.Option(help="Fraction of a cohort that may vanish.")] = 0.1,
    min_survivors: Annotated[int | None, typer.Option(min=2, help="In a shard. Default: a quarter of it.")] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Default: as few as can be, of at most 750 devices each.")
    ] = None,
    momentum: Annotated[float, typer.Option(min=0, max=0.999, help="Of the server's steps.")] = 0.7,
    bits: Annotated[
        int | None, typer.Option(min=8, max=32, help="Of the modulus. Default: the fewest that do.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute what a cohort costs before anything runs: noise, bits, thresholds, bytes and expected error.

    Rounds, cohort and shards that are not given are chosen, from these public numbers alone.

    Examples:
    [bold]fl-privacy plan --population 7000 --epsilon 8 --delta 1e-5[/bold]  (everything chosen)

    [bold]fl-privacy plan --cohort 200 --population 100000 --epsilon 8[/bold]

    [bold]fl-privacy plan --cohort 64 --cohort 1000 --cohort 10000 --population 10000000 --dimension 1000000[/bold]

    [bold]fl-privacy plan --cohort 500 --participation bounded --max-participations 4 --epsilon 6 --json[/bold]

    Exit codes: 0 planned, 2 no such plan: the message names what to change.
    """
    from privacy.planning import Goal, plan
    from privacy.schedule import Circumstances, choose, default_rounds

    budget = 8.0 if epsilon is None and noise_multiplier is None else epsilon
    if not cohort and population is None:
        fail("--population: expected it, or --cohort: a cohort is chosen for a population")
    try:
        public = Circumstances(population or 0, budget, delta, participation.value, max_participations)
        cohorts = cohort or [choose(public, rounds=rounds, shards=shards).cohort]
        plans = [
            plan(
                Goal(
                    cohort=size,
                    rounds=rounds or default_rounds(participation.value),
                    dimension=dimension,
                    clip=clip,
                    delta=delta,
                    epsilon=budget,
                    noise_multiplier=noise_multiplier,
                    participation=participation.value,
                    population=population,
                    max_participations=max_participations,
                    corrupt_fraction=corrupt_fraction,
                    dropout_fraction=dropout_fraction,
                    min_survivors=min_survivors,
                    shards=shards,
                    bits=bits,
                    momentum=momentum,
                )
            )
            for size in cohorts
        ]
    except ValueError as error:
        fail(_by_option(error))
    if as_json:
        show_json({"plans": [plan_fields(figures) for figures in plans]})
    else:
        show(plans_table(plans))
        for figures in plans:
            for warning in figures.warnings:
                typer.echo(f"cohort {figures.cohort}: {warning}", err=True)


def _by_option(error: ValueError) -> str:
    """Return an error's message with the option's name for the field's."""
    from pydantic import ValidationError

    from privacy.planning import Goal

    message = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        message = f"{first['loc'][0]}: {first['msg']}, got {first['input']}"
    field, _, rest = message.partition(": ")
    name = "bits" if field == "modulus_bits" else field
    known = {goal_field.name for goal_field in fields(Goal)}
    return f"--{name.replace('_', '-')}: {rest}" if name in known else message
