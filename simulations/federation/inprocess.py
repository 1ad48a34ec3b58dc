"""The server's round without a network: devices in this process, or spread over worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Protocol

from fl_client.device.device import Device
from fl_client.device.memory import TaskRecord
from fl_server.training.transport import NodeId, Reply
from privacy.secagg import Request, Rounds, Stage
from simulations.federation.devices import DeviceHost, Records
from simulations.processes.pool import FORKSERVER, ProcessEnded, WorkerProcess, end_all, ready, serve
from simulations.processes.workers import WorkerDied

Answer = tuple[Reply, TaskRecord]
"""A device's reply, and what it remembers afterwards."""


class Devices:
    """Answers for many devices in this process."""

    def __init__(self, host: DeviceHost) -> None:
        self._host = host
        self._live: dict[NodeId, Device] = {}

    def answers(self, stage: str, requests: Mapping[NodeId, Request]) -> Iterator[Answer]:
        """Yield the devices' answers, one after the other."""
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
        return TaskRecord(Rounds(int(records.last_round[node])), int(records.participations[node]))


class Workers(Protocol):
    """Processes in which devices work, or this one alone."""

    def answers(self, stage: str, requests: Mapping[NodeId, Request]) -> Iterator[Answer]:
        """Yield one answer for every request, in any order."""
        ...


class WorkerPool:
    """Devices spread over processes by their number; the answers do not depend on how many processes there are."""

    def __init__(self, host: DeviceHost, workers: int) -> None:
        self._workers: list[WorkerProcess[Any, Answer | None]] = [
            WorkerProcess(FORKSERVER, _work) for _ in range(workers)
        ]
        # Not as an argument of the process: starting one would wait until it has imported everything and read it.
        for worker in self._workers:
            worker.send(host)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_all(self._workers)

    def answers(self, stage: str, requests: Mapping[NodeId, Request]) -> Iterator[Answer]:
        """Yield answers as the workers give them.

        Raises:
            WorkerDied: when a process is gone.
        """
        for place, worker in enumerate(self._workers):
            part = {node: request for node, request in requests.items() if node % len(self._workers) == place}
            worker.send((stage, part))
        try:
            yield from self._collect()
        except ProcessEnded as error:
            raise WorkerDied("a worker process ended unexpectedly, perhaps for lack of memory") from error

    def _collect(self) -> Iterator[Answer]:
        busy = list(self._workers)
        while busy:
            for worker in ready(busy):
                answer = worker.receive()
                if answer is None:
                    busy.remove(worker)
                else:
                    yield answer


class InProcessTransport:
    """A `Transport` of the server's over simulated devices; nobody is ever late, so the timeout does not matter."""

    def __init__(self, workers: Workers, records: Records) -> None:
        self._workers = workers
        self._records = records

    def nodes(self) -> Sequence[NodeId]:
        """Return all devices of the population: each can be reached."""
        return range(self._records.last_round.size)

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:  # noqa: ARG002
        """Yield the devices' replies, and keep what each remembers after its own.

        Args:
            stage: the value of a `Stage`.
            requests: what to send, by device.
            timeout: not used.

        Raises:
            WorkerDied: when a process is gone.
        """
        for reply, record in self._workers.answers(stage, requests):
            self._records.last_round[reply.node] = record.rounds.last
            self._records.participations[reply.node] = record.participations
            yield reply


def _work(connection: Connection) -> None:
    """Take in the host of a population, and answer for its devices; None ends the answers to a request."""
    devices = Devices(connection.recv())
    serve(connection, lambda request: chain(devices.answers(*request), [None]))
