"""What a reviewer's check found, one line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One claim, checked.

    Attributes:
        passed: None when it could not be verified; `detail` says why.
        detail: what was compared or, after a failure, what was expected and what came.
    """

    name: str
    passed: bool | None
    detail: str
