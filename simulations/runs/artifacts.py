"""The outputs of a finished run: a published model, its report, curves and a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fl_client.training.models import start_weights
from fl_server.publishing.publish import publish_model, run_facts, versions
from fl_server.publishing.registry import Registry
from fl_server.training.coordinator import Result
from privacy.audit import audit_part
from privacy.base.signing import Signer
from privacy.ledger.ledger import Ledger
from privacy.report.build import render_html
from privacy.report.figures import summary_figures
from privacy.report.model import AuditPart
from privacy.task.task import Fleet, TaskSpec
from simulations.config.config import PlannedRun
from simulations.evaluation.diagnostics import diagnostics
from simulations.evaluation.interval import METHOD, auroc_interval
from simulations.evaluation.marks import marks_of
from simulations.evaluation.metrics import Scorer, best_threshold, evaluate, reach
from simulations.population import FederationData
from simulations.randomness import SeedTree
from simulations.runs.canaries import MessageCanary, audit_message
from simulations.runs.rundir import RunDirectory
from simulations.training.engines.reference import EngineOf

_PACKAGES = ("havenfl", "torch", "opacus", "flwr", "numpy", "cryptography", "dp-accounting")
_MESSAGE_TRIALS = 500
"""How many local trainings an audit does with the canary, and as many without; they take seconds."""


@dataclass(frozen=True)
class Outputs:
    """The files of one run, written anew each time: they depend on the run alone.

    Attributes:
        config: what the run was told to do.
        task: what its devices were asked to do.
        data: its population, its test users and its calibration users.
        engine: trains devices as the run did.
        directory: where the files go.
    """

    config: PlannedRun
    task: TaskSpec
    data: FederationData
    engine: EngineOf
    directory: RunDirectory

    def write(self, result: Result, ledger: Ledger, operator: Signer, scorer: Scorer) -> dict[str, Any]:
        """Publish the model, then write report, curves and summary.

        Args:
            result: the model, and how the run ended.
            ledger: what the run was charged.
            operator: signs the release.
            scorer: evaluates the model.

        Returns:
            The summary, as in `summary.json`.

        Raises:
            NotReleased: when no round released anything; only the curves are written then.
        """
        weights, lines = result.state.weights, self.directory.metrics()
        scores = scorer.scores(weights, self.data.test.features)
        calibration = scorer.scores(weights, self.data.calibration.features)
        threshold = best_threshold(self.data.calibration.labels, calibration)
        tested = {**self._quality(threshold, scores), **self.data.counts()}
        marks = [asdict(mark) for mark in marks_of(tested, lines)]
        draw_curves(lines, self.task, self.directory.curves, [mark["code"] for mark in marks])
        publication = publish_model(
            Registry(self.directory.release),
            task=self.task,
            result=result,
            card=self._card(tested, marks),
            ledger=ledger,
            facts=replace(run_facts(lines, _PACKAGES), audits=self._message_audits()),
            operator=operator,
            rng=self._seed.child("mechanism").stream(),
        )
        self.directory.write("report.json", publication.report.canonical().decode())
        self.directory.write("report.html", render_html(publication.report))
        summary = {
            **tested,
            "marks": marks,
            "calibration": asdict(evaluate(self.data.calibration.labels, calibration, threshold)),
            **summary_figures(self.task, publication.report),
            **reach(self.config, self.task, lines),
            "rounds": result.round,
            "rounds_released": publication.rounds_released,
            "ended": str(result.ended),
            "aggregation": self.config.server.aggregation,
            "cohort": self.config.server.cohort,
            "diagnostics": self._diagnostics(scores),
            "seconds": round(sum(line["seconds"] for line in lines), 2),
            "seed": self.config.seed,
            "release": publication.version.name,
            "versions": versions(_PACKAGES),
        }
        self.directory.write_json("summary.json", summary)
        return summary

    @property
    def _seed(self) -> SeedTree:
        return SeedTree.root(self.config.seed or 0).child("audit")

    def _message_audits(self) -> tuple[AuditPart, ...]:
        """Audit the first device that has messages, one of them the canary; nothing where none is protected."""
        population, last = self.data.population, self.task.rounds
        if not self.task.training.message_noise or population.empty_devices == population.devices:
            return ()
        held = (population.of(device, last) for device in range(population.devices))
        messages = next(examples for examples in held if len(examples))
        canary = MessageCanary(self.task, start_weights(self.task), messages, 0)
        return (audit_part(audit_message(canary, _MESSAGE_TRIALS, self._seed.child("message"))),)

    def _diagnostics(self, scores: NDArray[np.float64]) -> dict[str, Any]:
        return diagnostics(self.task, self.engine(self.task), start_weights(self.task), self.data, scores)

    def _card(self, tested: Mapping[str, Any], marks: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        counts = ("test_messages", "test_positives", "test_users", "test_users_with_positives")
        return {
            "threshold": tested["threshold"],
            "threshold_chosen_on": f"{len(self.data.calibration)} messages of calibration users, not charged",
            "test": {name: tested[name] for name in ("auroc", "auroc_interval", "auroc_interval_method", *counts)},
            "marks": list(marks),
        }

    def _quality(self, threshold: float, scores: NDArray[np.float64]) -> dict[str, Any]:
        """Evaluate scores of test users, whom training never saw; `novel`, on texts that it never saw either."""
        labels, novel = self.data.test.labels, self.data.novel
        unseen = evaluate(labels[novel], scores[novel], threshold)
        interval = auroc_interval(labels, scores, self.data.test_users)
        return {
            **asdict(evaluate(labels, scores, threshold)),
            "auroc_interval": None if interval is None else list(interval),
            "auroc_interval_method": METHOD,
            "novel": asdict(unseen),
            "threshold": threshold,
        }


_INK = "#1f3a5f"
_ACCENT = "#c8553d"


def draw_curves(lines: Sequence[Mapping[str, Any]], task: TaskSpec, path: Path, marks: Sequence[str] = ()) -> None:
    """Write the figure of `curves` as a PNG.

    Args:
        lines: of `metrics.jsonl`.
        task: what the run's devices were asked to do.
        path: of the file.
        marks: what is wrong with the model, written across the foot.
    """
    figure = curves(lines, task)
    if marks:
        figure.supxlabel(" · ".join(mark.replace("_", " ").upper() for mark in marks), color=_ACCENT, fontweight="bold")
    figure.savefig(path)


def curves(lines: Sequence[Mapping[str, Any]], task: TaskSpec) -> Figure:
    """Draw loss, AUROC and epsilon by round; of a run that stands for a fleet, the fleet's epsilon, marked all over.

    `lines` are those of `metrics.jsonl`. The task's budget, if it has one, is drawn as a line over epsilon.
    """
    fleet = task.simulation.fleet
    budget = task.budget.epsilon if fleet is None else fleet.epsilon
    attacked = any("attack_success" in line for line in lines)
    figure = Figure(figsize=(16 if attacked else 12, 3.6), layout="constrained", dpi=120)
    loss, auroc, epsilon, *attack = figure.subplots(1, 3 + attacked)
    _curve(loss, lines, "loss", "Loss on test users")
    _curve(auroc, lines, "auroc", "AUROC on test users")
    for axes in attack:
        _attack(axes, lines)
    if fleet is None:
        _curve(epsilon, lines, "epsilon", "Device-level ε spent")
        if task.simulation.trusted_aggregator:
            figure.suptitle("Simulated, with a trusted aggregator", color=_ACCENT, fontsize=12, fontweight="bold")
    else:
        _curve(epsilon, lines, "fleet_epsilon", "Extrapolated ε in a fleet")
        _mark(figure, fleet)
    if budget is not None:
        epsilon.axhline(budget, color=_ACCENT, linestyle="--", linewidth=1.2, label=f"budget {budget:g}")
        epsilon.legend(frameon=False, loc="lower right")
        epsilon.set_ylim(0, budget * 1.1)
    return figure


def _mark(figure: Figure, fleet: Fleet) -> None:
    cohort = f"{fleet.participation.expected_cohort:,.0f} of {fleet.population:,}"
    title = f"EXTRAPOLATED to cohorts of {cohort} devices: hypothetical, charged to nobody"
    figure.suptitle(title, color=_ACCENT, fontsize=12, fontweight="bold")
    figure.text(0.5, 0.5, "EXTRAPOLATED", color=_ACCENT, alpha=0.15, fontsize=70, rotation=12, ha="center", va="center")


def _attack(axes: Axes, lines: Sequence[Mapping[str, Any]]) -> None:
    rounds = [line["round"] for line in lines]
    axes.plot(rounds, [line["missed"] for line in lines], color=_INK, linewidth=1.8, label="as written")
    axes.plot(
        rounds, [line["attack_success"] for line in lines], color=_ACCENT, linewidth=1.8, label="as attackers send it"
    )
    axes.set_title("Abuse let through", loc="left", fontsize=11)
    axes.set_xlabel("round")
    axes.set_ylim(0, 1)
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _curve(axes: Axes, lines: Sequence[Mapping[str, Any]], key: str, title: str) -> None:
    points = [(line["round"], line[key]) for line in lines if line[key] is not None]
    axes.plot([x for x, _ in points], [y for _, y in points], color=_INK, linewidth=1.8)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("round")
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
