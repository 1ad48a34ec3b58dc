"""Ctrl-C once: stop after the round in progress. Twice: stop now; the last complete round survives."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class StopAfterRound:
    """While active, turns the first SIGINT or SIGTERM into a request. Only the main thread may set handlers."""

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
