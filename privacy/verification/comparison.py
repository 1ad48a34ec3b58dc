"""Figures in JSON against what they must be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from privacy.verification.checks import Check

_CLOSE = 1e-9
"""The relative error that floating point may make in a noise multiplier."""


def compared(file: str, stated: Mapping[str, Any], expected: Mapping[str, Any], *, word: bool) -> list[Check]:
    """Compare what is stated with what must be, key by key, and name the keys that nothing is known of.

    Args:
        file: the name of the file that states it.
        stated: its JSON object.
        expected: what must be, by key.
        word: whether the keys that nothing is known of are the server's word in any case.
    """
    name = f"{file}: its figures follow"
    if problem := difference(stated, expected):
        return [Check(name, False, problem)]
    checks = [Check(name, True, ", ".join(expected))] if expected else []
    rest = [key for key in stated if key not in expected]
    places = tuple(f"{file}#{key}" for key in rest)
    return [*checks, Check(f"{file}: the rest", None, ", ".join(rest), places, word=word)] if rest else checks


def difference(stated: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return the first key with another value than expected, in words; nothing where all are the same.

    Args:
        stated: a JSON object.
        expected: what must be, by key.
    """
    wrong = (key for key, value in expected.items() if key not in stated or not _same(stated[key], value))
    key = next(wrong, None)
    return "" if key is None else f"{key}: expected {expected[key]}, got {stated.get(key, 'nothing')}"


def _same(stated: object, expected: object) -> bool:
    if isinstance(stated, float) and isinstance(expected, float):
        return math.isclose(stated, expected, rel_tol=_CLOSE)
    if isinstance(stated, Mapping) and isinstance(expected, Mapping):
        return stated.keys() == expected.keys() and all(_same(stated[key], expected[key]) for key in expected)
    return stated == expected and isinstance(stated, bool) == isinstance(expected, bool)
