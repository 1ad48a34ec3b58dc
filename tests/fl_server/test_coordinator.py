"""Rounds that go wrong: what is charged, what is released, what is still there after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.store import Memory, MemoryStore, TaskRecord
from fl_server.checkpoint import CheckpointError, CheckpointFile
from fl_server.coordinator import Coordinator, CoordinatorError, Ended, RoundReport
from fl_server.ledger_store import SqliteLedgerStore
from fl_server.records import RecordLog
from fl_server.transport import NodeId, Reply
from privacy.ledger import Ledger
from privacy.ledger_entries import Abandoned, Charged, Entry, Released
from privacy.secagg import Request, Stage
from privacy.task import Budget, DeviceMechanism
from strategies.fedavg import FedAvgM, ModelState
from tests.support.devices import NOW, Fleet, noiseless_task


class Crash(BaseException):
    """Stands for the death of the process."""


Fault = Callable[[str, NodeId], None]


@dataclass
class FaultyTransport:
    """Devices in this process; `fault` may raise to lose a reply, or `Crash` to end it all."""

    fleet: Fleet
    fault: Fault = lambda _stage, _node: None

    def nodes(self) -> Sequence[NodeId]:
        return range(self.fleet.size)

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:  # noqa: ARG002
        for node, request in requests.items():
            try:
                self.fault(stage, node)
                yield Reply(node, self.fleet.devices[node].handle(stage, request.body))
            except Exception as error:
                yield Reply(node, None, str(error))


@dataclass
class Watcher:
    reports: list[RoundReport] = field(default_factory=list)

    def round_ended(self, report: RoundReport, state: ModelState) -> None:  # noqa: ARG002
        self.reports.append(report)

    def extra_state(self) -> dict[str, NDArray[np.int64]]:
        return {"seen": np.arange(len(self.reports), dtype=np.int64)}


@dataclass
class Bench:
    """One coordinator in a directory; making another one over the same directory is a restart."""

    path: Path
    fleet: Fleet

    def __post_init__(self) -> None:
        self.watcher = Watcher()
        self.ledger = Ledger(
            SqliteLedgerStore(self.path / "ledger.db"), self.fleet.operator, self.fleet.task.budget, lambda: "now"
        )
        self.checkpoints = CheckpointFile(self.path / "checkpoint", self.fleet.task.id)
        self.records = RecordLog(self.path / "rounds.jsonl", self.fleet.operator)

    def coordinator(self, fault: Fault = lambda _stage, _node: None) -> Coordinator:
        return Coordinator(
            task=self.fleet.task,
            convener=self.fleet.convener,
            transport=FaultyTransport(self.fleet, fault),
            ledger=self.ledger,
            strategy=FedAvgM(1.0, 0.5, self.fleet.task.participation.expected_cohort),
            checkpoints=self.checkpoints,
            records=self.records,
            randomness_for=lambda number: self.fleet.seed.child("cohort", number).stream(),
            observer=self.watcher,
            clock=lambda: NOW,
            stage_timeout=1.0,
        )

    def bodies(self) -> list[object]:
        return [Entry.model_validate_json(raw).body for raw in self.ledger.entries()]

    def count(self, kind: type) -> int:
        return sum(isinstance(body, kind) for body in self.bodies())


START = np.zeros(8, np.float32)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, Fleet(task=noiseless_task(rounds=3)))


def lose(stage: Stage, nodes: Sequence[int]) -> Fault:
    def fault(at: str, node: NodeId) -> None:
        if at == stage and node in nodes:
            raise ConnectionError("gone")

    return fault


def test_all_rounds_are_released_and_the_model_is_their_momentum_average(bench: Bench) -> None:
    result = bench.coordinator().run(START)
    mean = bench.fleet.expected(list(range(6))) / 6
    np.testing.assert_allclose(result.state.weights, mean * (1 + 1.5 + 1.75), atol=1e-4)
    assert (result.ended, bench.count(Charged), bench.count(Released)) == (Ended.COMPLETE, 3, 3)


@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.SHARE, Stage.INPUT, Stage.ECHO])
def test_a_round_that_dies_before_unmasking_costs_nothing(tmp_path: Path, stage: Stage) -> None:
    bench = Bench(tmp_path, Fleet(task=noiseless_task(rounds=9)))
    with pytest.raises(CoordinatorError, match="5 rounds in a row"):
        bench.coordinator(lose(stage, range(5))).run(START)
    assert bench.count(Charged) == 0
    assert len(bench.watcher.reports) == 5
    assert all(str(stage) in report.aborted for report in bench.watcher.reports)


def test_a_round_that_dies_while_unmasking_stays_charged_and_releases_nothing(bench: Bench) -> None:
    def fault(at: str, node: NodeId) -> None:
        if at == Stage.UNMASK and len(bench.watcher.reports) == 0 and node < 5:
            raise ConnectionError("gone")

    result = bench.coordinator(fault).run(START)
    assert result.ended is Ended.COMPLETE
    assert (bench.count(Charged), bench.count(Released), bench.count(Abandoned)) == (3, 2, 1)
    assert "unmask" in bench.watcher.reports[0].aborted


def test_drop_outs_within_the_policy_leave_the_sum_exact(bench: Bench) -> None:
    result = bench.coordinator(lose(Stage.INPUT, [1, 4])).run(START)
    mean = bench.fleet.expected([0, 2, 3, 5]) / 6
    np.testing.assert_allclose(result.state.weights, mean * 4.25, atol=1e-4)
    assert bench.watcher.reports[0].facts.refusals == {"input: gone": 2}


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("number", [1, 2])
def test_a_crash_in_any_stage_and_a_restart_end_like_a_run_in_peace(tmp_path: Path, stage: Stage, number: int) -> None:
    """Devices restart as well, with what they remembered before the round, as simulated ones do."""
    peace = Bench(_directory(tmp_path, "peace"), Fleet(task=noiseless_task(rounds=3)))
    expected = peace.coordinator().run(START)
    war = Bench(_directory(tmp_path, "war"), Fleet(task=noiseless_task(rounds=3)))

    def crash(at: str, node: NodeId) -> None:
        if at == stage and node == 3 and len(war.watcher.reports) == number - 1:
            raise Crash

    with pytest.raises(Crash):
        war.coordinator(crash).run(START)
    for index in range(6):
        war.fleet.stores[index] = _memory_before(war.fleet, number)
    war.fleet.restart()
    restarted = Bench(war.path, war.fleet)
    result = restarted.coordinator().run(START)
    np.testing.assert_array_equal(result.state.weights, expected.state.weights)
    assert restarted.ledger.entries() == peace.ledger.entries()


@pytest.mark.parametrize("where", ["checkpoint", "ledger"])
def test_a_crash_between_checkpoint_and_mark_is_settled_on_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    peace = Bench(_directory(tmp_path, "peace"), Fleet(task=noiseless_task(rounds=2)))
    expected = peace.coordinator().run(START)
    war = Bench(_directory(tmp_path, "war"), Fleet(task=noiseless_task(rounds=2)))

    def crash(*_: object) -> None:
        raise Crash

    target = (CheckpointFile, "save") if where == "checkpoint" else (Ledger, "released")
    monkeypatch.setattr(*target, crash)
    with pytest.raises(Crash):
        war.coordinator().run(START)
    monkeypatch.undo()
    done = 0 if where == "checkpoint" else 1
    for index in range(6):
        war.fleet.stores[index] = _memory_before(war.fleet, done + 1)
    war.fleet.restart()
    restarted = Bench(war.path, war.fleet)
    np.testing.assert_array_equal(restarted.coordinator().run(START).state.weights, expected.state.weights)
    assert restarted.ledger.entries() == peace.ledger.entries()


def test_the_budget_ends_the_run_before_it_is_exceeded(tmp_path: Path) -> None:
    task = noiseless_task(
        rounds=5, mechanism=DeviceMechanism(clip=0.6, noise_multiplier=2.0), budget=Budget(epsilon=3.5, delta=1e-5)
    )
    bench = Bench(tmp_path, Fleet(task=task))
    result = bench.coordinator().run(START)
    assert result.ended is Ended.BUDGET_EXHAUSTED
    assert 1 <= result.round < 5
    assert bench.count(Charged) == bench.count(Released) == result.round
    assert bench.ledger.spent().epsilon <= 3.5


def test_a_stop_is_asked_for_between_rounds(bench: Bench) -> None:
    result = bench.coordinator().run(START, lambda: len(bench.watcher.reports) == 1)
    assert (result.ended, result.round) == (Ended.STOPPED, 1)
    assert bench.coordinator().run(START).round == 3


def test_checkpoints_of_another_task_and_damaged_ones_are_refused(bench: Bench, tmp_path: Path) -> None:
    bench.coordinator().run(START)
    with pytest.raises(CheckpointError, match="belongs to task"):
        CheckpointFile(tmp_path / "checkpoint", "ab" * 32).load()
    (tmp_path / "checkpoint").write_bytes((tmp_path / "checkpoint").read_bytes()[:50])
    with pytest.raises(CheckpointError, match="expected a checkpoint"):
        bench.checkpoints.load()


def _directory(base: Path, name: str) -> Path:
    path = base / name
    path.mkdir()
    return path


def _memory_before(fleet: Fleet, number: int) -> MemoryStore:
    store = MemoryStore()
    store.save(Memory({fleet.task.id: TaskRecord(number - 1, number - 1)}, {fleet.task.population: 1}))
    return store
