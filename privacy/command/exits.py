"""How a command ends: the exit codes of all four, and one line on standard error."""

from __future__ import annotations

from typing import NoReturn

import click
import typer

EXIT_FAILED = 1
"""What was asked for was tried and failed, or a check did."""
EXIT_USAGE = 2
"""The input was bad: nothing was begun."""
EXIT_STOPPED = 130
"""It was stopped by Ctrl-C, as shells say it."""

_LONGEST = 1_500
"""The most characters of a message: what it quotes may be as long as somebody's file, and a screen is not."""


def fail(message: str, code: int = EXIT_USAGE) -> NoReturn:
    """End the command with one line on standard error that begins with the program's name, like `fl-sim: ...`.

    Args:
        message: what was expected, what came and what to do; it names the argument. Of a longer one the start is shown.
        code: one of the exit codes above.

    Raises:
        typer.Exit: always.
    """
    shown = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}… ({len(message) - _LONGEST:,} more)"
    context = click.get_current_context(silent=True)
    program = f"{context.find_root().info_name}: " if context else ""
    typer.secho(f"{program}{shown}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)
