"""The frame that all four commands share: their help, `--version`, and how they are set up."""

from __future__ import annotations

import typer


def new_app(program: str, summary: str) -> typer.Typer:
    """Return an application without commands, in the one form that all of ours have.

    Args:
        program: its name on the command line.
        summary: the first line of its help.
    """
    app = typer.Typer(
        name=program,
        help=summary,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )

    def show_version(asked: bool) -> None:
        if asked:
            from importlib.metadata import version  # noqa: PLC0415 - takes longer than all else that help needs

            typer.echo(f"{program} {version('havenfl')}")
            raise typer.Exit

    asked = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Say which version this is.")

    @app.callback(help=summary)
    def common(_: bool = asked) -> None:
        pass

    return app
