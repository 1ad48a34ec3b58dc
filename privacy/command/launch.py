"""How the console scripts start: what an installation lacks is said in words."""

from __future__ import annotations

import sys
from importlib import import_module

_OURS = ("privacy", "strategies", "fl_client", "fl_server", "simulations")


def launch(program: str, module: str, extra: str) -> None:
    """Run the typer application `module.app`; a package that it lacks ends it with exit code 1, and with what to do.

    Args:
        extra: the optional dependencies that bring every package the application imports.

    Raises:
        ModuleNotFoundError: when it is a module of this project that is missing.
    """
    try:
        import_module(module).app(prog_name=program)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in _OURS:
            raise
        sys.exit(
            f"{program}: the package {package!r} is missing; install havenfl with its {extra!r} extra, "
            f"in a checkout by: pip install '.[{extra}]'"
        )
