"""The chart of a comparison: every method's utility, as bars."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulations.compare.methods import FEDERATED
from simulations.compare.table import Row
from simulations.evaluation.metrics import HEADLINE_METRICS
from simulations.terminal.page import svg

_OURS, _OTHERS, _SOFT = "#17627a", "#b4c3ca", "#5b656c"


def draw(rows: Sequence[Row]) -> str:
    """Draw a panel for each metric, with a bar for each method.

    Error bars are one standard deviation over seeds; of devices alone, the quartiles over devices.

    Returns:
        An SVG.
    """
    with mpl.rc_context(
        {"font.size": 9.5, "axes.edgecolor": "#aab3b8", "xtick.color": _SOFT, "svg.hashsalt": "havenfl"}
    ):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        panels: Sequence[Axes] = figure.subplots(1, len(HEADLINE_METRICS), sharey=True)
        for axes, (metric, title) in zip(panels, HEADLINE_METRICS.items(), strict=True):
            _panel(axes, rows, metric)
            axes.set_title(title, loc="left", fontsize=11, color="#1d2327")
        return svg(figure)


def _panel(axes: Axes, rows: Sequence[Row], metric: str) -> None:
    places = range(len(rows))
    heights = [row.metrics[metric].mean if metric in row.metrics else 0.0 for row in rows]
    below, above = zip(*(_error(row, metric) for row in rows), strict=True)
    colours = [_OURS if row.method == FEDERATED else _OTHERS for row in rows]
    axes.barh(
        places, heights, 0.66, color=colours, xerr=(below, above), error_kw={"ecolor": _SOFT, "capsize": 3, "lw": 1}
    )
    for place, row, height, over in zip(places, rows, heights, above, strict=True):
        if metric in row.metrics:
            axes.text(height + over + 0.02, place, f"{height:.3f}", va="center", fontsize=9, color="#1d2327")
    axes.set_yticks(list(places), [row.method.label for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.5, 1])
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _error(row: Row, metric: str) -> tuple[float, float]:
    """Return how far the bar's error reaches down and up."""
    if metric not in row.metrics:
        return 0.0, 0.0
    mean, quartiles = row.metrics[metric], row.quartiles.get(metric)
    if quartiles is not None:
        return max(0.0, mean.mean - quartiles.lower), max(0.0, quartiles.upper - mean.mean)
    return mean.deviation or 0.0, mean.deviation or 0.0
