"""The epsilon report for a reader: one self-contained page, drawn from the report's JSON alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from privacy.accounting.composition import LEAST_ON_GRID
from privacy.report.model import EpsilonReport

_WIDTH, _HEIGHT = 340.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 12.0, 34.0

_SMALL = 0.001
_ATTACKS = {
    "battery": "Search for known faults",
    "mechanism-many-runs": "Many rounds",
    "mechanism-one-run": "One round",
    "message-many-runs": "Many local trainings",
}
"""Attacks by what a reader calls them."""

Point = tuple[float, float]


@dataclass(frozen=True)
class _Tick:
    at: float
    label: str


@dataclass(frozen=True)
class _Chart:
    """Coordinates for the template's SVG, in user units."""

    path: str
    x_ticks: tuple[_Tick, ...]
    y_ticks: tuple[_Tick, ...]
    budget_y: float | None
    mark: Point | None
    """Place of the claim."""
    x_title: str
    summary: str
    """The curve's two ends in words, for whoever does not see it."""
    width: float = _WIDTH
    height: float = _HEIGHT
    left: float = _LEFT
    right: float = _WIDTH - _RIGHT
    base: float = _HEIGHT - _BOTTOM


def render_html(report: EpsilonReport) -> str:
    """Draw a report as an HTML page without scripts or outside references, from nothing but `report`."""
    environment = Environment(
        loader=PackageLoader("privacy.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["power"] = _power
    environment.filters["short"] = _short
    environment.filters["percent"] = _percent
    environment.filters["attack"] = lambda name: _ATTACKS.get(name, name)
    data = report.model_dump(mode="json")
    template = environment.get_template("report.html.j2")
    return template.render(
        r=data,
        by_charge=_by_charge(report),
        by_delta=_by_delta(report),
        finite_from=_finite_from(report),
        coarse_below=_coarse_below(report),
    )


def _by_charge(report: EpsilonReport) -> _Chart | None:
    """Draw epsilon after each charge; None when there is nothing finite to draw."""
    values = [float(value) for value in report.spend.device.by_charge]
    if not values or not math.isfinite(values[-1]):
        return None
    budget = report.claim.budget_epsilon
    points = [(0.0, 0.0), *((float(number), value) for number, value in enumerate(values, 1))]
    ticks = {count: str(count) for count in (0, *_round_steps(len(values)))}
    return _chart(points, ticks, "charged rounds", budget=None if budget is None else float(budget), mark=points[-1])


def _finite_from(report: EpsilonReport) -> str | None:
    """Return the least delta of the curve that has a finite epsilon; None where all have one, or none has."""
    curve = report.spend.device.curve
    finite = [point.delta for point in curve if point.epsilon != "inf"]
    return finite[0] if finite and len(finite) < len(curve) else None


def _coarse_below(report: EpsilonReport) -> str | None:
    """Return the delta below which the curve of sampled rounds is another, looser bound; None where it is not drawn."""
    device = report.spend.device
    finite = [point for point in device.curve if point.epsilon != "inf"]
    drawn = any(float(point.delta) < LEAST_ON_GRID for point in finite)
    return repr(LEAST_ON_GRID) if device.mu is None and drawn else None


def _by_delta(report: EpsilonReport) -> _Chart | None:
    points = [(math.log10(float(point.delta)), float(point.epsilon)) for point in report.spend.device.curve]
    finite = [point for point in points if math.isfinite(point[1])]
    if len(finite) < 2:
        return None
    powers = range(math.ceil(finite[0][0] - 1e-9), math.floor(finite[-1][0] + 1e-9) + 1)
    labels = {power: _superscript(f"1e{power}") for power in powers[:: max(1, math.ceil(len(powers) / 6))]}
    claimed = (math.log10(float(report.claim.delta)), float(report.claim.epsilon))
    return _chart(finite, labels, "δ", mark=claimed if math.isfinite(claimed[1]) else None)


def _chart(
    points: Sequence[Point],
    x_ticks: Mapping[int, str],
    x_title: str,
    *,
    budget: float | None = None,
    mark: Point | None = None,
) -> _Chart:
    y_ticks = _scale(max(*(y for _, y in points), budget or 0.0))
    first, last, top = points[0][0], points[-1][0], y_ticks[-1]

    def place(point: Point) -> Point:
        x = _LEFT + (point[0] - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - point[1] / top * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 2), round(y, 2)

    placed = [place(point) for point in points]
    return _Chart(
        path="M" + " L".join(f"{x},{y}" for x, y in placed),
        x_ticks=tuple(_Tick(place((at, 0.0))[0], label) for at, label in sorted(x_ticks.items())),
        y_ticks=tuple(_Tick(place((first, at))[1], f"{at:g}") for at in y_ticks),
        budget_y=None if budget is None else place((first, budget))[1],
        mark=None if mark is None else place(mark),
        x_title=x_title,
        summary=f"From {points[0][1]:g} to {points[-1][1]:g}.",
    )


def _scale(largest: float) -> list[float]:
    """Return three to six round numbers from 0 to at least `largest`."""
    step = _round_step(max(largest, 1e-4) / 4)
    return [step * count for count in range(math.ceil(max(largest, 1e-4) / step - 1e-9) + 1)]


def _round_steps(count: int) -> list[int]:
    step = max(1, round(_round_step(count / 4)))
    return list(range(step, count + 1, step))


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def _superscript(number: str) -> str:
    """Write any number as a power of ten, for text inside SVG."""
    mantissa, exponent = f"{float(number):e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if mantissa == "1" else f"{mantissa} × {power}"


def _power(number: str) -> Markup:
    """Write a small number as a power of ten, the way people write it."""
    if not 0 < float(number) < _SMALL:
        return Markup.escape(number)
    mantissa, _, exponent = f"{Decimal(number):e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = Markup("10<sup>{}</sup>").format(str(int(exponent)).replace("-", "\N{MINUS SIGN}"))
    return power if mantissa == "1" else Markup("{} \N{MULTIPLICATION SIGN} {}").format(mantissa, power)


def _percent(probability: str) -> str:
    """Write a probability as a percentage, all of its digits."""
    return f"{(Decimal(probability) * 100).normalize():f}%"


def _short(number: str) -> str:
    """Write a number to six digits: the JSON has all of them."""
    return f"{Decimal(number):.6g}" if math.isfinite(float(number)) else "∞"
