"""Independent jobs in processes of their own: one thread each, one job at a time, and none takes the others down.

Workers are forked, so that jobs share what was read and computed before; on Linux they end when their parent does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any

from fl_server.flower.processes import end_with_parent
from simulations.processes.workers import one_thread

Job = Callable[["JobContext"], Any]
"""What it returns travels through a pipe. It ends early when its line says so."""

_FORK = multiprocessing.get_context("fork")
POLL_INTERVAL_S = 0.2
"""Seconds between two looks at whether to stop."""


@dataclass(frozen=True)
class Progress:
    """A job is so far."""

    job: int
    done: int


@dataclass(frozen=True)
class Done:
    """A job gave `result`, or failed when there is an `error`."""

    job: int
    result: Any = None
    error: str = ""


@dataclass(frozen=True)
class JobContext:
    """From a job to whoever started it."""

    job: int
    _connection: Connection = field(repr=False)
    _stop: Event = field(repr=False)

    def tell(self, done: int) -> None:
        """How far the job is, in units of its own."""
        self._connection.send(Progress(self.job, done))

    def stop_requested(self) -> bool:
        return self._stop.is_set()


class JobPool:
    """Runs jobs, the first first, on so many processes."""

    def __init__(self, jobs: Sequence[Job], processes: int, log: Path) -> None:
        """Args:
        log: where whatever jobs print goes, and the tracebacks of those that fail.
        """
        self._jobs, self._log = jobs, log
        self._stop: Event = _FORK.Event()
        self._workers = [self._hire() for _ in range(min(processes, len(jobs)))]

    def __enter__(self) -> JobPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.dismiss()

    def run(self, stop_requested: Callable[[], bool]) -> Iterator[Progress | Done]:
        """What jobs tell, as they do. Once `stop_requested`, those in progress end early and no other begins."""
        waiting = deque(range(len(self._jobs)))
        for worker in self._workers:
            worker.give(waiting.popleft())
        while busy := [place for place, worker in enumerate(self._workers) if worker.job is not None]:
            if stop_requested():
                self._stop.set()
                waiting.clear()
            ready = wait([self._workers[place].connection for place in busy], POLL_INTERVAL_S)
            for place in [one for one in busy if self._workers[one].connection in ready]:
                said = self._hear(place)
                if isinstance(said, Done) and waiting:
                    self._workers[place].give(waiting.popleft())
                yield said

    def _hear(self, place: int) -> Progress | Done:
        """What a worker says; of one that died, that its job failed. Somebody else takes its place."""
        worker = self._workers[place]
        job = worker.job or 0
        try:
            said: Progress | Done = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            said = Done(job, error=f"its process {_cause(worker.process.exitcode)}")
            self._workers[place] = self._hire()
        if isinstance(said, Done):
            self._workers[place].job = None
        return said

    def _hire(self) -> _Worker:
        ours, theirs = _FORK.Pipe()
        process = _FORK.Process(target=_serve, args=(self._jobs, theirs, self._stop, self._log, os.getpid()))
        process.start()
        theirs.close()
        return _Worker(process, ours)


@dataclass
class _Worker:
    process: ForkProcess
    connection: Connection
    job: int | None = None

    def give(self, job: int) -> None:
        self.job = job
        self.connection.send(job)

    def dismiss(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _serve(jobs: Sequence[Job], connection: Connection, stop: Event, log: Path, parent: int) -> None:
    """A worker's life: one job after the other until it is killed."""
    end_with_parent(signal.SIGKILL)  # where the system cannot, it ends after its job, which it cannot tell
    if os.getppid() != parent:
        return
    # Ctrl-C goes to the whole process group; the parent passes it on, once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _print_to(log)
    one_thread()
    while True:
        job: int = connection.recv()
        connection.send(_outcome(jobs[job], JobContext(job, connection, stop)))


def _outcome(job: Job, line: JobContext) -> Done:
    try:
        return Done(line.job, job(line))
    except Exception as error:
        traceback.print_exc()
        return Done(line.job, error=str(error) or type(error).__name__)


def _print_to(log: Path) -> None:
    with log.open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _cause(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "was killed, perhaps for lack of memory"
    return f"ended unexpectedly with exit code {exit_code}"
