"""Workers of ideal rounds: this process, or several on this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from types import TracebackType

from simulations.inprocess import WorkerDied, one_thread
from simulations.shares import Job, Share, Worker


class LocalCrew:
    """This process alone; implements `simulations.ideal.Crew`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def shares(self, job: Job) -> Iterator[Share]:
        """See `Crew.shares`."""
        yield self._worker.share(job)


class ProcessCrew:
    """Processes, each with every so many-th device: the same device always meets the worker that has its products.

    Implements `simulations.ideal.Crew`. Sums of integers do not depend on who adds them, so neither does the model.
    """

    def __init__(self, worker: Worker, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        for connection in self._connections:
            connection.send(worker)

    def __enter__(self) -> ProcessCrew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            process.kill()

    def shares(self, job: Job) -> Iterator[Share]:
        """See `Crew.shares`.

        Raises:
            WorkerDied: when a process is gone.
            MechanismError: from a worker.
        """
        try:
            for place, connection in enumerate(self._connections):
                own = [device for device in job.devices if device % len(self._connections) == place]
                connection.send(replace(job, devices=own))
            for connection in self._connections:
                answer: Share | Exception = connection.recv()
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise WorkerDied("a worker process ended unexpectedly, perhaps for lack of memory") from error


def _serve(connection: Connection) -> None:
    """A worker's life: one job after the other until the parent closes the pipe."""
    # Ctrl-C goes to the whole process group; the parent finishes the round first and then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    try:
        worker: Worker = connection.recv()
        while True:
            job: Job = connection.recv()
            try:
                connection.send(worker.share(job))
            except ValueError as error:
                connection.send(error)
    except (EOFError, BrokenPipeError):
        return
