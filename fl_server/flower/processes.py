"""Child processes of a development run: their logs in files, and none of them left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

TERM_TIMEOUT_S = 10.0
"""How long a process has to end once it was asked to."""
_POLL_INTERVAL_S = 0.2
_TAIL_LINES = 30
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessError(RuntimeError):
    """A child process ended too early or did not do its work; the text ends with the tail of its log."""


class Processes:
    """Named child processes, each in a session of its own; on exit they and all their children are ended."""

    def __init__(self, log_directory: Path) -> None:
        self._logs = log_directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._may_end: set[str] = set()

    def __enter__(self) -> Processes:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:  # a second Ctrl-C cuts one wait short, and the others still end
            for name in self._running:
                stack.callback(self.stop, name)

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, may_end: bool = False
    ) -> None:
        """Start a process with its output in `<name>.log`.

        Args:
            name: of the process, in errors and for the other calls.
            command: a program and its arguments.
            environment: all variables that the process gets.
            may_end: whether its end is no error.

        Raises:
            ProcessError: when there is no such program.
        """
        with self.log(name).open("ab") as output:
            try:
                self._running[name] = subprocess.Popen(  # noqa: S603 - built by this package, no shell
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # One system call, of a library that is loaded: safe between fork and exec.
                    preexec_fn=partial(end_with_parent, signal.SIGTERM),  # noqa: PLW1509
                    start_new_session=True,  # so that Ctrl-C reaches this process alone, which then ends the others
                )
            except OSError as error:
                raise ProcessError(f"{name}: cannot start {command[0]}: {error}") from error
        if may_end:
            self._may_end.add(name)

    def stop(self, name: str) -> None:
        """End one process and its children: asked first, killed after 10 s."""
        process = self._running.pop(name)
        try:
            _signal_session(process, signal.SIGTERM)
            process.wait(TERM_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _signal_session(process, signal.SIGKILL)
            process.wait()

    def ended(self, name: str) -> bool:
        """Tell whether a process has ended."""
        return self._running[name].poll() is not None

    def check(self) -> None:
        """Look at every process once.

        Raises:
            ProcessError: when one has ended that should go on.
        """
        for name, process in self._running.items():
            if name not in self._may_end and (code := process.poll()) is not None:
                raise ProcessError(f"{name}: ended with exit code {code}\n{self.tail(name)}")

    def wait_until(self, ready: Callable[[], bool], what: str, timeout: float) -> None:
        """Return once a condition is true.

        Args:
            ready: the condition, asked every 0.2 s.
            what: the thing that is waited for, in the error's text.
            timeout: how long to wait, in seconds.

        Raises:
            ProcessError: when a process ends, or the time passes, before.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() >= deadline:
                tails = "\n".join(self.tail(name) for name in self._running)
                raise ProcessError(f"expected {what} within {timeout:g} s\n{tails}")
            time.sleep(_POLL_INTERVAL_S)

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self._logs / f"{name}.log"

    def tail(self, name: str) -> str:
        """Return the last lines of a process's log, under its path."""
        lines = self.log(name).read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join([f"--- {self.log(name)}", *lines])


def end_with_parent(number: signal.Signals) -> None:
    """Have this signal sent to this process when the one that started it is gone, even by SIGKILL; on Linux alone."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def _signal_session(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
