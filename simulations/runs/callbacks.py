"""Watches a run: evaluates each model, writes the round's line, and tells the terminal."""

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
from simulations.evaluation.attack_success import success
from simulations.evaluation.metrics import Metrics, Scorer, evaluate
from simulations.federation.devices import Records
from simulations.population import FederationData
from simulations.runs.rundir import RunDirectory
from simulations.terminal.console import Progress, Spent, figures
from strategies.fedavg import ModelState

_MIDDLE = 0.5
"""Threshold of the curves; the published model's is chosen on the calibration users."""


@dataclass(frozen=True)
class RunContext:
    """What a run is watched with."""

    task: TaskSpec
    data: FederationData
    scorer: Scorer
    records: Records
    directory: RunDirectory
    progress: Progress
    log: Logger


class RunCallbacks:
    """Implements `fl_server.training.coordinator.Callbacks` for a run directory."""

    def __init__(self, watch: RunContext) -> None:
        self._watch = watch
        self._since = time.perf_counter()

    def round_ended(self, report: RoundReport, state: ModelState) -> None:
        """One line in `metrics.jsonl`, one in the log, and the bar."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        watch, test = self._watch, self._watch.data.test
        metrics = evaluate(test.labels, watch.scorer.scores(state.weights, test.features), _MIDDLE)
        attacked = success(watch.data, watch.scorer, state.weights)
        spent = _spent(watch.task, report)
        watch.directory.append_metrics({**_line(report, metrics, seconds), **spent.fields(), **attacked})
        watch.log.info("%s", _sentence(report, metrics, spent))
        watch.progress.round_ended(report.round, figures(metrics, spent, report.facts.invited / seconds))

    def extra_state(self) -> dict[str, NDArray[np.int64]]:
        """What devices remember, so that a resumed run has the same devices."""
        return self._watch.records.arrays()


def _spent(task: TaskSpec, report: RoundReport) -> Spent:
    """A fleet's epsilon is that of all rounds so far: which of them were charged, the report counts in the end."""
    if task.simulation.fleet is None:
        return Spent(report.epsilon, task.budget.epsilon)
    return Spent(report.epsilon, task.simulation.fleet.epsilon, fleet_epsilon(task, report.round))


def _line(report: RoundReport, metrics: Metrics, seconds: float) -> dict[str, Any]:
    quality = {"loss": metrics.loss, "auroc": metrics.auroc, "pr_auc": metrics.pr_auc}
    return {**report.line(), **quality, "seconds": round(seconds, 3)}


def _sentence(report: RoundReport, metrics: Metrics, spent: Spent) -> str:
    if report.aborted:
        return f"round {report.round}: no release, nothing revealed: {report.aborted}"
    survivors = report.release.survivors if report.release else 0
    return (
        f"round {report.round}: {survivors} of {report.facts.invited} devices in the sum, "
        f"{spent.in_words()}, loss {metrics.loss or 0:.4f}, AUROC {metrics.auroc or 0:.4f}"
    )
