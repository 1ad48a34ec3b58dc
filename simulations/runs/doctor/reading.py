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
        summary: of `summary.json`; of a run that gave up on its way only the counts of its rounds.
        lines: of `metrics.jsonl`, a round each.
        gave_up: whether nothing was published.
    """

    summary: Mapping[str, Any] = field(repr=False)
    lines: Sequence[Mapping[str, Any]] = field(repr=False)
    gave_up: bool = False


def read_run(path: Path) -> FinishedRun:
    """Read the directory of a run that is finished, or that gave up because rounds released nothing.

    Raises:
        NoFinishedRun: when there is no such run in it, or one of a version that kept other numbers.
    """
    summary, metrics = path / "summary.json", path / "metrics.jsonl"
    try:
        lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
        told = json.loads(summary.read_bytes()) if summary.is_file() else _unfinished(path, lines)
    except (OSError, ValueError) as error:
        raise NoFinishedRun(f"RUN: expected the directory of a finished `fl-sim run`, got {path}: {error}") from error
    if not summary.is_file():
        return FinishedRun(told, lines, gave_up=True)
    if missing := [name for name in _REMEMBERED if name not in told]:
        raise NoFinishedRun(f"RUN: {summary} says nothing of {', '.join(missing)}; run it again with this version")
    return FinishedRun(told, lines)


def _unfinished(path: Path, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not any(line["aborted"] for line in lines):
        raise NoFinishedRun(f"RUN: {path} has no summary.json; expected the directory of a finished `fl-sim run`")
    return {"rounds": len(lines), "rounds_released": sum(not line["aborted"] for line in lines), "marks": []}
