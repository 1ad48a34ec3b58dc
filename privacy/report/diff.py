"""What changed from one epsilon report to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from privacy.base.canonical import canonical_json, sha256
from privacy.report.model import EpsilonReport

_LONG = frozenset({"spend.device.by_charge", "spend.device.curve", "participation.realised"})
"""Places compared as wholes: a line a number would bury the rest."""


@dataclass(frozen=True)
class Change:
    """A figure or sentence that differs.

    Attributes:
        place: its path in the JSON, with dots.
        before: what stood there; None for nothing.
        after: what stands there now; None for nothing.
    """

    place: str
    before: str | None
    after: str | None


def diff_reports(before: EpsilonReport, after: EpsilonReport) -> list[Change]:
    """Return every difference, in the order of the report; none for equal reports."""
    old, new = (dict(_leaves(report.model_dump(mode="json"), "")) for report in (before, after))
    places = [*old, *(place for place in new if place not in old)]
    return [Change(place, old.get(place), new.get(place)) for place in places if old.get(place) != new.get(place)]


def _leaves(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if place in _LONG and isinstance(value, list):
        yield place, f"{len(value)} values, {sha256(canonical_json(value)).hex()[:16]}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}.{number}")
    elif value is not None:
        yield place, str(value)
