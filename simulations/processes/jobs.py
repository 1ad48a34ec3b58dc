"""Independent jobs in processes of their own: one thread each, one job at a time, and none takes the others down.

Workers are forked, so that jobs share what was read and computed before; on Linux they end when their parent does.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any

from simulations.processes.pool import FORK, ProcessEnded, WorkerProcess, end_all, ready, serve

Job = Callable[["JobContext"], Any]
"""A function whose result travels through a pipe; it ends early when its context says so."""

POLL_INTERVAL_S = 0.2
"""Seconds between two looks at whether to stop."""


@dataclass(frozen=True)
class Progress:
    """How far a job is, in units of its own."""

    job: int
    done: int


@dataclass(frozen=True)
class Done:
    """The end of a job: its `result`, or why it failed when there is an `error`."""

    job: int
    result: Any = None
    error: str = ""


@dataclass(frozen=True)
class JobContext:
    """What a job knows of whoever started it."""

    job: int
    _connection: Connection = field(repr=False)
    _stop: Event = field(repr=False)

    def tell(self, done: int) -> None:
        """Report how far the job is, in units of its own."""
        self._connection.send(Progress(self.job, done))

    def stop_requested(self) -> bool:
        """Return whether the job is to end early."""
        return self._stop.is_set()


_Worker = WorkerProcess[int, Progress | Done]
"""A worker that is sent numbers of jobs."""


class JobPool:
    """Runs jobs, the first first, on so many processes.

    Whatever jobs print goes to the file `log`, as do the tracebacks of those that fail.
    """

    def __init__(self, jobs: Sequence[Job], processes: int, log: Path) -> None:
        self._stop: Event = FORK.Event()
        self._work = partial(_work, jobs, self._stop, log)
        self._waiting = deque(range(len(jobs)))
        self._workers = [self._start() for _ in range(min(processes, len(jobs)))]
        self._job_of: dict[_Worker, int] = {}

    def __enter__(self) -> JobPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_all(self._workers, timeout=0)

    def run(self, stop_requested: Callable[[], bool]) -> Iterator[Progress | Done]:
        """Yield what jobs tell, as they do.

        Once `stop_requested`, those in progress end early and no other begins.
        """
        for worker in self._workers:
            self._submit(worker)
        while self._job_of:
            if stop_requested():
                self._stop.set()
                self._waiting.clear()
            for worker in ready(self._job_of, POLL_INTERVAL_S):
                message = self._receive(worker)
                if isinstance(message, Done) and self._waiting:
                    self._submit(worker if worker in self._workers else self._replacement())
                yield message

    def _submit(self, worker: _Worker) -> None:
        self._job_of[worker] = self._waiting.popleft()
        worker.send(self._job_of[worker])

    def _receive(self, worker: _Worker) -> Progress | Done:
        """Return what a worker says; of one that ended, that its job failed."""
        try:
            message = worker.receive()
        except ProcessEnded as error:
            self._workers.remove(worker)
            message = Done(self._job_of[worker], error=f"its process {_cause(error.exit_code)}")
        if isinstance(message, Done):
            del self._job_of[worker]
        return message

    def _replacement(self) -> _Worker:
        worker = self._start()
        self._workers.append(worker)
        return worker

    def _start(self) -> _Worker:
        return WorkerProcess(FORK, self._work)


def _work(jobs: Sequence[Job], stop: Event, log: Path, connection: Connection) -> None:
    """Do one job after the other until this process is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as with Ctrl-C, the parent passes it on, once
    _print_to(log)
    serve(connection, lambda job: [_outcome(jobs[job], JobContext(job, connection, stop))])


def _outcome(job: Job, context: JobContext) -> Done:
    try:
        return Done(context.job, job(context))
    except Exception as error:
        traceback.print_exc()
        return Done(context.job, error=str(error) or type(error).__name__)


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
