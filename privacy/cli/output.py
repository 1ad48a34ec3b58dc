"""How every command speaks: one JSON object, or a table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from privacy.command.exits import fail

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def show(table: Table) -> None:
    """Print a table as wide as the terminal, and where there is none wide enough for a line a check."""
    Console(width=None if "COLUMNS" in os.environ or Console().is_terminal else 160).print(table)


def show_json(value: dict[str, Any]) -> None:
    """Print one object on one line."""
    typer.echo(json.dumps(value, allow_nan=False))


def check_writable(option: str, path: Path | None, inputs: Iterable[Path | str | None] = ()) -> None:
    """End with 2, before work starts, where a file cannot be written, or would be over something.

    Args:
        option: the option that names the file.
        path: the file; None where none is wanted.
        inputs: all that the command reads; what is no path of a file counts as none.
    """
    from privacy.release.files import STATEMENT_FILE

    if path is None:
        return
    if path.is_dir() or not os.access(path.resolve().parent, os.W_OK):
        fail(f"{option}: expected a file in a directory that can be written to, got {path}")
    for given in inputs:
        if given is not None and path.exists() and os.path.exists(given) and path.samefile(given):  # noqa: PTH110
            fail(f"{option}: {path} is what the command reads, and would be written over; give another path")
    if (path.resolve().parent / STATEMENT_FILE).exists():
        fail(f"{option}: {path} lies in a release, which holds what was signed and nothing else; give another path")


def write(option: str, path: Path, data: str | bytes) -> None:
    """Write a file; end with 2 when the disk refuses."""
    try:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    except OSError as error:
        fail(f"{option}: {path}: {error.strerror}")
