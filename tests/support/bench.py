"""One coordinator in a directory, with devices in this process: what a restart finds is what is on its disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_server.ledger_store import SqliteLedgerStore
from fl_server.training.begun import BegunFile
from fl_server.training.checkpoint import CheckpointFile, RecordLog
from fl_server.training.coordinator import Coordinator, RoundReport
from fl_server.training.round import Rounds, SecureRounds
from fl_server.training.transport import NodeId, Reply
from privacy.ledger.entries import Entry
from privacy.ledger.ledger import Ledger
from privacy.secagg import Request
from privacy.secagg.server.record import FIRST, RoundRecord, line_digest, open_record
from strategies.fedavg import FedAvgM, ModelState
from tests.support.devices import NOW, Fleet

Fault = Callable[[str, NodeId], None]


@dataclass
class FaultyTransport:
    """Devices in this process; `fault` may raise to lose a reply, or `Crash` to end it all."""

    fleet: Fleet
    fault: Fault = lambda _stage, _node: None
    sent: list[tuple[str, Mapping[NodeId, Request]]] = field(default_factory=list)

    def nodes(self) -> Sequence[NodeId]:
        return range(self.fleet.size)

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:  # noqa: ARG002
        self.sent.append((stage, requests))
        for node, request in requests.items():
            try:
                self.fault(stage, node)
                yield Reply(node, self.fleet.devices[node].handle(stage, request.body))
            except Exception as error:
                yield Reply(node, None, str(error))


@dataclass
class Watcher:
    reports: list[RoundReport] = field(default_factory=list)
    waits: list[tuple[int, str]] = field(default_factory=list)

    def round_waits(self, number: int, reason: str) -> None:
        self.waits.append((number, reason))

    def round_ended(self, report: RoundReport, state: ModelState) -> None:  # noqa: ARG002
        self.reports.append(report)

    def extra_state(self) -> dict[str, NDArray[np.int64]]:
        return {"seen": np.arange(len(self.reports), dtype=np.int64)}


@dataclass
class Bench:
    """One coordinator in a directory; making another one over the same directory is a restart."""

    path: Path
    fleet: Fleet
    simulated: bool = True
    """Whether devices go back to the checkpoint with the server, as simulated ones do."""

    def __post_init__(self) -> None:
        self.now = NOW
        self.watcher = Watcher()
        self.ledger = Ledger(
            SqliteLedgerStore(self.path / "ledger.db"),
            self.fleet.operator,
            self.fleet.task.population,
            self.fleet.task.budget,
            lambda: NOW,
        )
        self.checkpoints = CheckpointFile(self.path / "checkpoint", self.fleet.task.id)
        self.begun = None if self.simulated else BegunFile(self.path / "begun.json", self.fleet.task.id)
        self.records = RecordLog(self.path / "rounds.jsonl", self.fleet.operator)

    def coordinator(
        self,
        fault: Fault = lambda _stage, _node: None,
        transport: FaultyTransport | None = None,
        learning_rate: float = 1.0,
        rounds: Rounds | None = None,
    ) -> Coordinator:
        self.transport = transport or FaultyTransport(self.fleet, fault)
        return Coordinator(
            task=self.fleet.task,
            rounds=rounds
            or SecureRounds(
                self.fleet.task, lambda: self.fleet.round_authority, self.transport, lambda: self.now, stage_timeout=1.0
            ),
            ledger=self.ledger,
            strategy=FedAvgM(learning_rate, 0.5, self.fleet.task.participation.expected_cohort),
            checkpoints=self.checkpoints,
            begun=self.begun,
            records=self.records,
            randomness_for=lambda number: self.fleet.seed.child("cohort", number).stream(),
            noise_for=lambda number: self.fleet.seed.child("noise", number).stream(),
            callbacks=self.watcher,
        )

    def bodies(self) -> list[object]:
        return [Entry.model_validate_json(raw).body for raw in self.ledger.entries()]

    def log(self) -> list[RoundRecord]:
        """The reviewer's log, each line verified to follow the one before."""
        lines = (self.path / "rounds.jsonl").read_bytes().splitlines()
        records = [open_record(line, self.fleet.operator.public) for line in lines]
        assert [one.previous for one in records] == [FIRST, *map(line_digest, lines)][: len(lines)]
        return records

    def count(self, kind: type) -> int:
        return sum(isinstance(body, kind) for body in self.bodies())
