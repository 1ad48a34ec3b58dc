"""What errors of others say to people."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def what_is_wrong(error: ValidationError) -> str:
    """Every field that was refused, and why; without the values, which may be secret."""
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {_reason(one)}" for one in error.errors())


def first_line(error: Exception) -> str:
    """Of the message; empty where there is none."""
    return (str(error).splitlines() or [""])[0]


def _reason(one: ErrorDetails) -> str:
    known = {"extra_forbidden": "unknown key", "missing": "is missing"}
    return known.get(one["type"], one["msg"].removeprefix("Value error, "))
