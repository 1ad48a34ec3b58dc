"""Self-contained HTML pages for people, without scripts or outside references."""

from __future__ import annotations

import io
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from simulations.terminal.console import rounded_up


def render(template: str, **values: Any) -> str:
    """Return the HTML of a template of this package with `values` in it; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("simulations", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bound"] = bound
    return environment.get_template(template).render(**values)


def bound(epsilon: float | None) -> str:
    """Return an epsilon for people; None is no bound."""
    return "∞" if epsilon is None else rounded_up(epsilon)


def svg(figure: Figure) -> str:
    """Return a figure as SVG for a page: without the XML prologue, as wide as there is room."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    whole = buffer.getvalue()
    return whole[whole.index("<svg") :]
