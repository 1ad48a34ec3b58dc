"""The `fl-sim` command."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privacy.command.app import new_app
from privacy.command.exits import EXIT_FAILED, EXIT_STOPPED, fail
from simulations.compare.cli import compare_command
from simulations.processes.limits import MOST_WORKERS
from simulations.sweep.cli import sweep_command

if TYPE_CHECKING:
    from simulations.config import RunConfig

# Commands import what they need when they run, so that help, and errors about flags, take no time.

app = new_app("fl-sim", "Federations on one machine: data in; curves, a published model and an epsilon report out.")

DATA, PRIVACY, TRAINING, RUN = "Data", "Privacy", "Training", "Run"


@dataclass(frozen=True)
class _Place:
    """Where to run."""

    out: Path | None
    resume: Path | None
    force: bool

    @cached_property
    def new(self) -> Path:
        """Where a new run goes; named after the time if nobody says."""
        return self.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S")


@dataclass(frozen=True)
class _Workers:
    """Who does it; the outcome is the same."""

    workers: int | None
    ray_address: str | None


@app.command()
def init(  # noqa: PLR0917 - the options of a command
    path: Annotated[Path, typer.Argument(help="Where to write the configuration.")] = Path("federation.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    message_epsilon: Annotated[
        float | None, typer.Option(help="A recipe in which every message has this epsilon too, over the whole run.")
    ] = None,
    epsilon: Annotated[float, typer.Option(help="With --message-epsilon: device-level budget.")] = 8.0,
    delta: Annotated[float, typer.Option(help="With --message-epsilon: delta of both.")] = 1e-5,
    base_rate: Annotated[
        float | None,
        typer.Option(help="With --message-epsilon: a public guess of the fraction of positive messages."),
    ] = None,
) -> None:
    """Write a commented configuration file.

    Examples:
    [bold]fl-sim init federation.toml && fl-sim run --config federation.toml[/bold]

    [bold]fl-sim init --message-epsilon 8 --base-rate 0.1 private.toml[/bold]
    """
    from simulations.config.template import TEMPLATE

    if path.exists() and not force:
        fail(f"PATH: {path} exists; give another path or --force")
    path.write_text(
        TEMPLATE if message_epsilon is None else _recipe(epsilon, message_epsilon, delta, base_rate), encoding="utf-8"
    )
    typer.echo(f"wrote {path}")


def _recipe(epsilon: float, message_epsilon: float, delta: float, base_rate: float | None) -> str:
    from simulations.config.recipe import message_level

    try:
        return message_level(epsilon, message_epsilon, delta, base_rate)
    except ValueError as error:
        fail(f"--{error}" if str(error).startswith("delta") else f"--message-{error}")


@app.command()
def run(  # noqa: PLR0917 - the options of a command
    config: Annotated[Path | None, typer.Option(help="TOML file; flags win over it.", rich_help_panel=RUN)] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="CSV, CSV.gz, JSONL or Parquet. Without it, generated messages.", rich_help_panel=DATA),
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the text.", rich_help_panel=DATA)] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the label, 0 or 1.", rich_help_panel=DATA)] = None,
    user_column: Annotated[
        str | None, typer.Option(help="Column of the user; every user is a device.", rich_help_panel=DATA)
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            help="dirichlet:ALPHA or time: how rows are spread over devices, where there are no users.",
            rich_help_panel=DATA,
        ),
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Devices to make.", rich_help_panel=DATA)] = None,
    time_column: Annotated[
        str | None,
        typer.Option(help="When a message was written; devices get theirs as rounds pass.", rich_help_panel=DATA),
    ] = None,
    drop_out: Annotated[
        float | None,
        typer.Option(help="Fraction of a cohort that is lost before it sends its input.", rich_help_panel=DATA),
    ] = None,
    poisoners: Annotated[
        float | None,
        typer.Option(help="Fraction of devices that poison; section poison says how.", rich_help_panel=DATA),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="Device-level budget; the noise follows from it.", rich_help_panel=PRIVACY)
    ] = None,
    noise_multiplier: Annotated[
        float | None,
        typer.Option(
            help="Device-level noise; epsilon follows, and --epsilon only limits it.", rich_help_panel=PRIVACY
        ),
    ] = None,
    delta: Annotated[float | None, typer.Option(help="Delta of both guarantees.", rich_help_panel=PRIVACY)] = None,
    clip: Annotated[float | None, typer.Option(help="L2 bound of a device's update.", rich_help_panel=PRIVACY)] = None,
    message_noise: Annotated[
        float | None, typer.Option(help="Opacus noise multiplier on each device.", rich_help_panel=PRIVACY)
    ] = None,
    participation: Annotated[str | None, typer.Option(help="poisson or bounded.", rich_help_panel=PRIVACY)] = None,
    max_participations: Annotated[
        int | None, typer.Option(help="A device's limit, under bounded.", rich_help_panel=PRIVACY)
    ] = None,
    fleet_population: Annotated[
        int | None, typer.Option(help="Devices of a fleet to extrapolate to.", rich_help_panel=PRIVACY)
    ] = None,
    fleet_cohort: Annotated[
        int | None, typer.Option(help="Its cohort: epsilon and noise are then the fleet's.", rich_help_panel=PRIVACY)
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="hashed-linear, word-embedding, character-cnn, or your own as package.module:factory.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds to run. Default: chosen.", rich_help_panel=TRAINING)
    ] = None,
    cohort: Annotated[
        int | None, typer.Option(help="Devices a round (expected). Default: chosen.", rich_help_panel=TRAINING)
    ] = None,
    shards: Annotated[
        int | None, typer.Option(help="Sums that a cohort is split into. Default: few.", rich_help_panel=TRAINING)
    ] = None,
    server_learning_rate: Annotated[
        str | None,
        typer.Option(help="Of the server's steps, or auto: as the noise allows.", rich_help_panel=TRAINING),
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="Of the server's steps.", rich_help_panel=TRAINING)] = None,
    buckets: Annotated[int | None, typer.Option(help="Of the hashed n-grams.", rich_help_panel=TRAINING)] = None,
    base_rate: Annotated[
        float | None,
        typer.Option(help="A public guess of the fraction of positive messages.", rich_help_panel=TRAINING),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="One seed gives one run.", rich_help_panel=RUN)] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="auto, sequential, vectorised or ray: how devices are trained, without secure aggregation.",
            rich_help_panel=RUN,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda: where the vectorised engine computes.", rich_help_panel=RUN)
    ] = None,
    aggregation: Annotated[
        str | None,
        typer.Option(
            help="secure; ideal: the same model without the protocol, faster; central: its noise at once, fastest.",
            rich_help_panel=RUN,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_WORKERS,
            help="Processes (default: one a core, or every CPU of the cluster).",
            rich_help_panel=RUN,
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster's head, with --engine ray; else a Ray of its own.", rich_help_panel=RUN
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory to make.", rich_help_panel=RUN)] = None,
    resume: Annotated[Path | None, typer.Option(help="Run directory to go on with.", rich_help_panel=RUN)] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier run in --out.", rich_help_panel=RUN)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summary.json on standard output.", rich_help_panel=RUN)
    ] = False,
) -> None:
    """Train a federation of simulated devices, and publish its model.

    Examples:
    [bold]fl-sim run --out runs/first[/bold]  (generated messages)

    [bold]fl-sim run --data chat.csv --user-column user --epsilon 8 --out runs/chat[/bold]

    [bold]fl-sim run --data tweets.csv.gz --partition dirichlet:0.3 --devices 1000 --out runs/tweets[/bold]

    [bold]fl-sim run --aggregation ideal --cohort 500 --out runs/large[/bold]  (the same model, without masks)

    [bold]fl-sim run --aggregation ideal --engine ray --ray-address head:6379 --out runs/cluster[/bold]

    [bold]fl-sim run --resume runs/chat[/bold]

    Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C and resumable.
    """
    overrides = {
        "seed": seed,
        "engine": engine,
        "device": device,
        "data.path": str(data) if data else None,
        "data.text_column": text_column,
        "data.label_column": label_column,
        "data.user_column": user_column,
        "data.partition": partition,
        "data.devices": devices,
        "data.time_column": time_column,
        "faults.drop_out.input": drop_out,
        "poison.fraction": poisoners,
        "privacy.epsilon": epsilon,
        "privacy.noise_multiplier": noise_multiplier,
        "privacy.delta": delta,
        "privacy.clip": clip,
        "privacy.participation": participation,
        "privacy.max_participations": max_participations,
        "fleet.population": fleet_population,
        "fleet.cohort": fleet_cohort,
        "training.architecture": architecture,
        "training.message_noise": message_noise,
        "training.buckets": buckets,
        "training.base_rate": base_rate,
        "server.rounds": rounds,
        "server.cohort": cohort,
        "server.shards": shards,
        "server.learning_rate": server_learning_rate,
        "server.momentum": momentum,
        "server.aggregation": aggregation,
    }
    _run(config, overrides, _Place(out, resume, force), _Workers(workers, ray_address), as_json=as_json)


@app.command()
def score(  # noqa: PLR0917 - the options of a command
    release: Annotated[Path, typer.Option(help="A release directory, for example RUN/release/stable.")],
    data: Annotated[Path, typer.Option(help="CSV, CSV.gz, JSONL or Parquet.")],
    out: Annotated[Path, typer.Option(help="CSV to write: score and verdict of every row.")],
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the label, if there is one.")] = "label",
    operator_key: Annotated[
        Path | None, typer.Option(help="The operator's public key, in hex; else operator.pub beside the release.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="package.module:factory, for a release of a model of your own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Score a file with a published model; prints the metrics where there are labels.

    Example: [bold]fl-sim score --release runs/chat/release/stable --data new.csv --out scores.csv[/bold]
    """
    if not data.is_file():
        fail(f"--data: cannot read {data}: no such file; expected a readable file")
    from simulations.config import ConfigError
    from simulations.data import DataError
    from simulations.evaluation.scoring import ScoringError, ScoringJob, score_file

    try:
        metrics = score_file(ScoringJob(release, data, out, text_column, label_column, operator_key, architecture))
    except (ConfigError, DataError, ScoringError) as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(metrics))
        return
    for name, value in metrics.items():
        typer.echo(
            f"{name:>20}  {value:.4f}" if isinstance(value, float) else f"{name:>20}  {'' if value is None else value}"
        )


app.command("sweep")(sweep_command)
app.command("compare")(compare_command)


def _run(config: Path | None, overrides: dict[str, Any], place: _Place, workers: _Workers, *, as_json: bool) -> None:
    loaded = _checked(config, overrides, place, workers)
    from simulations.config import ConfigError
    from simulations.data import DataError
    from simulations.outdir import OutputDirectoryError
    from simulations.runs import RunError, resume, start
    from simulations.terminal import describe
    from simulations.training.engines import EngineError

    try:
        if place.resume is not None:
            outcome = resume(place.resume, workers=workers.workers, ray_address=workers.ray_address)
        else:
            outcome = start(loaded, place.new, force=place.force, workers=workers.workers)
    except (ConfigError, DataError, EngineError, OutputDirectoryError) as error:
        fail(str(error))
    except RunError as error:
        fail(str(error), EXIT_FAILED)
    path = outcome.directory.path
    if outcome.summary is None:
        fail(f"stopped; go on with `fl-sim run --resume {path}`", EXIT_STOPPED)
    typer.echo(json.dumps(outcome.summary, indent=2) if as_json else describe(outcome.summary, path))


def _checked(config: Path | None, overrides: dict[str, Any], place: _Place, workers: _Workers) -> RunConfig:
    """Refuse what can be refused before anything slow is imported."""
    from simulations.config import ConfigError, load_config
    from simulations.outdir import OutputDirectoryError
    from simulations.runs.rundir import RunDirectory

    try:
        if place.resume is not None:
            _refuse_beside_resume({**overrides, "config": config, "out": place.out, "force": place.force})
            return RunDirectory.reopen(place.resume, {"ray_address": workers.ray_address})[1]
        RunDirectory.check(place.new, force=place.force)
        loaded = load_config(config, {**overrides, "ray_address": workers.ray_address})
    except (ConfigError, OutputDirectoryError) as error:
        fail(str(error))
    if loaded.data.path is not None and not loaded.data.path.is_file():
        fail(f"--data: cannot read {loaded.data.path}: no such file; expected a readable file")
    return loaded


def _refuse_beside_resume(given: dict[str, Any]) -> None:
    names = [name for name, value in given.items() if value]
    if names:
        fail(f"--resume: goes on with the run's own configuration; leave out {', '.join(names)}")
