"""Errors of other libraries in words for people."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def what_is_wrong(error: ValidationError) -> str:
    """Name every field that was refused, and why; without the values, which may be secret."""
    refused = ((".".join(map(str, detail["loc"])), _reason(detail)) for detail in error.errors())
    return "; ".join(f"{place or 'the whole'}: {reason}" for place, reason in refused)


def first_line(error: Exception) -> str:
    """Return the first line of the error's message; empty where there is none."""
    return (str(error).splitlines() or [""])[0]


def _reason(detail: ErrorDetails) -> str:
    known = {"extra_forbidden": "unknown key", "missing": "is missing"}
    return known.get(detail["type"], detail["msg"].removeprefix("Value error, "))


def clipped(text: str, longest: int = 80) -> str:
    """Return a text for a message: one that is longer than `longest` characters is cut, and says so."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
