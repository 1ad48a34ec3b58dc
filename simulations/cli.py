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
from simulations.data.cli import (
    DATA,
    ColumnNames,
    Encoding,
    JoinColumn,
    LabelColumn,
    LabelFiles,
    LabelNames,
    MessageColumn,
    Positive,
    Quoting,
    Replace,
    Separator,
    Sheet,
    TestFiles,
    TestLabels,
    TestWhere,
    TextColumn,
    TimeColumn,
    UserColumn,
    Votes,
    Where,
    check_exist,
    data_command,
    data_overrides,
)
from simulations.processes.limits import MOST_WORKERS
from simulations.runs.doctor.cli import doctor_command
from simulations.sweep.cli import sweep_command

if TYPE_CHECKING:
    from simulations.config import RunConfig

# Commands import what they need when they run, so that help, and errors about flags, take no time.

app = new_app("fl-sim", "Federations on one machine: data in; curves, a published model and an epsilon report out.")

PRIVACY, TRAINING, RUN = "Privacy", "Training", "Run"


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
    force: Annotated[bool, typer.Option("--force", help="Replace a configuration.")] = False,
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
    from privacy.base.files import write_atomically
    from simulations.config.template import TEMPLATE

    if path.exists():
        _refuse_replacing(path, force=force)
    text = TEMPLATE if message_epsilon is None else _recipe(epsilon, message_epsilon, delta, base_rate)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        fail(f"PATH: cannot write {path}: {error.strerror or error}")
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
        list[Path] | None,
        typer.Option(help="File or folder of messages; again for more. Default: generated.", rich_help_panel=DATA),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    positive: Positive = None,
    votes: Votes = None,
    message_column: MessageColumn = None,
    user_column: UserColumn = None,
    partition: Annotated[
        str | None,
        typer.Option(
            help="dirichlet:ALPHA or time: how rows are spread over devices, where there are no users.",
            rich_help_panel=DATA,
        ),
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Devices to make.", rich_help_panel=DATA)] = None,
    time_column: TimeColumn = None,
    where: Where = None,
    test: TestFiles = None,
    test_where: TestWhere = None,
    test_labels: TestLabels = None,
    labels: LabelFiles = None,
    labels_columns: LabelNames = None,
    join: JoinColumn = None,
    separator: Separator = None,
    quoting: Quoting = None,
    encoding: Encoding = None,
    columns: ColumnNames = None,
    sheet: Sheet = None,
    replace: Replace = None,
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

    [bold]fl-sim run --data tweets.tsv --positive hate,offensive --partition dirichlet:0.3 --out runs/tweets[/bold]

    [bold]fl-sim run --aggregation ideal --cohort 500 --out runs/large[/bold]  (the same model, without masks)

    [bold]fl-sim run --aggregation ideal --engine ray --ray-address head:6379 --out runs/cluster[/bold]

    [bold]fl-sim run --resume runs/chat[/bold]

    Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C and resumable.
    """
    overrides = {
        **data_overrides({**locals(), "path": data}),
        "seed": seed,
        "engine": engine,
        "device": device,
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
    data: Annotated[list[Path], typer.Option(help="File or folder of messages; again for more.", rich_help_panel=DATA)],
    out: Annotated[Path, typer.Option(help="CSV to write: score and verdict of every row.")],
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    positive: Positive = None,
    votes: Votes = None,
    where: Where = None,
    separator: Separator = None,
    quoting: Quoting = None,
    encoding: Encoding = None,
    columns: ColumnNames = None,
    sheet: Sheet = None,
    replace: Replace = None,
    labels: LabelFiles = None,
    labels_columns: LabelNames = None,
    join: JoinColumn = None,
    operator_key: Annotated[
        Path | None, typer.Option(help="The operator's public key, in hex; else operator.pub beside the release.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="package.module:factory, for a release of a model of your own.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace earlier scores in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Score a file with a published model; prints the metrics where there are labels.

    Example: [bold]fl-sim score --release runs/chat/release/stable --data new.csv --out scores.csv[/bold]
    """
    overrides = data_overrides({**locals(), "path": data})
    from simulations.config import ConfigError, load_config

    try:
        config = load_config(None, overrides).data
    except ConfigError as error:
        fail(str(error))
    check_exist(config.inputs)
    from simulations.data.errors import DataError
    from simulations.evaluation.scoring import ScoringError, ScoringJob, score_file
    from simulations.outdir import OutputDirectoryError

    try:
        metrics = score_file(ScoringJob(release, config, out, operator_key, architecture, force))
    except (ConfigError, DataError, OutputDirectoryError, ScoringError) as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(metrics))
        return
    for name, value in metrics.items():
        typer.echo(
            f"{name:>20}  {value:.4f}" if isinstance(value, float) else f"{name:>20}  {'' if value is None else value}"
        )


app.command("data")(data_command)
app.command("sweep")(sweep_command)
app.command("compare")(compare_command)
app.command("doctor")(doctor_command)


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
            outcome = resume(place.resume, workers=workers.workers, overrides=_kept(overrides, workers))
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
            loaded = RunDirectory.reopen(place.resume, _kept(overrides, workers))[1]
            _check_found(loaded)
            return loaded
        loaded = load_config(config, {**overrides, "ray_address": workers.ray_address})
        own = () if config is None else (("--config", config),)
        RunDirectory.check(place.new, force=place.force, inputs=(*loaded.inputs, *own))
    except (ConfigError, OutputDirectoryError) as error:
        fail(str(error))
    check_exist(loaded.data.inputs)
    return loaded


_PLACES = {"data.path": "--data", "data.labels": "--labels", "data.test": "--test", "data.test_labels": "--test-labels"}
"""What may be said beside `--resume` of a run's data: where they are now."""


def _kept(overrides: dict[str, Any], workers: _Workers) -> dict[str, Any]:
    """Return what is taken over into a run that goes on."""
    return {"ray_address": workers.ray_address, **{key: overrides[key] for key in _PLACES}}


def _check_found(config: RunConfig) -> None:
    """End with 2 where the files of a run are no longer where they were."""
    from simulations.config.paths import shown

    for flag, path in config.data.inputs:
        if not path.exists():
            fail(f"--resume: {shown(path)} of {flag} is gone; say where it is now: {flag} PATH beside --resume")


def _refuse_beside_resume(given: dict[str, Any]) -> None:
    names = [name for name, value in given.items() if value and name not in _PLACES]
    if names:
        fail(f"--resume: goes on with the run's own configuration; leave out {', '.join(names)}")


def _refuse_replacing(path: Path, *, force: bool) -> None:
    """End with 2 where `init` would write over anything but a configuration that no run has."""
    from simulations.config import ConfigError, load_config

    if path.is_dir():
        fail(f"PATH: {path} is a directory; give the path of a file")
    if not force:
        fail(f"PATH: {path} exists; give another path or --force")
    if (path.parent / "run.log").exists():
        fail(f"--force: {path} is the configuration of a run; it is left alone")
    try:
        load_config(path, {})
    except ConfigError:
        fail(f"--force: {path} is no configuration of fl-sim; it is left alone")
