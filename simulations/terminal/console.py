"""What a run shows on a terminal: a bar with the figures that matter. Nothing where there is no terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

from simulations.evaluation.metrics import Metrics


@dataclass(frozen=True)
class Spent:
    """Epsilon after a round.

    Attributes:
        own: of the devices of this run, as charged.
        budget: of the fleet, if the run stands for one; None where nothing limits it.
        fleet: what the same rounds would cost a device of that fleet.
    """

    own: float
    budget: float | None
    fleet: float | None = None

    def fields(self) -> dict[str, Any]:
        """For the round's line, which has its own epsilon already; an unbounded one is null."""
        if self.fleet is None:
            return {}
        return {"extrapolated": True, "fleet_epsilon": self.fleet if math.isfinite(self.fleet) else None}

    def in_words(self) -> str:
        """For the log."""
        own = f"epsilon {self.own:.10g}"
        return own if self.fleet is None else f"{own}, EXTRAPOLATED to a fleet {self.fleet:.10g}"

    def for_the_bar(self) -> str:
        """Of its budget."""
        shown, mark = (self.own, "") if self.fleet is None else (self.fleet, "EXTRAPOLATED ")
        return f"{mark}ε {rounded_up(shown)}" + ("" if self.budget is None else f"/{self.budget:g}")


def figures(metrics: Metrics, spent: Spent, devices_per_second: float) -> str:
    """The bar's text."""
    quality = f"loss {metrics.loss or 0:.3f}  AUROC {metrics.auroc or 0:.3f}"
    return f"{quality}  {spent.for_the_bar()}  {devices_per_second:.0f} devices/s"


def describe(summary: Mapping[str, Any], path: Path) -> str:
    """A finished run in a few lines."""
    central = summary["aggregation"] == "central"
    novel, channel = summary["novel"], "extrapolated" if summary["extrapolated"] else "stable"
    return "\n".join(
        [
            *_extrapolation(summary),
            *(["TRUSTED AGGREGATOR: it saw every update; secure aggregation was left out"] if central else []),
            f"published  {path / 'release' / channel}  ({summary['ended']}, {summary['rounds']} rounds"
            f"{_without_release(summary, path)})",
            f"test users AUROC {_show(summary['auroc'])}  macro-F1 {_show(summary['macro_f1'])}  "
            f"recall at 1% false positives {_show(summary['recall_at_fpr_1pct'])}",
            f"new texts  AUROC {_show(novel['auroc'])}  macro-F1 {_show(novel['macro_f1'])}",
            f"privacy    device ε {_bound(summary['device_epsilon'])} at δ {summary['delta']:g}; "
            f"message ε {_bound(summary['message_epsilon'])} (towards a server that breaks everything else)",
            f"look at    {path / 'report.html'}  {path / 'curves.png'}",
        ]
    )


def _without_release(summary: Mapping[str, Any], path: Path) -> str:
    count = summary["rounds_without_release"]
    return f", {count} of them with nothing released: see {path / 'run.log'}" if count else ""


def _extrapolation(summary: Mapping[str, Any]) -> list[str]:
    if not summary["extrapolated"]:
        return []
    return [
        f"EXTRAPOLATED to cohorts of {summary['fleet_cohort']:,} of {summary['fleet_population']:,} devices: their ε "
        f"{_bound(summary['fleet_epsilon'])} at δ {summary['delta']:g} is hypothetical and charged to nobody"
    ]


def _show(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def rounded_up(epsilon: float) -> str:
    """An epsilon in two decimals: what is read is never less than what is claimed."""
    if not math.isfinite(epsilon):
        return "∞"
    return str(Decimal(str(epsilon)).quantize(Decimal("0.01"), ROUND_CEILING))


def _bound(epsilon: float | None) -> str:
    return "unbounded" if epsilon is None else rounded_up(epsilon)
