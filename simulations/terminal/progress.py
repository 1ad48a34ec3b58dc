"""How far work is, on standard error, and stopping it between two rounds. Where there is no terminal, only notes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol

from rich import progress as bar
from rich.console import Console


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


class Bar:
    """One bar with a line about what is going on."""

    def __init__(self, title: str, total: int) -> None:
        console = Console(stderr=True)
        self._progress = bar.Progress(
            bar.TextColumn(f"[bold]{title}"),
            bar.BarColumn(bar_width=None),
            bar.TextColumn("{task.fields[line]}"),
            bar.TimeRemainingColumn(),
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


class StopAfterRound:
    """While active, turns the first SIGINT or SIGTERM into a request to stop after the round in progress.

    The second one stops now; the last complete round survives. Only the main thread may set handlers.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._requested = False
        self._previous: dict[int, object] = {}

    def requested(self) -> bool:
        return self._requested

    def __enter__(self) -> StopAfterRound:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
        self._tell("stopping after this round; once more to stop now")
