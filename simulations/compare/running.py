"""The run of a comparison: for each seed two federations, then what is not federated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from simulations.compare.baseline_context import BaselineContext
from simulations.compare.central import central, central_dp
from simulations.compare.grids import DP_RATES, RATES, SCHEDULES
from simulations.compare.local_only import local_only
from simulations.compare.methods import FEDERATED, NOISELESS, Method, Trial
from simulations.compare.pooling import pooled
from simulations.compare.preparing import PreparedSeed, prepare_all
from simulations.config.config import RunConfig
from simulations.config.paths import relative_to
from simulations.evaluation.metrics import HEADLINE_METRICS
from simulations.outdir import ManagedDirectory, exclusive
from simulations.processes.workers import one_thread
from simulations.runs.run import Prepared, Supervision, execute
from simulations.runs.rundir import RunDirectory
from simulations.terminal.console import Bar, StopAfterRound

_DIRECTORY = ManagedDirectory("fl-sim compare", "compare.toml", "give another path, or replace it with --force")
_TICKS = len(RATES) + len(SCHEDULES) * len(DP_RATES) + len(RATES) + 1
"""How many pieces of work a seed takes, beside the rounds of its federations."""


class Stopped(Exception):
    """Somebody asked to stop before the end."""


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        path: its directory.
        base: the configuration that it started from.
        prepared: its seeds.
        trials: in the order in which they were run: seed after seed, methods in their order.
    """

    path: Path
    base: RunConfig
    prepared: Sequence[PreparedSeed] = field(repr=False)
    trials: Sequence[Trial]


def start(base: RunConfig, seeds: int, out: Path, *, force: bool) -> Comparison:
    """Run a comparison in a new directory, with the federations' run directories in it.

    Args:
        base: the federation's configuration, with a seed, from which the others count.
        seeds: how many there are.
        out: the directory.
        force: whether an earlier comparison in it may be replaced.

    Raises:
        ConfigError: when the configuration cannot be compared; before anything is written, as the next three.
        DataError: when the data cannot be used.
        EngineError: when no engine can train the task.
        OutputDirectoryError: when the directory cannot be used.
        RunError: when a federation fails on its way.
        NothingTrained: when a baseline diverges at every setting.
        Stopped: when Ctrl-C was pressed.
    """
    _DIRECTORY.check(out, force=force, inputs=base.inputs)
    one_thread()
    prepared = prepare_all(base, seeds)
    values = base.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    definition = {"seeds": seeds, "config": relative_to(out, values)}
    _DIRECTORY.create(out, tomli_w.dumps(definition), force=force)
    total = sum(2 * seed.task.rounds + _TICKS for seed in prepared)
    with exclusive(out), Bar("compare", total) as bar, StopAfterRound(bar.note) as stop:
        work = _Work(out, bar, stop.requested)
        return Comparison(out, base, prepared, [trial for seed in prepared for trial in work.trials(seed)])


@dataclass
class _Work:
    """A comparison on its way: it counts what is done, and stops between two pieces of it."""

    out: Path
    bar: Bar = field(repr=False)
    stop_requested: Callable[[], bool] = field(repr=False)
    begun: int = 0

    def trials(self, prepared: PreparedSeed) -> Iterator[Trial]:
        seed = prepared.seed
        yield self._federated(FEDERATED, prepared.federated, self.out / f"federated-{seed}")
        yield self._federated(NOISELESS, prepared.noiseless, self.out / f"federated-without-noise-{seed}")
        context = BaselineContext.of(prepared)
        messages = pooled(context.held)
        yield central(context, messages, seed, self.tick)
        yield central_dp(context, messages, prepared.schedules, seed, self.tick)
        yield local_only(context, seed, self.tick)

    def tick(self, line: str) -> None:
        """Show that one more piece of work begins.

        Raises:
            Stopped: when somebody asked to stop.
        """
        if self.stop_requested():
            raise Stopped
        self.bar.show(self.begun, line)
        self.begun += 1

    def _federated(self, method: Method, prepared: Prepared, path: Path) -> Trial:
        directory = RunDirectory.create(path, prepared.config, force=False, sources=prepared.data.sources)
        callbacks = _Callbacks(self, method.label)
        summary = execute(prepared, directory, Supervision(1, callbacks, self.stop_requested)).summary
        if summary is None:
            raise Stopped
        return Trial(
            method=method,
            seed=prepared.config.seed or 0,
            metrics={name: summary[name] for name in HEADLINE_METRICS},
            epsilon=summary["device_epsilon"],
            seconds=summary["seconds"],
            setting=_setting(summary),
        )


@dataclass(frozen=True)
class _Callbacks:
    """A `simulations.terminal.console.Progress` for which a round is a tick; notes are in the run's log."""

    work: _Work = field(repr=False)
    label: str

    def resumed_at(self, round_number: int) -> None:
        """Do nothing: runs of a comparison begin at their beginning."""

    def round_ended(self, round_number: int, figures: str) -> None:
        """Count a round as done, and show it."""
        self.work.begun += 1
        self.work.bar.show(self.work.begun, f"{self.label}, round {round_number}  {figures}")

    def note(self, text: str) -> None:
        """Do nothing."""


def _setting(summary: dict[str, Any]) -> str:
    noise = summary["noise_multiplier"]
    return f"as configured, {summary['rounds']} rounds, noise multiplier {noise:g}"
