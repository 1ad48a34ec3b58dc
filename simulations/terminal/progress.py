"""How far a sweep or a comparison is, on standard error: a bar where there is a terminal, else nothing but notes."""

from __future__ import annotations

from types import TracebackType

from rich import progress as rich_progress
from rich.console import Console


class Bar:
    """One bar with a line about what is going on."""

    def __init__(self, title: str, total: int) -> None:
        console = Console(stderr=True)
        self._progress = rich_progress.Progress(
            rich_progress.TextColumn(f"[bold]{title}"),
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TextColumn("{task.fields[line]}"),
            rich_progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total, line="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, done: int, line: str) -> None:
        """So much of the total, and a few words."""
        self._progress.update(self._task, completed=done, line=line)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text, highlight=False, soft_wrap=True)
