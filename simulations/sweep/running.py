"""Runs the cells of a sweep, one a core: each an ordinary run in a directory of its own."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulations.processes.jobs import Done, Job, JobContext, JobPool
from simulations.processes.workers import cores
from simulations.runs.run import Supervision, execute
from simulations.sweep.directory import SweepDirectory
from simulations.sweep.grid import Cell, Grid
from simulations.sweep.preparing import PreparedCell, prepare_all
from simulations.terminal.console import Bar, StopAfterRound


@dataclass(frozen=True)
class CellResult:
    """What became of a cell: a summary, or why there is none; neither when the sweep was stopped before its end."""

    cell: Cell
    summary: dict[str, Any] | None = None
    error: str = ""


@dataclass(frozen=True)
class SweepResult:
    """Cells and results are in the grid's order."""

    directory: SweepDirectory
    grid: Grid
    cells: tuple[PreparedCell, ...] = field(repr=False)
    results: tuple[CellResult, ...]

    @property
    def failed(self) -> list[CellResult]:
        return [one for one in self.results if one.error]

    @property
    def stopped(self) -> bool:
        """By Ctrl-C, with cells left to run."""
        return any(one.summary is None and not one.error for one in self.results)


def start(grid: Grid, out: Path, *, force: bool, workers: int | None) -> SweepResult:
    """A new sweep in a new directory.

    Raises:
        ConfigError, OutputDirectoryError: bad input, before anything is written.
    """
    SweepDirectory.check(out, force=force)
    cells = prepare_all(grid.cells())
    return _run(SweepDirectory.create(out, grid, force=force), grid, cells, workers)


def resume(path: Path, *, workers: int | None) -> SweepResult:
    """Go on with a sweep: complete cells are kept, the others go on after their last complete round.

    Raises:
        ConfigError, OutputDirectoryError: when there is no sweep, it cannot be run, or its data have changed.
    """
    directory, grid = SweepDirectory.reopen(path)
    return _run(directory, grid, prepare_all(grid.cells()), workers)


def _run(directory: SweepDirectory, grid: Grid, cells: Sequence[PreparedCell], workers: int | None) -> SweepResult:
    with directory.locked():
        results = {one.cell.number: CellResult(one.cell, directory.summary(one)) for one in cells}
        left = sorted((one for one in cells if not results[one.cell.number].summary), key=lambda one: one.accounting)
        jobs: list[Job] = [functools.partial(_run_cell, directory, one) for one in left]
        rounds = sum(one.prepared.task.rounds for one in left)
        with (
            JobPool(jobs, workers or cores(), directory.log) as pool,
            Bar("sweep", rounds) as bar,
            StopAfterRound(bar.note) as stop,
        ):
            for result in _results(pool, left, stop.requested, bar):
                results[result.cell.number] = result
    return SweepResult(directory, grid, tuple(cells), tuple(results[one.cell.number] for one in cells))


def _results(
    pool: JobPool, left: Sequence[PreparedCell], stop_requested: Callable[[], bool], bar: Bar
) -> Iterator[CellResult]:
    """As cells end, showing how far they are."""
    done, ended = Counter[int](), 0
    for said in pool.run(stop_requested):
        cell = left[said.job].cell
        if isinstance(said, Done):
            ended += 1
            if said.error:
                bar.note(f"failed: {cell.label}: {said.error}")
            done[said.job] = left[said.job].prepared.task.rounds
            yield CellResult(cell, said.result, said.error)
        else:
            done[said.job] = said.done
        bar.show(done.total(), f"{ended} of {len(left)} cells  {cell.label}")


def _run_cell(directory: SweepDirectory, one: PreparedCell, line: JobContext) -> dict[str, Any] | None:
    """The job of a worker; None when it was stopped."""
    supervision = Supervision(workers=1, progress=_Silent(line), stop_requested=line.stop_requested)
    return execute(one.prepared, directory.open_cell(one.cell), supervision).summary


@dataclass(frozen=True)
class _Silent:
    """Implements `Progress` for a worker: the bar is its parent's, notes are in the run's log."""

    line: JobContext

    def resumed_at(self, round_number: int) -> None:
        self.line.tell(round_number)

    def round_ended(self, round_number: int, figures: str) -> None:  # noqa: ARG002 - of no use here
        self.line.tell(round_number)

    def note(self, text: str) -> None:
        """Not shown."""
