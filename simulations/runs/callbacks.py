"""Callbacks of a run: evaluate each model, write the round's line, and show it on the terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from logging import Logger
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_server.training.coordinator import RoundReport
from privacy.accounting.extrapolation import fleet_epsilon
from privacy.task.task import TaskSpec
from simulations.evaluation.metrics import Metrics, Scorer, evaluate, success
from simulations.federation.devices import Records
from simulations.population import FederationData
from simulations.runs.rundir import RunDirectory
from simulations.terminal.console import Progress, Spent, figures
from strategies.fedavg import ModelState

_MIDDLE = 0.5
"""Threshold of the curves; that of the published model is chosen on the calibration users."""


@dataclass(frozen=True)
class RunContext:
    """The parts of a run that its callbacks need.

    Attributes:
        task: what the devices are asked to do.
        data: the population, its test users among it.
        scorer: evaluates models.
        records: what the devices remember.
        directory: where the round's line goes.
        progress: is told of each round.
        log: of the run.
    """

    task: TaskSpec
    data: FederationData
    scorer: Scorer
    records: Records
    directory: RunDirectory
    progress: Progress
    log: Logger


class RunCallbacks:
    """Callbacks that keep a run directory; implements `fl_server.training.coordinator.Callbacks`."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._since = time.perf_counter()
        self._waits_for = 0

    def round_waits(self, number: int, reason: str) -> None:
        """Tell, once a round, that its draw is put off."""
        if self._waits_for != number:
            told = f"round {number} waits, and is not used up: {reason}"
            self._context.log.info("%s", told)
            self._context.progress.note(told)
        self._waits_for = number

    def round_ended(self, report: RoundReport, state: ModelState) -> None:
        """Write a line to `metrics.jsonl` and one to the log, and move the bar on."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        context, test = self._context, self._context.data.test
        metrics = evaluate(test.labels, context.scorer.scores(state.weights, test.features), _MIDDLE)
        attacked = success(context.data, context.scorer, state.weights)
        spent = _spent(context.task, report)
        context.directory.append_metrics({**_line(report, metrics, seconds), **spent.fields(), **attacked})
        context.log.info("%s", _sentence(report, metrics, spent))
        context.progress.round_ended(report.round, figures(metrics, spent, _speed(report, seconds)))

    def extra_state(self) -> dict[str, NDArray[np.int64]]:
        """Return what devices remember, so that a resumed run has the same devices."""
        return self._context.records.arrays()


def _spent(task: TaskSpec, report: RoundReport) -> Spent:
    """Return the epsilon so far.

    A fleet's is that of all rounds so far: which of them were charged, the report counts in the end.
    """
    if task.simulation.fleet is None:
        return Spent(report.epsilon, task.budget.epsilon)
    return Spent(report.epsilon, task.simulation.fleet.epsilon, fleet_epsilon(task, report.round))


def _line(report: RoundReport, metrics: Metrics, seconds: float) -> dict[str, Any]:
    quality = {"loss": metrics.loss, "auroc": metrics.auroc, "pr_auc": metrics.pr_auc}
    return {**report.line(), **quality, "seconds": round(seconds, 3)}


def _sentence(report: RoundReport, metrics: Metrics, spent: Spent) -> str:
    if report.aborted:
        return f"round {report.round}: no release, nothing revealed: {report.aborted}"
    told, release = report.told, report.release
    counts = f"{release.survivors} of {told.invited} devices in the sum, " if told and release else ""
    return (
        f"round {report.round}: {counts}"
        f"{spent.in_words()}, loss {metrics.loss or 0:.4f}, AUROC {metrics.auroc or 0:.4f}"
    )


def _speed(report: RoundReport, seconds: float) -> str:
    """Return how fast devices were worked on, unless it would tell how many there were."""
    return "" if report.told is None else f"{report.told.invited / seconds:.0f} devices/s"
