"""What a run shows on a terminal: a bar with the figures that matter. Nothing where there is no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from rich import progress as bar
from rich.console import Console

from simulations.metrics import Metrics


class Progress(Protocol):
    """Whom a run tells how far it is."""

    def resumed_at(self, round_number: int) -> None:
        """The workers are there, and so many rounds were complete before."""
        ...

    def round_ended(self, round_number: int, figures: str) -> None:
        """One more round, and what there is to say of it."""
        ...

    def note(self, text: str) -> None:
        """A line for people."""
        ...


class RunProgress:
    """Implements `Progress` on standard error.

    Shows round, loss, AUROC, epsilon spent of its budget, devices a second, time left.
    """

    def __init__(self, rounds: int) -> None:
        console = Console(stderr=True)
        self._progress = bar.Progress(
            bar.TextColumn("[bold]round"),
            bar.MofNCompleteColumn(),
            bar.BarColumn(bar_width=None),
            bar.TextColumn("{task.fields[figures]}"),
            bar.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=False,
        )
        self._task = self._progress.add_task("rounds", total=rounds, figures="starting workers")

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def resumed_at(self, round_number: int) -> None:
        self._progress.update(self._task, completed=round_number, figures="")

    def round_ended(self, round_number: int, figures: str) -> None:
        self._progress.update(self._task, completed=round_number, figures=figures)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text, highlight=False, soft_wrap=True)


def figures(metrics: Metrics, epsilon: float, budget: float | None, devices_per_second: float) -> str:
    """The bar's text."""
    spent = f"ε {epsilon:.2f}/{budget:g}" if budget is not None else f"ε {epsilon:.2f}"
    quality = f"loss {metrics.loss or 0:.3f}  AUROC {metrics.auroc or 0:.3f}"
    return f"{quality}  {spent}  {devices_per_second:.0f} devices/s"


def describe(summary: Mapping[str, Any], path: Path) -> str:
    """A finished run in a few lines."""
    novel = summary["novel"]
    return "\n".join(
        [
            f"published  {path / 'release' / 'stable'}  ({summary['ended']}, {summary['rounds']} rounds)",
            f"test users AUROC {_show(summary['auroc'])}  macro-F1 {_show(summary['macro_f1'])}  "
            f"recall at 1% false positives {_show(summary['recall_at_fpr_1pct'])}",
            f"new texts  AUROC {_show(novel['auroc'])}  macro-F1 {_show(novel['macro_f1'])}",
            f"privacy    device ε {_bound(summary['device_epsilon'])} at δ {summary['delta']:g}; "
            f"message ε {_bound(summary['message_epsilon'])} (towards a server that breaks everything else)",
            f"look at    {path / 'report.html'}  {path / 'curves.png'}",
        ]
    )


def _show(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _bound(epsilon: float | None) -> str:
    return "unbounded" if epsilon is None else f"{epsilon:.2f}"
