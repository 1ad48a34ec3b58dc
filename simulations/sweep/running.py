"""Running the cells of a sweep, one a core: each an ordinary run in a directory of its own."""

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
    """What became of a cell; neither summary nor error when the sweep was stopped before its end.

    Attributes:
        cell: the cell.
        summary: as in its `summary.json`.
        error: why there is no summary, for people.
    """

    cell: Cell
    summary: dict[str, Any] | None = None
    error: str = ""


@dataclass(frozen=True)
class SweepResult:
    """What became of a sweep.

    Attributes:
        directory: its files.
        grid: what was swept.
        cells: its cells, in the grid's order.
        results: what became of them, in the same order.
    """

    directory: SweepDirectory
    grid: Grid
    cells: tuple[PreparedCell, ...] = field(repr=False)
    results: tuple[CellResult, ...]

    @property
    def failed(self) -> list[CellResult]:
        """Results of the cells that failed."""
        return [result for result in self.results if result.error]

    @property
    def stopped(self) -> bool:
        """Whether the sweep was stopped by Ctrl-C, with cells left to run."""
        return any(result.summary is None and not result.error for result in self.results)


def start(grid: Grid, out: Path, *, force: bool, workers: int | None) -> SweepResult:
    """Do a new sweep in a new directory.

    Args:
        grid: what to sweep.
        out: the directory.
        force: whether an earlier sweep in it is replaced.
        workers: how many processes; None for one a core.

    Raises:
        ConfigError, OutputDirectoryError: when the input is bad, before anything is written.
    """
    SweepDirectory.check(out, force=force, inputs=grid.base.inputs)
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
        results = {cell.cell.number: CellResult(cell.cell, directory.summary(cell)) for cell in cells}
        left = sorted(
            (cell for cell in cells if not results[cell.cell.number].summary), key=lambda cell: cell.accounting
        )
        jobs: list[Job] = [functools.partial(_run_cell, directory, cell) for cell in left]
        rounds = sum(cell.prepared.task.rounds for cell in left)
        with (
            JobPool(jobs, workers or cores(), directory.log) as pool,
            Bar("sweep", rounds) as bar,
            StopAfterRound(bar.note) as stop,
        ):
            for result in _results(pool, left, stop.requested, bar):
                results[result.cell.number] = result
    return SweepResult(directory, grid, tuple(cells), tuple(results[cell.cell.number] for cell in cells))


def _results(
    pool: JobPool, left: Sequence[PreparedCell], stop_requested: Callable[[], bool], bar: Bar
) -> Iterator[CellResult]:
    """Yield results as cells end, and show how far they are."""
    done, ended = Counter[int](), 0
    for message in pool.run(stop_requested):
        cell = left[message.job].cell
        if isinstance(message, Done):
            ended += 1
            if message.error:
                bar.note(f"failed: {cell.label}: {message.error}")
            done[message.job] = left[message.job].prepared.task.rounds
            yield CellResult(cell, message.result, message.error)
        else:
            done[message.job] = message.done
        bar.show(done.total(), f"{ended} of {len(left)} cells  {cell.label}")


def _run_cell(directory: SweepDirectory, cell: PreparedCell, context: JobContext) -> dict[str, Any] | None:
    """Run a cell in a worker and return its summary; None when it was stopped."""
    supervision = Supervision(workers=1, progress=_Silent(context), stop_requested=context.stop_requested)
    return execute(cell.prepared, directory.open_cell(cell), supervision).summary


@dataclass(frozen=True)
class _Silent:
    """The progress of a worker, whose parent has the bar and whose notes are in a log; implements `Progress`."""

    context: JobContext

    def resumed_at(self, round_number: int) -> None:
        """Report the last round that was complete before."""
        self.context.tell(round_number)

    def round_ended(self, round_number: int, figures: str) -> None:  # noqa: ARG002 - of no use here
        """Report a round."""
        self.context.tell(round_number)

    def note(self, text: str) -> None:
        """Show nothing."""
