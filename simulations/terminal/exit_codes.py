"""How every `fl-sim` command fails."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_STOPPED = 130
"""Stopped by Ctrl-C after a complete round; what was stopped can be resumed."""


def fail(message: str, code: int = EXIT_USAGE) -> NoReturn:
    """One line on standard error, and the end."""
    print(f"fl-sim: {message}", file=sys.stderr)
    raise typer.Exit(code)
