"""`fl-sim compare`."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privacy.command.exits import EXIT_FAILED, EXIT_STOPPED, fail

if TYPE_CHECKING:
    from simulations.config import RunConfig

# Commands import what they need when they run, so that help, and errors about flags, take no time.


def compare_command(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file of the federation; `fl-sim init` writes one.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often, each time with another seed.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Directory to make.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier comparison in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print compare.json on standard output.")] = False,
) -> None:
    """Compare a federation with what else could be done with the same messages, in one table.

    The federation as configured; the same without noise; all messages in one place, with plain SGD and with DP-SGD at
    the same epsilon, for one message; each device alone. The last three are tuned over a small grid on the calibration
    users. Secure aggregation is left out: the models are the same but for the rounding of floats.

    Examples:
    [bold]fl-sim compare --out runs/compare[/bold]  (generated messages)

    [bold]fl-sim compare config.toml --seeds 3 --out runs/compare[/bold]

    [bold]fl-sim compare config.toml --json > compare.json[/bold]

    Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C; a comparison cannot be resumed.
    """
    from simulations.compare import running
    from simulations.compare.grids import NothingTrained
    from simulations.compare.report import CompareReport
    from simulations.config import ConfigError, load_config
    from simulations.data import DataError
    from simulations.outdir import OutputDirectoryError, keep_inputs
    from simulations.runs.run import RunError
    from simulations.training.engines import EngineError

    path = out or Path("runs") / time.strftime("compare-%Y%m%d-%H%M%S")
    try:
        keep_inputs("--out", path, () if config is None else (("CONFIG", config),))
        report = CompareReport.of(running.start(_base(load_config(config, {})), seeds, path, force=force))
    except (ConfigError, DataError, EngineError, OutputDirectoryError) as error:
        fail(str(error))
    except (NothingTrained, RunError) as error:
        fail(str(error), EXIT_FAILED)
    except running.Stopped:
        fail(f"stopped; begin again with --force --out {path}", EXIT_STOPPED)
    fields = report.write()
    typer.echo(json.dumps(fields, indent=2) if as_json else report.describe())


def _base(config: RunConfig) -> RunConfig:
    """With a seed to count from, and without the protocol."""
    from simulations.config.config import MAX_SEED, with_settings

    settings: dict[str, Any] = {}
    if config.seed is None:
        settings["seed"] = secrets.randbelow(MAX_SEED // 2)
    if config.server.aggregation == "secure":
        settings["server.aggregation"] = "ideal"
    return with_settings(config, settings)
