"""Everything that can be known about a sweep's cells before one of them trains."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from privacy.accounting.events import round_event
from simulations.config.config import ConfigError
from simulations.data.errors import DataError
from simulations.population import build
from simulations.processes.workers import one_thread
from simulations.runs.run import Prepared, prepare
from simulations.sweep.grid import Cell
from simulations.terminal.console import Bar
from simulations.training.engines import EngineError

_SHOWN = 5


@dataclass(frozen=True)
class PreparedCell:
    """A cell whose data were read and whose noise was calibrated."""

    cell: Cell
    prepared: Prepared = field(repr=False)

    @property
    def accounting(self) -> str:
        """The key of what a cell computes about epsilon, most of a small run: a process does it once for each key."""
        task = self.prepared.task
        return repr((round_event(task, 1), task.rounds, task.budget.delta))


def prepare_all(cells: Sequence[Cell]) -> list[PreparedCell]:
    """Read the data, once for all cells that have them in common, and calibrate the noise.

    Raises:
        ConfigError: when some cells cannot be run; the message names them.
    """
    one_thread()
    data_of = functools.cache(build)
    prepared: list[PreparedCell] = []
    refused: list[str] = []
    with Bar("preparing", len(cells)) as bar:
        for done, cell in enumerate(cells, 1):
            try:
                prepared.append(PreparedCell(cell, prepare(cell.config, data_of)))
            except (ConfigError, DataError, EngineError) as error:
                refused.append(f"{cell.label}: {error}")
            bar.show(done, f"cell {done} of {len(cells)}")
    if refused:
        raise ConfigError(_refusal(refused, len(cells)))
    return prepared


def _refusal(refused: list[str], cells: int) -> str:
    more = [f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
    listed = "\n  ".join([*refused[:_SHOWN], *more])
    return f"--grid: {len(refused)} of {cells} cells cannot be run, so none was started:\n  {listed}"
