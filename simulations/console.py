"""What a run shows on a terminal: a bar with the figures that matter. Nothing where there is no terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress:
    """Round, loss, AUROC, epsilon spent of its budget, devices a second, time left; on standard error."""

    def __init__(self, rounds: int) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("[bold]round"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
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


def figures(loss: float, auroc: float, epsilon: float, budget: float | None, devices_per_second: float) -> str:
    """The bar's text."""
    spent = f"ε {epsilon:.2f}/{budget:g}" if budget is not None else f"ε {epsilon:.2f}"
    return f"loss {loss:.3f}  AUROC {auroc:.3f}  {spent}  {devices_per_second:.0f} devices/s"
