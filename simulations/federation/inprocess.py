"""The server's round without a network: devices in this process, or spread over worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Protocol

from fl_client.device.device import Device
from fl_client.device.store import TaskRecord
from fl_server.training.transport import NodeId, Reply
from privacy.secagg import Request, Stage
from simulations.federation.devices import DeviceHost, Records
from simulations.processes.workers import FORKS, WorkerDied, one_thread

Answer = tuple[Reply, TaskRecord]
"""One device's reply, and what it remembers afterwards."""


class Devices:
    """Answers for many devices in this process."""

    def __init__(self, host: DeviceHost) -> None:
        self._host = host
        self._live: dict[NodeId, Device] = {}

    def answers(self, stage: str, requests: Mapping[NodeId, Request]) -> Iterator[Answer]:
        """The devices' answers, one after the other."""
        if stage == Stage.ADVERTISE:
            self._live = {node: self._host.device(node) for node in requests}
        for node, request in requests.items():
            yield self._answer(stage, node, request.body), self._record(node)

    def _answer(self, stage: str, node: NodeId, request: bytes) -> Reply:
        try:
            return Reply(node, self._live[node].handle(stage, request))
        except Exception as error:  # a device that fails, however it does, has dropped out
            return Reply(node, None, f"{type(error).__name__}: {error}")

    def _record(self, node: NodeId) -> TaskRecord:
        records = self._host.records
        return TaskRecord(int(records.last_round[node]), int(records.participations[node]))


class Workers(Protocol):
    """Where the devices' work is done."""

    def answers(self, stage: str, requests: Mapping[NodeId, Request]) -> Iterator[Answer]: ...


class WorkerPool:
    """Devices spread over processes by their number; the answers do not depend on how many processes there are."""

    def __init__(self, host: DeviceHost, workers: int) -> None:
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(workers):
            ours, theirs = FORKS.Pipe()
            process = FORKS.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        # Not as an argument of the process: starting one would wait until it has imported everything and read it.
        for connection in self._connections:
            connection.send(host)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            process.kill()

    def answers(self, stage: str, requests: Mapping[NodeId, Request]) -> Iterator[Answer]:
        """Answers as the workers give them.

        Raises:
            WorkerDied: when a process is gone.
        """
        try:
            for place, connection in enumerate(self._connections):
                share = {node: one for node, one in requests.items() if node % len(self._connections) == place}
                connection.send((stage, share))
            yield from self._collect()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise WorkerDied("a worker process ended unexpectedly, perhaps for lack of memory") from error

    def _collect(self) -> Iterator[Answer]:
        busy = list(self._connections)
        while busy:
            ready = wait(busy)
            for connection in [one for one in busy if one in ready]:
                answer: Answer | None = connection.recv()
                if answer is None:
                    busy.remove(connection)
                else:
                    yield answer


class InProcessTransport:
    """A `Transport` of the server's over simulated devices; nobody is ever late, so the timeout does not matter."""

    def __init__(self, workers: Workers, records: Records) -> None:
        self._workers = workers
        self._records = records

    def nodes(self) -> Sequence[NodeId]:
        return range(self._records.last_round.size)

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:  # noqa: ARG002
        for reply, record in self._workers.answers(stage, requests):
            self._records.last_round[reply.node] = record.last_round
            self._records.participations[reply.node] = record.participations
            yield reply


def _serve(connection: Connection) -> None:
    """A worker's life: one exchange after the other until the parent closes the pipe."""
    # Ctrl-C goes to the whole process group; the parent finishes the round first and then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    try:
        devices = Devices(connection.recv())
        while True:
            stage, requests = connection.recv()
            for answer in devices.answers(stage, requests):
                connection.send(answer)
            connection.send(None)
    except (EOFError, BrokenPipeError):
        return
