"""Worker processes on this machine, of which any may die; the next round has them all again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from types import TracebackType

from simulations.executors.results import Answer, Unfinished, answer
from simulations.federation.partial_sums import Job, Worker
from simulations.processes.pool import FORKSERVER, ProcessEnded, WorkerProcess, end_all, ready, serve
from simulations.processes.workers import WorkerDied

Process = WorkerProcess[Worker | Job, Answer]
"""A process that is sent its worker, and then one job after the other."""


class ProcessWorkers:
    """So many processes at the start of every round; implements `simulations.executors.retrying.Workers`."""

    _job: Job

    def __init__(self, worker: Worker, processes: int) -> None:
        self._worker = worker
        self._places: list[Process | None] = [None] * processes
        self._busy: set[Process] = set()

    def __enter__(self) -> ProcessWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_all(self._living())

    def open(self, job: Job) -> None:
        """Keep the job that devices are submitted for from now on."""
        self._job = job

    def start_workers(self) -> None:
        """Start a process for every one that ended, and wait until they have imported what they need.

        Raises:
            WorkerDied: when one ends before.
        """
        missing = [place for place, process in enumerate(self._places) if process is None]
        for place in missing:
            self._places[place] = WorkerProcess(FORKSERVER, _work)
        fresh = [process for place in missing if (process := self._places[place]) is not None]
        # Not as an argument of the process: starting one would wait until it has imported everything and read it.
        for process in fresh:
            process.send(self._worker)
        for process in fresh:
            try:
                process.receive()
            except ProcessEnded as error:
                self._places[self._places.index(process)] = None
                raise WorkerDied(f"a worker process did not start ({error})") from error

    def idle(self) -> Sequence[Process]:
        """Return the processes without a part of the round, in the order of their places."""
        return [process for process in self._living() if process not in self._busy]

    def submit(self, worker: Process, devices: Sequence[int]) -> None:
        """Let a process do the job for these devices."""
        self._busy.add(worker)
        worker.send(replace(self._job, devices=devices))

    def results(self) -> Iterator[tuple[Process, Answer]]:
        """Wait for at least one answer and yield those that are there; whoever died has left its part unfinished."""
        for process in ready(process for process in self._living() if process in self._busy):
            self._busy.remove(process)
            yield process, self._answer(process)

    def _answer(self, process: Process) -> Answer:
        try:
            return process.receive()
        except ProcessEnded as error:
            self._places[self._places.index(process)] = None
            return Unfinished(f"a worker process is gone ({error})")

    def _living(self) -> list[Process]:
        return [process for process in self._places if process is not None]


def _work(connection: Connection) -> None:
    """Take in a worker, say that it is there, and do one job after the other."""
    worker: Worker = connection.recv()
    connection.send(None)
    serve(connection, lambda job: [answer(worker, job)])
