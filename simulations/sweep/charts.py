"""Utility against epsilon, cohort, drop-out or any other number that a sweep varies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from simulations.sweep.grid import short
from simulations.sweep.table import METRICS, Setting, best_by
from simulations.terminal.page import svg

_COLOURS = ("#17627a", "#c8553d", "#6a8f3c", "#7d5a9b", "#c9962c", "#4a5a66")
_MARKERS = "osD^vP"
_FAINT, _SOFT = "#b9c2c8", "#5b656c"
_SHOWN = ("auroc", "macro_f1")
_PRIVACY = ("privacy.epsilon", "privacy.noise_multiplier")
_FIRST = (*_PRIVACY, "server.cohort")


@dataclass(frozen=True)
class Chart:
    """One figure: `name` for a file, `title` for people, and its SVG."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class _Point:
    x: float
    setting: Setting


@dataclass(frozen=True)
class _Look:
    """Without a marker, a line in the background."""

    colour: str
    marker: str = ""
    label: str | None = None


def draw(settings: Sequence[Setting], seeds: int, directory: Path) -> list[Chart]:
    """A chart for each key that takes several numbers; also written to `directory`, as PNG."""
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
    """Epsilon first, by whichever key it is set."""
    keys = [key for key, _ in settings[0].values if len(set(_xs(settings, key))) > 1]
    return sorted(keys, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))


def _xs(settings: Sequence[Setting], key: str) -> Iterator[float]:
    for one in settings:
        x = _x(one, key)
        if x is not None and one.metrics:
            yield x


def _x(setting: Setting, key: str) -> float | None:
    """What is spent, where the key is about privacy; else the value, if it is a number."""
    value: Any = setting.epsilon if key in _PRIVACY else dict(setting.values)[key]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _figure(settings: Sequence[Setting], key: str, seeds: int) -> tuple[Figure, str]:
    figure = Figure(figsize=(10, 3.7), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(_SHOWN))
    lines = _lines(settings, key)
    for axes, metric in zip(panels, _SHOWN, strict=True):
        _panel(axes, lines, metric, crowded=len(lines) > len(_COLOURS))
        _scale(axes, sorted(set(_xs(settings, key))), _axis_title(key))
        if key in _PRIVACY:
            _without_noise(axes, settings, metric)
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) > 1 or (labels and labels[0]):
        figure.legend(handles, labels, loc="outside right center", frameon=False, labelcolor=_SOFT)
    spread = f", bars: one standard deviation over {seeds} seeds" if seeds > 1 else ", one seed"
    return figure, f"Utility on test users against {_axis_title(key)}{spread}"


def _lines(settings: Sequence[Setting], key: str) -> dict[str, list[_Point]]:
    """Points along the key, a line for each combination of the other keys."""
    lines: dict[str, list[_Point]] = {}
    for one in sorted(settings, key=lambda one: [repr(value) for _, value in one.values]):
        x = _x(one, key)
        if x is not None and one.metrics:
            others = [(name, value) for name, value in one.values if name != key]
            label = ", ".join(f"{short(name)} {value}" for name, value in others)
            lines.setdefault(label, []).append(_Point(x, one))
    return lines


def _panel(axes: Axes, lines: dict[str, list[_Point]], metric: str, *, crowded: bool) -> None:
    for place, (label, points) in enumerate(lines.items()):
        _line(axes, points, metric, _Look(_FAINT) if crowded else _Look(_COLOURS[place], _MARKERS[place], label))
    if crowded:
        _line(axes, _best(lines), metric, _Look(_COLOURS[0], _MARKERS[0], "the best setting at each"))
    axes.set_title(METRICS[metric], loc="left", fontsize=11, color="#1d2327")
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _best(lines: dict[str, list[_Point]]) -> list[_Point]:
    """By calibration users, at each x."""
    found: dict[float, _Point] = {}
    for point in (one for points in lines.values() for one in points):
        held = found.get(point.x)
        if held is None or _choice(point.setting) > _choice(held.setting):
            found[point.x] = point
    return list(found.values())


def _choice(setting: Setting) -> float:
    return setting.choice.mean if setting.choice else 0.0


def _line(axes: Axes, points: Sequence[_Point], metric: str, look: _Look) -> None:
    shown = sorted((one for one in points if metric in one.setting.metrics), key=lambda one: one.x)
    spreads = [one.setting.metrics[metric] for one in shown]
    axes.errorbar(
        [one.x for one in shown],
        [one.mean for one in spreads],
        yerr=[one.deviation or 0.0 for one in spreads] if look.marker else None,
        color=look.colour,
        marker=look.marker,
        markersize=5,
        linewidth=1.7 if look.marker else 0.8,
        capsize=3,
        elinewidth=1,
        label=look.label,
    )


def _without_noise(axes: Axes, settings: Sequence[Setting], metric: str) -> None:
    """A level, since no epsilon stands for it."""
    found = [one for one in settings if one.epsilon is None and metric in one.metrics]
    for one in best_by(None, found):
        axes.axhline(one.metrics[metric].mean, color=_SOFT, linestyle="--", linewidth=1, label="best without noise")


def _scale(axes: Axes, xs: Sequence[float], title: str) -> None:
    axes.set_xlabel(title)
    if xs[0] > 0 and xs[-1] / xs[0] > 3:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(xs))
    axes.set_xticks(xs, [f"{x:.3g}" for x in xs])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _axis_name(key: str) -> str:
    return "epsilon" if key in _PRIVACY else short(key)


def _axis_title(key: str) -> str:
    if key in _PRIVACY:
        return "device-level ε spent"
    return {"server.cohort": "cohort, devices a round"}.get(key, short(key).replace("_", " "))
