"""What else repeats a report's figures: the summary of a run and the card of a model, both recomputable from here."""

from __future__ import annotations

import math
from typing import Any

from privacy.report.model import EpsilonReport
from privacy.task.task import TaskSpec


def card_marking(task: TaskSpec, report: EpsilonReport) -> dict[str, Any]:
    """Return a model card's words for what is claimed, and what the model is not: a real release, of real devices."""
    stated, claim = report.extrapolation, report.claim
    extrapolated = {} if stated is None else {"extrapolation": stated.statement}
    known = {} if claim.known_cohorts_epsilon is None else {"device_epsilon_known_cohorts": claim.known_cohorts_epsilon}
    return {
        "device_epsilon": claim.epsilon,
        **known,
        "delta": claim.delta,
        "holds_against": claim.holds_against,
        "hypothetical": report.hypothetical,
        "trusted_aggregator": task.simulation.trusted_aggregator,
        "extrapolated": stated is not None,
        **extrapolated,
    }


def summary_figures(task: TaskSpec, report: EpsilonReport) -> dict[str, Any]:
    """Return the figures of a run's summary that its report states; None stands for no bound.

    `device_epsilon_known_cohorts` is None also where nothing was sampled, and `device_epsilon` holds towards all.
    The two guarantees stand apart, and the epsilon of a fleet that the run stands for is never `device_epsilon`.
    """
    known = report.claim.known_cohorts_epsilon
    return {
        "device_epsilon": finite(report.spend.device.epsilon),
        "device_epsilon_known_cohorts": known and finite(known),
        "holds_against": report.claim.holds_against,
        "message_epsilon": finite(report.spend.message.all_participations),
        "message_epsilon_one_participation": finite(report.spend.message.one_participation),
        "delta": task.budget.delta,
        "noise_multiplier": task.mechanism.noise_multiplier,
        **_fleet_figures(report),
    }


def _fleet_figures(report: EpsilonReport) -> dict[str, Any]:
    extrapolation = report.extrapolation
    if extrapolation is None:
        return {"extrapolated": False}
    return {
        "extrapolated": True,
        "extrapolation": extrapolation.statement,
        "fleet_epsilon": finite(extrapolation.spend.epsilon),
        "fleet_population": extrapolation.population,
        "fleet_cohort": round(float(extrapolation.cohort)),
        "fleet_shards": extrapolation.shards,
        "fleet_noise_multiplier": float(extrapolation.noise_multiplier),
    }


def finite(number: str) -> float | None:
    """Return a report's number for JSON, which has no infinity: None stands for no guarantee."""
    value = float(number)
    return value if math.isfinite(value) else None
