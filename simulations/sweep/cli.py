"""`fl-sim sweep`."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privacy.command.exits import EXIT_FAILED, EXIT_STOPPED, fail
from simulations.processes.limits import MOST_WORKERS

if TYPE_CHECKING:
    from simulations.config import RunConfig
    from simulations.sweep.grid import Axis

# Commands import what they need when they run, so that help, and errors about flags, take no time.


def sweep_command(  # noqa: PLR0917 - the options of a command
    config: Annotated[
        Path | None, typer.Argument(help="TOML file that all cells share; `fl-sim init` writes one.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE,VALUE..., the key dotted or its last part; give it again for another key."),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="What matters: rounds, and the server's learning rate, around what is chosen from public numbers.",
        ),
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each setting, with other seeds. Default: 1.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=MOST_WORKERS, help="Cells at a time (default: one a core).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory to make.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Directory of a sweep to go on with.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier sweep in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print sweep.json on standard output.")] = False,
) -> None:
    """Run every combination of some keys' values, several seeds each; a table, plots and a page show what came of it.

    Each cell is an ordinary run directory. Secure aggregation is left out unless the configuration asks for it: the
    models are the same but for the rounding of floats, much faster to get. What tuning costs is stated, not charged.

    Examples:
    [bold]fl-sim sweep config.toml --grid clip=0.5,1,2 --grid epsilon=1,3,8 --seeds 3 --out runs/sweep[/bold]

    [bold]fl-sim sweep config.toml --grid momentum=0.5,0.9 --grid server.cohort=64,200 --out runs/rates[/bold]

    [bold]fl-sim sweep config.toml --tune --out runs/tuned[/bold]  (3 numbers of rounds, 3 learning rates)

    [bold]fl-sim sweep --resume runs/sweep[/bold]  (complete cells are kept, failed ones are tried again)

    Exit codes: 0 done, 1 a cell failed, 2 bad input, 130 stopped by Ctrl-C and resumable.
    """
    from simulations.config import ConfigError, load_config
    from simulations.data.errors import DataError
    from simulations.outdir import OutputDirectoryError, keep_inputs
    from simulations.sweep import running
    from simulations.sweep.grid import Axis, Grid
    from simulations.sweep.preset import tuning_axes
    from simulations.sweep.report import SweepReport

    try:
        if resume is not None:
            _refuse_beside_resume(
                {"CONFIG": config, "--grid": grid, "--tune": tune, "--seeds": seeds, "--out": out, "--force": force}
            )
            result = running.resume(resume, workers=workers)
        else:
            axes = tuple(Axis.parse(one) for one in grid or [])
            path = out or Path("runs") / time.strftime("sweep-%Y%m%d-%H%M%S")
            keep_inputs("--out", path, () if config is None else (("CONFIG", config),))
            base = _base(load_config(config, {}), axes)
            axes += tuning_axes(base, [axis.key for axis in axes]) if tune else ()
            result = running.start(Grid(base, axes, seeds or 1), path, force=force, workers=workers)
    except (ConfigError, DataError, OutputDirectoryError) as error:
        fail(str(error))
    path = result.directory.path
    if result.stopped:
        fail(f"stopped; go on with `fl-sim sweep --resume {path}`", EXIT_STOPPED)
    report = SweepReport.of(result)
    fields = report.write()
    typer.echo(json.dumps(fields, indent=2) if as_json else report.describe())
    if result.failed:
        fail(f"{len(result.failed)} of {len(result.results)} cells failed; see {path / 'sweep.html'}", EXIT_FAILED)


def _base(config: RunConfig, axes: tuple[Axis, ...]) -> RunConfig:
    """What cells share: a seed to count from, and ideal aggregation where nothing else is asked for."""
    from simulations.config.config import MAX_SEED, with_settings

    settings: dict[str, Any] = {}
    if config.seed is None:
        settings["seed"] = secrets.randbelow(MAX_SEED // 2)
    swept = any(axis.key == "server.aggregation" for axis in axes)
    if not swept and "aggregation" not in config.server.model_fields_set:
        settings["server.aggregation"] = "ideal"
    return with_settings(config, settings)


def _refuse_beside_resume(given: dict[str, Any]) -> None:
    names = [name for name, value in given.items() if value]
    if names:
        fail(f"--resume: goes on with the sweep's own definition; leave out {', '.join(names)}")
