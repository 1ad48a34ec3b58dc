"""What a finished run leaves behind: a published model, its report, curves and a summary."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_client.training.models import initial_weights
from fl_server.publishing.publish import publish_model, run_facts, versions
from fl_server.publishing.registry import Registry
from fl_server.training.coordinator import Result
from privacy.audit import audit_part
from privacy.base.signing import Signer
from privacy.ledger.ledger import Ledger
from privacy.report.build import EpsilonReport, render_html
from privacy.report.model import AuditPart
from privacy.task.task import TaskSpec
from simulations.config.config import RunConfig
from simulations.evaluation.attack_success import reach
from simulations.evaluation.metrics import best_threshold, evaluate
from simulations.evaluation.scorer import Scorer
from simulations.population import FederationData
from simulations.randomness import SeedTree
from simulations.runs.canaries import MessageCanary, audit_message
from simulations.runs.plots import draw_curves
from simulations.runs.rundir import RunDirectory

_PACKAGES = ("havenfl", "torch", "opacus", "flwr", "numpy", "cryptography", "dp-accounting")
_MESSAGE_TRIALS = 500
"""Local trainings with the canary, and without: seconds."""


@dataclass(frozen=True)
class Outputs:
    """The files of one run, written anew each time: they depend on the run alone."""

    config: RunConfig
    task: TaskSpec
    data: FederationData
    directory: RunDirectory

    def write(self, result: Result, ledger: Ledger, operator: Signer, scorer: Scorer) -> dict[str, Any]:
        """Publish, then report, draw and sum up; returns the summary."""
        weights, lines = result.state.weights, self.directory.metrics()
        calibration = scorer.scores(weights, self.data.calibration.features)
        threshold = best_threshold(self.data.calibration.labels, calibration)
        publication = publish_model(
            Registry(self.directory.release),
            task=self.task,
            weights=weights,
            card=self._card(threshold, result),
            ledger=ledger,
            facts=replace(run_facts(lines, _PACKAGES), audits=self._message_audits()),
            operator=operator,
            rng=self._seed.child("mechanism").stream(),
        )
        self.directory.write("report.json", publication.report.canonical().decode())
        self.directory.write("report.html", render_html(publication.report))
        draw_curves(lines, self.task, self.directory.curves)
        summary = {
            **self._quality(threshold, scorer.scores(weights, self.data.test.features)),
            "calibration": asdict(evaluate(self.data.calibration.labels, calibration, threshold)),
            **self._privacy(publication.report),
            **_fleet(publication.report),
            **reach(self.config, self.task, lines),
            "rounds": result.round,
            "rounds_without_release": sum(line["aborted"] is not None for line in lines),
            "ended": str(result.ended),
            "aggregation": self.config.server.aggregation,
            "cohort": self.config.server.cohort,
            **self.data.counts(),
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
        """Of the first device that has messages, one of them the canary; nothing where none is protected."""
        population, last = self.data.population, self.task.rounds
        if not self.task.training.message_noise or population.empty_devices == population.devices:
            return ()
        held = (population.of(device, last) for device in range(population.devices))
        messages = next(examples for examples in held if len(examples))
        start = initial_weights(self.task.model.architecture, self.task.features, self._seed.child("weights").integer())
        canary = MessageCanary(self.task, start, messages, 0)
        return (audit_part(audit_message(canary, _MESSAGE_TRIALS, self._seed.child("message"))),)

    def _card(self, threshold: float, result: Result) -> dict[str, Any]:
        return {
            "threshold": threshold,
            "threshold_chosen_on": f"{len(self.data.calibration)} messages of calibration users, not charged",
            "rounds": result.round,
        }

    def _quality(self, threshold: float, scores: NDArray[np.float64]) -> dict[str, Any]:
        """On test users, whom training never saw; `novel`: on texts that training never saw either."""
        labels, novel = self.data.test.labels, self.data.novel
        unseen = evaluate(labels[novel], scores[novel], threshold)
        return {**asdict(evaluate(labels, scores, threshold)), "novel": asdict(unseen), "threshold": threshold}

    def _privacy(self, report: EpsilonReport) -> dict[str, Any]:
        """The two guarantees, apart; None stands for no bound."""
        return {
            "device_epsilon": finite(report.spend.device.epsilon),
            "message_epsilon": finite(report.spend.message.all_participations),
            "message_epsilon_one_participation": finite(report.spend.message.one_participation),
            "delta": self.task.budget.delta,
            "noise_multiplier": self.task.mechanism.noise_multiplier,
        }


def _fleet(report: EpsilonReport) -> dict[str, Any]:
    """Of the fleet that the run stands for, if it does; never to be taken for `device_epsilon`."""
    stated = report.extrapolation
    if stated is None:
        return {"extrapolated": False}
    return {
        "extrapolated": True,
        "extrapolation": stated.statement,
        "fleet_epsilon": finite(stated.spend.epsilon),
        "fleet_population": stated.population,
        "fleet_cohort": round(float(stated.cohort)),
        "fleet_shards": stated.shards,
        "fleet_noise_multiplier": float(stated.noise_multiplier),
    }


def finite(number: str) -> float | None:
    """None stands for no guarantee: JSON has no infinity."""
    value = float(number)
    return value if math.isfinite(value) else None
