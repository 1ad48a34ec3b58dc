"""A nursery of processes that run `ledger_rounds` and die where they are told to.

Run as a module it reads one request a line and answers each with a line: it forks a child for it, so that a death
costs milliseconds and not the seconds that the imports take. Points to die at are counted in one of two units:
"step": between the steps of a round, before and after every SQL statement and before every commit;
"syscall": before and after every system call that writes to a disk or a socket, by ptrace(2).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine, event

from tests.support.ledger_rounds import Run
from tests.support.syscalls import DiskLog, traced

Unit = Literal["step", "syscall"]
_ROOT = Path(__file__).parents[2]
NEVER = -1


class Nursery:
    """The parent's end of it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self,
        where: str,
        directory: Path,
        *,
        attempt: int = 0,
        die_at: int = NEVER,
        unit: Unit = "step",
        log: Path | None = None,
        careless: bool = False,
    ) -> int:
        """Run the rounds in a child.

        Args:
            die_at: number of the point at which the child is killed.
            log: where to write what reached the disk, in order.
            careless: have SQLite skip its fsyncs.

        Returns:
            How many points the child passed.

        Raises:
            AssertionError: when the child died in another way, with its own words.
        """
        request = {"where": where, "directory": str(directory), "attempt": attempt, "die_at": die_at, "unit": unit}
        answer = self._ask(request | {"log": str(log or ""), "careless": careless})
        assert answer["killed"] == (die_at != NEVER), answer
        return int(answer["points"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(10) == 0

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert not answer["error"], answer["error"]
        return answer


@contextmanager
def nursery() -> Iterator[Nursery]:
    it = Nursery()
    try:
        yield it
    finally:
        it.close()


class _Points:
    """Counts, and kills its own process at one of them."""

    def __init__(self, die_at: int) -> None:
        self.passed = 0
        self._die_at = die_at

    def __call__(self) -> None:
        if self.passed == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


def _child(request: dict[str, Any], report: int) -> None:
    """Never returns."""
    code, words = 0, ""
    points = _Points(request["die_at"] if request["unit"] == "step" else NEVER)
    try:
        for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(Engine, moment, lambda **_: points(), named=True)
        if request["careless"]:
            event.listen(Engine, "begin", _skip_fsync)
        Run(request["where"], Path(request["directory"]), request["attempt"], points).all_rounds()
    except BaseException:
        code, words = 1, traceback.format_exc()
    os.write(report, json.dumps({"points": points.passed, "error": words}).encode())
    os._exit(code)


def _skip_fsync(connection: Any) -> None:
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA synchronous=OFF")
    cursor.close()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    log = DiskLog(Path(request["directory"]))
    if request["unit"] == "syscall":
        points, status = traced(lambda: _child(request, writer), request["die_at"], log)
    else:
        points, status = NEVER, _waited(lambda: _child(request, writer))
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        told = json.loads(file.read() or b"{}")
    if request["log"]:
        Path(request["log"]).write_text(json.dumps(log.operations))
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    passed = points if points != NEVER else told.get("points", request["die_at"])
    error = told.get("error", "") if told or killed else f"status {status}"
    return {"points": passed, "killed": killed, "error": error}


def _waited(child: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        child()
    return os.waitpid(pid, 0)[1]


def _serve() -> None:
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
