"""Worker processes on this machine."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from types import TracebackType

from simulations.executors.results import Answer, Unfinished, answer
from simulations.federation.partial_sums import Job, Worker
from simulations.processes.workers import FORKS, WorkerDied, one_thread

_GONE = (EOFError, BrokenPipeError, ConnectionResetError)
END_TIMEOUT_S = 5.0
"""Seconds for a process that was told to end, or whose pipe broke."""


class ProcessWorkers:
    """So many processes at the start of every round; implements `simulations.executors.retrying.Workers`."""

    _job: Job

    def __init__(self, worker: Worker, processes: int) -> None:
        self._worker = worker
        self._places: list[Process | None] = [None] * processes

    def __enter__(self) -> ProcessWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        living = [one for one in self._places if one is not None]
        for one in living:
            one.connection.close()
        for one in living:
            one.end()

    def open(self, job: Job) -> None:
        """See `Workers.open`."""
        self._job = job

    def start_workers(self) -> None:
        """See `Workers.start_workers`."""
        fresh = {place: Process() for place, one in enumerate(self._places) if one is None}
        for place, one in fresh.items():
            self._places[place] = one
        for one in fresh.values():
            one.send(self._worker)
        for one in fresh.values():
            one.await_ready()

    def idle(self) -> Sequence[Process]:
        """See `Workers.idle`."""
        return [one for one in self._places if one is not None and not one.busy]

    def submit(self, worker: Process, devices: Sequence[int]) -> None:
        """See `Workers.submit`."""
        worker.busy = True
        worker.send(replace(self._job, devices=devices))

    def results(self) -> Iterator[tuple[Process, Answer]]:
        """See `Workers.results`."""
        busy = {one.connection: one for one in self._places if one is not None and one.busy}
        for connection in wait(list(busy)):
            one = busy[connection]  # type: ignore[index]
            found = one.receive()
            if one.ended:
                self._places[self._places.index(one)] = None
            yield one, found


class Process:
    """One process, and this side's end of the pipe to it."""

    def __init__(self) -> None:
        self.connection, theirs = FORKS.Pipe()
        self._process = FORKS.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.busy = False
        self.ended = False

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def send(self, thing: Worker | Job) -> None:
        """That nobody is there is found when the answer is read."""
        try:
            self.connection.send(thing)
        except _GONE:
            return

    def await_ready(self) -> None:
        """Until it has imported what it needs.

        Raises:
            WorkerDied: when it ends before.
        """
        try:
            self.connection.recv()
        except _GONE as error:
            self.end()
            raise WorkerDied(f"a worker process did not start ({_cause(self._process.exitcode)})") from error

    def receive(self) -> Answer:
        """Its answer; `Unfinished`, and it has `ended`, if it is gone."""
        self.busy = False
        try:
            found: Answer = self.connection.recv()
        except _GONE:
            self.end()
            return Unfinished(f"a worker process is gone ({_cause(self._process.exitcode)})")
        return found

    def end(self) -> None:
        """Let it go; it has been told, by its pipe."""
        self.ended = True
        self.connection.close()
        self._process.join(END_TIMEOUT_S)
        self._process.kill()


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"{signal.Signals(-code).name}, perhaps for lack of memory"
    return f"exit code {code}"


def _serve(connection: Connection) -> None:
    """A worker's life: one job after the other until the parent closes the pipe."""
    # Ctrl-C goes to the whole process group; the parent finishes the round first and then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    try:
        worker: Worker = connection.recv()
        connection.send(None)
        while True:
            job: Job = connection.recv()
            connection.send(answer(worker, job))
    except _GONE:
        return
