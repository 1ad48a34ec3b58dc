"""Paths in a configuration file: they lie below the file's directory, so that it works from wherever it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_KEYS = {"data": ("path", "labels", "test", "test_labels"), "privacy": ("ledger",)}
"""The keys that hold one path or several, by section."""


def below(directory: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's values with its paths put below `directory`, which is free of links; absolute ones stay."""

    def absolute(path: str) -> str:
        base, parts = directory, Path(path).parts
        while parts[:1] == ("..",):
            base, parts = base.parent, parts[1:]
        return str(base.joinpath(*parts))

    return _changed(values, absolute)


def relative_to(directory: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with absolute paths as a file in `directory`, which need not exist, has them."""
    base = directory.resolve()

    def relative(path: str) -> str:
        # The last part may be a link, whose name is kept: it may come to lead elsewhere.
        return os.path.relpath(Path(path).parent.resolve() / Path(path).name, base)

    return _changed(values, relative)


def shown(path: Path) -> str:
    """Return a path for people: short where it lies below the current directory."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _changed(values: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    changed = dict(values)
    for section, keys in _KEYS.items():
        given = values.get(section)
        if isinstance(given, Mapping):
            changed[section] = {key: _each(value, change) if key in keys else value for key, value in given.items()}
    return changed


def _each(value: object, change: Callable[[str], str]) -> object:
    """Change one path or several; what is none is left for the validation to refuse."""
    if isinstance(value, str):
        return change(value)
    return [_each(one, change) for one in value] if isinstance(value, list | tuple) else value
