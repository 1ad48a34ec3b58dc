"""The directory of a sweep: its definition, its cells' run directories, its results."""

from __future__ import annotations

import json
import tomllib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from simulations.config.config import ConfigError, RunConfig, with_settings
from simulations.config.paths import below, relative_to
from simulations.outdir import Inputs, ManagedDirectory, OutputDirectoryError, exclusive
from simulations.runs.rundir import RunDirectory
from simulations.sweep.grid import Axis, Cell, Grid
from simulations.sweep.preparing import PreparedCell

_DEFINITION = "sweep.toml"
_DIRECTORY = ManagedDirectory(
    "fl-sim sweep", _DEFINITION, "go on with `fl-sim sweep --resume {path}`, or replace it with --force"
)


@dataclass(frozen=True)
class SweepDirectory:
    """The files of a sweep."""

    path: Path

    @classmethod
    def check(cls, path: Path, *, force: bool, inputs: Inputs) -> None:
        """See `ManagedDirectory.check`."""
        _DIRECTORY.check(path, force=force, inputs=inputs)

    @classmethod
    def create(cls, path: Path, grid: Grid, *, force: bool) -> SweepDirectory:
        """Make a new directory with the sweep's definition in it.

        Args:
            path: the directory.
            grid: the definition.
            force: whether an earlier sweep in it may be replaced.

        Raises:
            OutputDirectoryError: when `check` refuses the path, or it cannot be written.
        """
        definition = {
            "seeds": grid.seeds,
            "grid": {axis.key: list(axis.values) for axis in grid.axes},
            "config": relative_to(path, grid.base.model_dump(mode="json", exclude_none=True, exclude_unset=True)),
        }
        _DIRECTORY.create(path, tomli_w.dumps(definition), force=force)
        return cls(path)

    @classmethod
    def reopen(cls, path: Path) -> tuple[SweepDirectory, Grid]:
        """Return an earlier sweep's directory and definition.

        Raises:
            OutputDirectoryError: when there is no sweep in the path, or its definition cannot be read.
        """
        if not (path / _DEFINITION).is_file():
            raise OutputDirectoryError(f"--resume: {path} holds no sweep; expected a directory with {_DEFINITION}")
        try:
            read = tomllib.loads((path / _DEFINITION).read_text(encoding="utf-8"))
            axes = tuple(Axis(key, tuple(values)) for key, values in read["grid"].items())
            return cls(path), Grid(
                with_settings(RunConfig(), below(path.resolve(), read["config"])), axes, read["seeds"]
            )
        except (ConfigError, KeyError, OSError, ValueError) as error:
            raise OutputDirectoryError(f"--resume: {path / _DEFINITION} is not what a sweep wrote: {error}") from error

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes out of this directory: see `simulations.outdir.exclusive`."""
        return exclusive(self.path)

    def cell(self, cell: Cell) -> Path:
        """Return the path of a cell's run directory."""
        return self.path / "cells" / cell.name

    @property
    def log(self) -> Path:
        """The file of whatever cells print, and of the tracebacks of those that fail."""
        return self.path / "sweep.log"

    def summary(self, cell: PreparedCell) -> dict[str, Any] | None:
        """Return the summary of a cell; None where it is not complete.

        Raises:
            DataError: when a file of its data has changed.
            OutputDirectoryError: when the cell was run on other generated messages.
        """
        run = self.cell(cell.cell)
        if not (run / "summary.json").is_file():
            return None
        RunDirectory(run).refuse_changed(cell.prepared.data.sources)
        summary: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        if report["composition"]["population"] != cell.prepared.task.population:
            raise OutputDirectoryError(f"--resume: {run} was run on other data than there are now; start a new sweep")
        return summary

    def open_cell(self, cell: PreparedCell) -> RunDirectory:
        """Open a cell's run directory as it is, or make a new one.

        Raises:
            DataError: when a file of its data has changed.
            OutputDirectoryError: when another configuration was run in the directory, or it cannot be written.
        """
        path, config = self.cell(cell.cell), cell.cell.config
        if not (path / "config.toml").is_file():
            return RunDirectory.create(path, config, force=True, sources=cell.prepared.data.sources)
        directory, before = RunDirectory.reopen(path, {})
        if before.wherever_its_data_lie != config.wherever_its_data_lie:
            raise OutputDirectoryError(f"{path}: holds a run of another configuration; remove it")
        directory.refuse_changed(cell.prepared.data.sources)
        return directory
