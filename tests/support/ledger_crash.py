"""A nursery of processes that run `ledger_rounds`, or `coordinator_rounds`, and die where they are told to.

Run as a module it reads one request a line and answers each with a line: it forks a child for it, so that a death
costs milliseconds and not the seconds that the imports take. Points to die at are counted in one of two units:
"step": between the steps of a round, before and after every SQL statement and before every commit;
"syscall": before and after every system call that writes to a disk or a socket, by ptrace(2).

Two other faults can come at such a point: the disk is full from there on, or the database server is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine, event

from tests.support.coordinator_rounds import run_rounds
from tests.support.ledger_rounds import Run
from tests.support.paths import ROOT
from tests.support.syscalls import DiskLog, traced

Unit = Literal["step", "syscall"]
What = Literal["ledger", "coordinator"]
NEVER = -1


class Nursery:
    """The parent's end of it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
        what: What = "ledger",
    ) -> int:
        """Run the rounds in a child.

        Args:
            where: of the ledger; a coordinator has it in its directory.
            die_at: number of the point at which the child is killed.
            log: where to write what reached the disk, in order.
            careless: have SQLite skip its fsyncs.

        Returns:
            How many points the child passed.

        Raises:
            AssertionError: when the child died in another way, with its own words.
        """
        request = {"where": where, "directory": str(directory), "attempt": attempt, "die_at": die_at, "unit": unit}
        answer = self._ask(request | {"log": str(log or ""), "careless": careless, "what": what})
        assert not answer["error"], answer["error"]
        assert answer["killed"] == (die_at != NEVER), answer
        return int(answer["points"])

    def fill_disk(self, directory: Path, write: int, what: What = "ledger") -> tuple[int, str]:
        """Run the rounds on a disk that is full from one write on; how many writes were tried, and the error."""
        answer = self._ask({"where": str(directory / "ledger.db"), "directory": str(directory), "attempt": 0} | {
            "die_at": NEVER, "unit": "syscall", "log": "", "careless": False, "what": what, "full_at": write
        })  # fmt: skip
        return int(answer["points"]), str(answer["error"])

    def stop_server(self, where: str, directory: Path, server: int, step: int) -> str:
        """Run the rounds on a PostgreSQL whose postmaster, of this pid, is told to die at a step; returns the error."""
        answer = self._ask({"where": where, "directory": str(directory), "attempt": 0, "die_at": step} | {
            "unit": "step", "log": "", "careless": False, "what": "ledger", "server": server
        })  # fmt: skip
        return str(answer["error"])

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
        return answer


@contextmanager
def nursery() -> Iterator[Nursery]:
    it = Nursery()
    try:
        yield it
    finally:
        it.close()


class _Points:
    """Counts, and at one of them kills its own process, or a database server."""

    def __init__(self, die_at: int, server: int | None) -> None:
        self.passed = 0
        self._die_at = die_at
        self._server = server

    def __call__(self) -> None:
        if self.passed == self._die_at and self._server is None:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.passed == self._die_at:
            self._stop_server()
        self.passed += 1

    def _stop_server(self) -> None:
        """PostgreSQL's immediate shutdown."""
        assert self._server is not None
        os.kill(self._server, signal.SIGQUIT)
        while Path(f"/proc/{self._server}").exists():
            time.sleep(0.01)


def _child(request: dict[str, Any], report: int) -> None:
    """Never returns."""
    code, words = 0, ""
    points = _Points(request["die_at"] if request["unit"] == "step" else NEVER, request.get("server"))
    try:
        for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(Engine, moment, lambda **_: points(), named=True)
        if request["careless"]:
            event.listen(Engine, "begin", _skip_fsync)
        directory, attempt = Path(request["directory"]), request["attempt"]
        if request["what"] == "coordinator":
            run_rounds(directory, attempt)
        else:
            Run(request["where"], directory, attempt, points).all_rounds()
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
        full_at = request.get("full_at", NEVER)
        points, status = traced(lambda: _child(request, writer), request["die_at"], log, full_at)
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
