"""How the console scripts start: what an installation lacks, or what hides one of our packages, is said in words."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path

_OURS = ("privacy", "strategies", "fl_client", "fl_server", "simulations")
_HOME = Path(__file__).resolve().parents[2]


def launch(program: str, module: str, extra: str) -> None:
    """Run the typer application `module.app`; an installation that lacks a package ends it with exit code 1.

    Args:
        program: the command's name, for its messages.
        module: where the application is.
        extra: the optional dependencies that bring every package the application imports.

    Raises:
        ModuleNotFoundError: when it is a module of this project that is missing.
    """
    if hidden := _hidden():
        sys.exit(f"{program}: {hidden}")
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


def _hidden() -> str:
    """Say which file of somebody else's Python finds in the place of a package of ours; empty if there is none."""
    for name in _OURS:
        found = PathFinder.find_spec(name)
        origin = Path(found.origin).resolve() if found and found.origin else None
        if origin and not origin.is_relative_to(_HOME):
            return (
                f"{origin} hides havenfl's package {name!r}, since Python looks there first; give it another name, "
                "or take its folder out of PYTHONPATH and run from another directory"
            )
    return ""
