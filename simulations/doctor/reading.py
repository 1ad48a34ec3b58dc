"""The numbers of a finished run, as its directory has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_REMEMBERED = ("diagnostics", "marks", "auroc_interval", "test_positives", "rounds_released")


class NoFinishedRun(ValueError):
    """There are no numbers to judge; the text says what was expected."""


@dataclass(frozen=True)
class FinishedRun:
    """What is judged.

    Attributes:
        summary: of `summary.json`.
        lines: of `metrics.jsonl`, a round each.
    """

    summary: Mapping[str, Any] = field(repr=False)
    lines: Sequence[Mapping[str, Any]] = field(repr=False)


def read_run(path: Path) -> FinishedRun:
    """Read a run directory.

    Raises:
        NoFinishedRun: when there is no finished run in it, or one of a version that kept other numbers.
    """
    summary = path / "summary.json"
    if not summary.is_file():
        raise NoFinishedRun(f"RUN: {path} has no summary.json; expected the directory of a finished `fl-sim run`")
    try:
        told = json.loads(summary.read_bytes())
        lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise NoFinishedRun(f"RUN: {path} cannot be read: {error}") from error
    if missing := [name for name in _REMEMBERED if name not in told]:
        raise NoFinishedRun(f"RUN: {summary} says nothing of {', '.join(missing)}; run it again with this version")
    return FinishedRun(told, lines)
