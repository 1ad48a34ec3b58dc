"""Curves of a run, for people who look rather than read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_INK = "#1f3a5f"
_ACCENT = "#c8553d"


def draw_curves(lines: Sequence[Mapping[str, Any]], budget: float | None, path: Path) -> None:
    """Loss, AUROC and epsilon by round, as a PNG.

    Args:
        lines: of `metrics.jsonl`.
        budget: drawn as a line over epsilon, if there is one.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained", dpi=120)
    loss, auroc, epsilon = figure.subplots(1, 3)
    _curve(loss, lines, "loss", "Loss on test users")
    _curve(auroc, lines, "auroc", "AUROC on test users")
    _curve(epsilon, lines, "epsilon", "Device-level ε spent")
    if budget is not None:
        epsilon.axhline(budget, color=_ACCENT, linestyle="--", linewidth=1.2, label=f"budget {budget:g}")
        epsilon.legend(frameon=False, loc="lower right")
        epsilon.set_ylim(0, budget * 1.1)
    figure.savefig(path)


def _curve(axes: Axes, lines: Sequence[Mapping[str, Any]], key: str, title: str) -> None:
    points = [(line["round"], line[key]) for line in lines if line[key] is not None]
    axes.plot([x for x, _ in points], [y for _, y in points], color=_INK, linewidth=1.8)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("round")
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
