"""Runs a comparison: for each seed two federations, then what is not federated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from simulations.compare.baseline_context import BaselineContext
from simulations.compare.central import central, central_dp
from simulations.compare.grids import DP_RATES, RATES, SCHEDULES
from simulations.compare.local_only import alone
from simulations.compare.methods import FEDERATED, METRICS, NOISELESS, Method, Trial
from simulations.compare.pooling import pooled
from simulations.compare.preparing import PreparedSeed, prepare_all
from simulations.config.config import RunConfig
from simulations.outdir import ManagedDirectory, exclusive
from simulations.processes.workers import one_thread
from simulations.runs.run import Prepared, Supervision, execute
from simulations.runs.rundir import RunDirectory
from simulations.terminal.console import Bar, StopAfterRound

_DIRECTORY = ManagedDirectory("fl-sim compare", "compare.toml", "give another path, or replace it with --force")
_TICKS = len(RATES) + len(SCHEDULES) * len(DP_RATES) + len(RATES) + 1
"""Of one seed, beside the rounds of its federations."""


class Stopped(Exception):
    """Somebody asked to stop before the end."""


@dataclass(frozen=True)
class Comparison:
    """Trials in the order in which they were run: seed after seed, contenders in their order."""

    path: Path
    base: RunConfig
    prepared: Sequence[PreparedSeed] = field(repr=False)
    trials: Sequence[Trial]


def start(base: RunConfig, seeds: int, out: Path, *, force: bool) -> Comparison:
    """A comparison in a new directory, with the federations' run directories in it.

    Args:
        base: with a seed, from which the others count.

    Raises:
        ConfigError, DataError, EngineError, OutputDirectoryError: bad input, before anything is written.
        RunError, NothingTrained: when a contender fails on its way.
        Stopped: by Ctrl-C.
    """
    _DIRECTORY.check(out, force=force)
    one_thread()
    prepared = prepare_all(base, seeds)
    definition = {"seeds": seeds, "config": base.model_dump(mode="json", exclude_none=True, exclude_unset=True)}
    _DIRECTORY.create(out, tomli_w.dumps(definition), force=force)
    total = sum(2 * one.task.rounds + _TICKS for one in prepared)
    with exclusive(out), Bar("compare", total) as bar, StopAfterRound(bar.note) as stop:
        work = _Work(out, bar, stop.requested)
        return Comparison(out, base, prepared, [trial for one in prepared for trial in work.trials(one)])


@dataclass
class _Work:
    """Counts what is done, and stops between two pieces of it."""

    out: Path
    bar: Bar = field(repr=False)
    stop_requested: Callable[[], bool] = field(repr=False)
    begun: int = 0

    def trials(self, prepared: PreparedSeed) -> Iterator[Trial]:
        seed = prepared.seed
        yield self._federated(FEDERATED, prepared.federated, self.out / f"federated-{seed}")
        yield self._federated(NOISELESS, prepared.noiseless, self.out / f"federated-without-noise-{seed}")
        ground = BaselineContext.of(prepared)
        messages = pooled(ground.held)
        yield central(ground, messages, seed, self.tick)
        yield central_dp(ground, messages, prepared.schedules, seed, self.tick)
        yield alone(ground, seed, self.tick)

    def tick(self, line: str) -> None:
        """One more piece of work begins.

        Raises:
            Stopped: when somebody asked for it.
        """
        if self.stop_requested():
            raise Stopped
        self.bar.show(self.begun, line)
        self.begun += 1

    def _federated(self, method: Method, prepared: Prepared, path: Path) -> Trial:
        directory = RunDirectory.create(path, prepared.config, force=False)
        watch = _Callbacks(self, method.label)
        summary = execute(prepared, directory, Supervision(1, watch, self.stop_requested)).summary
        if summary is None:
            raise Stopped
        return Trial(
            method=method,
            seed=prepared.config.seed or 0,
            metrics={name: summary[name] for name in METRICS},
            epsilon=summary["device_epsilon"],
            seconds=summary["seconds"],
            setting=_setting(summary),
        )


@dataclass(frozen=True)
class _Callbacks:
    """Implements `simulations.terminal.console.Progress`: a round is a tick, notes are in the run's log."""

    work: _Work = field(repr=False)
    label: str

    def resumed_at(self, round_number: int) -> None:
        """Never: runs of a comparison begin at their beginning."""

    def round_ended(self, round_number: int, figures: str) -> None:
        """Stopping is the run's own business."""
        self.work.begun += 1
        self.work.bar.show(self.work.begun, f"{self.label}, round {round_number}  {figures}")

    def note(self, text: str) -> None:
        """Not shown."""


def _setting(summary: dict[str, Any]) -> str:
    noise = summary["noise_multiplier"]
    return f"as configured, {summary['rounds']} rounds, noise multiplier {noise:g}"
