"""Charts of a sweep: utility against epsilon, cohort, drop-out or any other number that it varies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from simulations.evaluation.metrics import HEADLINE_METRICS
from simulations.sweep.grid import PRIVACY_KEYS, short
from simulations.sweep.table import Setting, best_by
from simulations.terminal.page import svg

_COLOURS = ("#17627a", "#c8553d", "#6a8f3c", "#7d5a9b", "#c9962c", "#4a5a66")
_MARKERS = "osD^vP"
_FAINT, _SOFT = "#b9c2c8", "#5b656c"
_SHOWN = ("auroc", "macro_f1")
_FIRST = (*PRIVACY_KEYS, "server.cohort")


@dataclass(frozen=True)
class Chart:
    """A figure: `name` for a file, `title` for people, and its SVG."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class _Point:
    x: float
    setting: Setting


@dataclass(frozen=True)
class _Look:
    """The look of a line; without a marker, it is in the background."""

    colour: str
    marker: str = ""
    label: str | None = None


def draw(settings: Sequence[Setting], seeds: int, directory: Path) -> list[Chart]:
    """Draw a chart for each key that takes several numbers, and write it to a file too.

    Args:
        settings: the sweep's settings.
        seeds: how many seeds each has.
        directory: where the PNG files go.
    """
    charts = []
    for key in _drawable(settings):
        with mpl.rc_context(
            {
                "font.size": 9.5,
                "axes.edgecolor": "#aab3b8",
                "axes.labelcolor": _SOFT,
                "xtick.color": _SOFT,
                "ytick.color": _SOFT,
                "svg.hashsalt": "havenfl",
            }
        ):
            figure, title = _figure(settings, key, seeds)
            name = f"utility-by-{_axis_name(key).replace('_', '-')}"
            figure.savefig(directory / f"{name}.png", dpi=144)
            charts.append(Chart(name, title, svg(figure)))
    return charts


def _drawable(settings: Sequence[Setting]) -> list[str]:
    """Return the keys that take several numbers, epsilon first, by whichever key it is set."""
    keys = [key for key, _ in settings[0].values if len(set(_xs(settings, key))) > 1]
    return sorted(keys, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))


def _xs(settings: Sequence[Setting], key: str) -> Iterator[float]:
    for setting in settings:
        x = _x(setting, key)
        if x is not None and setting.metrics:
            yield x


def _x(setting: Setting, key: str) -> float | None:
    """Return what is spent, where the key is about privacy; else the key's value, if it is a number."""
    value: Any = setting.epsilon if key in PRIVACY_KEYS else dict(setting.values)[key]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _figure(settings: Sequence[Setting], key: str, seeds: int) -> tuple[Figure, str]:
    figure = Figure(figsize=(10, 3.7), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(_SHOWN))
    lines = _lines(settings, key)
    for axes, metric in zip(panels, _SHOWN, strict=True):
        _panel(axes, lines, metric, crowded=len(lines) > len(_COLOURS))
        _scale(axes, sorted(set(_xs(settings, key))), _axis_title(key))
        if key in PRIVACY_KEYS:
            _without_noise(axes, settings, metric)
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) > 1 or (labels and labels[0]):
        figure.legend(handles, labels, loc="outside right center", frameon=False, labelcolor=_SOFT)
    spread = f", bars: one standard deviation over {seeds} seeds" if seeds > 1 else ", one seed"
    return figure, f"Utility on test users against {_axis_title(key)}{spread}"


def _lines(settings: Sequence[Setting], key: str) -> dict[str, list[_Point]]:
    """Put points along the key into lines, a line for each combination of the other keys."""
    lines: dict[str, list[_Point]] = {}
    for setting in sorted(settings, key=lambda setting: [repr(value) for _, value in setting.values]):
        x = _x(setting, key)
        if x is not None and setting.metrics:
            others = [(name, value) for name, value in setting.values if name != key]
            label = ", ".join(f"{short(name)} {value}" for name, value in others)
            lines.setdefault(label, []).append(_Point(x, setting))
    return lines


def _panel(axes: Axes, lines: dict[str, list[_Point]], metric: str, *, crowded: bool) -> None:
    for place, (label, points) in enumerate(lines.items()):
        _line(axes, points, metric, _Look(_FAINT) if crowded else _Look(_COLOURS[place], _MARKERS[place], label))
    if crowded:
        _line(axes, _best(lines), metric, _Look(_COLOURS[0], _MARKERS[0], "the best setting at each"))
    axes.set_title(HEADLINE_METRICS[metric], loc="left", fontsize=11, color="#1d2327")
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _best(lines: dict[str, list[_Point]]) -> list[_Point]:
    """Choose the best point at each x, by the calibration users."""
    best: dict[float, _Point] = {}
    for point in itertools.chain.from_iterable(lines.values()):
        rival = best.get(point.x)
        if rival is None or _choice(point.setting) > _choice(rival.setting):
            best[point.x] = point
    return list(best.values())


def _choice(setting: Setting) -> float:
    return setting.choice.mean if setting.choice else 0.0


def _line(axes: Axes, points: Sequence[_Point], metric: str, look: _Look) -> None:
    shown = sorted((point for point in points if metric in point.setting.metrics), key=lambda point: point.x)
    spreads = [point.setting.metrics[metric] for point in shown]
    axes.errorbar(
        [point.x for point in shown],
        [spread.mean for spread in spreads],
        yerr=[spread.deviation or 0.0 for spread in spreads] if look.marker else None,
        color=look.colour,
        marker=look.marker,
        markersize=5,
        linewidth=1.7 if look.marker else 0.8,
        capsize=3,
        elinewidth=1,
        label=look.label,
    )


def _without_noise(axes: Axes, settings: Sequence[Setting], metric: str) -> None:
    """Draw the best setting without noise as a level, since no epsilon stands for it."""
    noiseless = [setting for setting in settings if setting.epsilon is None and metric in setting.metrics]
    for best in best_by(None, noiseless):
        axes.axhline(best.metrics[metric].mean, color=_SOFT, linestyle="--", linewidth=1, label="best without noise")


def _scale(axes: Axes, xs: Sequence[float], title: str) -> None:
    axes.set_xlabel(title)
    if xs[0] > 0 and xs[-1] / xs[0] > 3:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(xs))
    axes.set_xticks(xs, [f"{x:.3g}" for x in xs])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _axis_name(key: str) -> str:
    return "epsilon" if key in PRIVACY_KEYS else short(key)


def _axis_title(key: str) -> str:
    if key in PRIVACY_KEYS:
        return "device-level ε spent"
    return {"server.cohort": "cohort, devices a round"}.get(key, short(key).replace("_", " "))
