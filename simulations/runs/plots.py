"""Curves of a run, for people who look rather than read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from privacy.task.task import Fleet, TaskSpec

_INK = "#1f3a5f"
_ACCENT = "#c8553d"


def draw_curves(lines: Sequence[Mapping[str, Any]], task: TaskSpec, path: Path) -> None:
    """Loss, AUROC and epsilon by round, as a PNG; of a run that stands for a fleet, the fleet's, marked all over.

    Args:
        lines: of `metrics.jsonl`.
        task: its budget, if there is one, is drawn as a line over epsilon.
    """
    curves(lines, task).savefig(path)


def curves(lines: Sequence[Mapping[str, Any]], task: TaskSpec) -> Figure:
    """What `draw_curves` writes."""
    fleet = task.fleet
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
        if task.trusted_aggregator:
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
