"""The `fl-server` command."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fl_server.dev import DevFederation
from fl_server.processes import ProcessError
from fl_server.provision import Scale

app = typer.Typer(
    name="fl-server",
    help="The aggregation server of a federation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@app.callback()
def commands() -> None:
    """The aggregation server of a federation."""


@app.command()
def dev(
    out: Annotated[Path, typer.Option(help="A new directory for keys, logs, ledger and the published model.")],
    devices: Annotated[int, typer.Option(min=3, max=64, help="Devices in one host process.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds to train.")] = 2,
    stage_timeout: Annotated[float, typer.Option(min=1, help="Seconds that devices have for each stage.")] = 30.0,
) -> None:
    """Run a whole federation on this machine: SuperLink over TLS, SuperExec, devices; ends with a published model.

    Examples:

    [bold]fl-server dev --out runs/dev[/bold]

    [bold]fl-server dev --out runs/larger --devices 8 --rounds 5[/bold]

    Exit codes: 0 published, 1 failed, 2 bad input, 130 interrupted. Nothing is left running in any case.
    """
    if out.exists():
        _fail(f"--out: expected a new path, {out} exists", EXIT_USAGE)
    _unwind_on(signal.SIGTERM, signal.SIGHUP)
    try:
        scale = Scale(devices, rounds, stage_timeout)
        version = DevFederation(out.resolve(), scale, typer.echo).run()
    except KeyboardInterrupt:
        _fail("interrupted; everything is stopped", EXIT_INTERRUPTED)
    except (ProcessError, OSError, ValueError) as error:
        _fail(str(error), EXIT_FAILED)
    typer.echo(f"published {version.name}: {version.path}")


def _unwind_on(*numbers: signal.Signals) -> None:
    """End as by Ctrl-C, which stops every process; `nohup` stays what it is."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _fail(message: str, code: int) -> NoReturn:
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
