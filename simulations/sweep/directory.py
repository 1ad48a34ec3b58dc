"""A sweep's directory: its definition, its cells' run directories, its results."""

from __future__ import annotations

import json
import tomllib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from simulations.config.config import ConfigError, RunConfig, with_settings
from simulations.outdir import ManagedDirectory, OutputDirectoryError, exclusive
from simulations.runs.rundir import RunDirectory
from simulations.sweep.grid import Axis, Cell, Grid
from simulations.sweep.preparing import PreparedCell

_DEFINITION = "sweep.toml"
_DIRECTORY = ManagedDirectory(
    "fl-sim sweep", _DEFINITION, "go on with `fl-sim sweep --resume {path}`, or replace it with --force"
)


@dataclass(frozen=True)
class SweepDirectory:
    """One sweep's files."""

    path: Path

    @classmethod
    def check(cls, path: Path, *, force: bool) -> None:
        """Refuse early what `create` would refuse.

        Raises:
            OutputDirectoryError: when the path is a file, or a directory that is not empty and may not be replaced.
        """
        _DIRECTORY.check(path, force=force)

    @classmethod
    def create(cls, path: Path, grid: Grid, *, force: bool) -> SweepDirectory:
        """A new directory with the sweep's definition in it.

        Raises:
            OutputDirectoryError: as `check`, or when it cannot be written.
        """
        definition = {
            "seeds": grid.seeds,
            "grid": {axis.key: list(axis.values) for axis in grid.axes},
            "config": grid.base.model_dump(mode="json", exclude_none=True, exclude_unset=True),
        }
        _DIRECTORY.create(path, tomli_w.dumps(definition), force=force)
        return cls(path)

    @classmethod
    def reopen(cls, path: Path) -> tuple[SweepDirectory, Grid]:
        """An earlier sweep's directory and definition.

        Raises:
            OutputDirectoryError: when there is no sweep in it.
        """
        if not (path / _DEFINITION).is_file():
            raise OutputDirectoryError(f"--resume: {path} holds no sweep; expected a directory with {_DEFINITION}")
        try:
            read = tomllib.loads((path / _DEFINITION).read_text(encoding="utf-8"))
            axes = tuple(Axis(key, tuple(values)) for key, values in read["grid"].items())
            return cls(path), Grid(with_settings(RunConfig(), read["config"]), axes, read["seeds"])
        except (ConfigError, KeyError, OSError, ValueError) as error:
            raise OutputDirectoryError(f"--resume: {path / _DEFINITION} is not what a sweep wrote: {error}") from error

    def locked(self) -> AbstractContextManager[None]:
        """Keep other sweeps out of this directory; raises OutputDirectoryError when another one is in it."""
        return exclusive(self.path)

    def cell(self, cell: Cell) -> Path:
        """Its run directory."""
        return self.path / "cells" / cell.name

    @property
    def log(self) -> Path:
        """Whatever cells print, and the tracebacks of those that fail."""
        return self.path / "sweep.log"

    def summary(self, one: PreparedCell) -> dict[str, Any] | None:
        """What a cell that is complete wrote last.

        Raises:
            OutputDirectoryError: when it was run on other data.
        """
        run = self.cell(one.cell)
        if not (run / "summary.json").is_file():
            return None
        summary: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        if report["composition"]["population"] != one.prepared.task.population:
            raise OutputDirectoryError(f"--resume: {run} was run on other data than there are now; start a new sweep")
        return summary

    def open_cell(self, cell: Cell) -> RunDirectory:
        """Its run directory as it is, or a new one.

        Raises:
            OutputDirectoryError: when another configuration was run in it, or it cannot be written.
        """
        path = self.cell(cell)
        if not (path / "config.toml").is_file():
            return RunDirectory.create(path, cell.config, force=True)
        directory, config = RunDirectory.reopen(path, {})
        if config != cell.config:
            raise OutputDirectoryError(f"{path}: holds a run of another configuration; remove it")
        return directory
