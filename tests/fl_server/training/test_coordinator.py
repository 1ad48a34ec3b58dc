"""Rounds that go wrong: what is charged, what is released, what is still there after a crash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.device.device import Train
from fl_client.device.memory import Memory, SeenList, TaskRecord
from fl_server.training.checkpoint import CheckpointError, CheckpointFile
from fl_server.training.coordinator import CoordinatorError, Ended
from fl_server.training.transport import NodeId
from privacy.base.randomness import Randomness, RandomnessError
from privacy.ledger.entries import Abandoned, Charged, Released
from privacy.ledger.ledger import Ledger
from privacy.secagg import Rounds, Stage
from privacy.secagg.messages import Members, SignedSurvivors
from privacy.secagg.server.record import RoundRecord
from privacy.secagg.server.shard import total_transcript
from privacy.task.states import Update, joint_transcript
from privacy.task.task import AggregationPolicy, BoundedParticipation, Budget, DeviceMechanism, Statistic, TaskSpec
from tests.support.bench import Bench, Fault
from tests.support.devices import LATER, NOW, Fleet, noiseless_task
from tests.support.stores import MemoryDeviceStore


class Crash(BaseException):
    """Stands for the death of the process."""


START = np.zeros(8, np.float32)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, Fleet(task=noiseless_task(rounds=3)))


def test_cohorts_are_drawn_from_the_source_that_the_task_promises(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fleet(task=noiseless_task(randomness="system")))
    with pytest.raises(RandomnessError, match="as the task promises, got a source that is seeded"):
        bench.coordinator().run(START)
    assert bench.count(Charged) == 0


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


@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.SHARE, Stage.INPUT, Stage.CONSISTENCY])
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
    assert restarted.log() == peace.log()


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
    assert restarted.log() == peace.log()


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


def test_a_model_that_is_not_finite_ends_the_run_and_is_not_kept(bench: Bench) -> None:
    with pytest.raises(CoordinatorError, match="the model of round 1 is not finite; lower the server's learning rate"):
        bench.coordinator(learning_rate=1e308).run(START)
    assert bench.checkpoints.load() is None
    assert (bench.count(Charged), bench.count(Released)) == (1, 0)


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


def test_a_device_that_is_revoked_between_two_rounds_is_left_out_of_the_second(bench: Bench) -> None:
    def revoke_after_the_first() -> bool:
        if len(bench.watcher.reports) == 1:
            bench.fleet.revocations = bench.fleet.list_revoked(2, 4)
        return False

    bench.coordinator().run(START, revoke_after_the_first)
    assert [report.release and report.release.survivors for report in bench.watcher.reports] == [6, 5, 5]
    assert bench.fleet.stores[0].load().revocations[bench.fleet.task.population].number == 2


def test_a_revocation_list_that_runs_out_stops_the_run_and_keeps_what_was_released(bench: Bench) -> None:
    def age_after_the_first() -> bool:
        bench.now = LATER + 1 if bench.watcher.reports else NOW
        return False

    with pytest.raises(CoordinatorError, match=r"the list is out of date; .*; the last complete round is kept"):
        bench.coordinator().run(START, age_after_the_first)
    assert (bench.count(Charged), bench.count(Released)) == (1, 1)
    bench.now = NOW
    assert bench.coordinator().run(START).ended is Ended.COMPLETE


@pytest.mark.parametrize("stage", Stage)
def test_all_devices_are_sent_one_object_and_a_part_of_their_own(bench: Bench, stage: Stage) -> None:
    """The model is in the part that all are sent, so a round holds it once."""
    bench.coordinator().run(START, lambda: len(bench.watcher.reports) == 1)
    [requests] = [requests for at, requests in bench.transport.sent if at == stage]
    assert len({id(request.common) for request in requests.values()}) == 1
    assert all(request.body == request.own + request.common for request in requests.values())
    own = {request.own for request in requests.values()}
    for_each = (Stage.INPUT, Stage.UNMASK)  # encrypted shares, and tags of the consistency check
    assert len(own) == (6 if stage in for_each else 1)
    assert (START.tobytes() in requests[0].common) == (stage is Stage.INPUT)
    assert repr(requests[0]) == "Request()"


# Shards.


@pytest.fixture
def sharded(tmp_path: Path) -> Bench:
    """Forty devices in two shards; in each, a third may drop out."""
    task = noiseless_task(
        rounds=2,
        participation=BoundedParticipation(cohort=40, max_participations=9),
        aggregation=AggregationPolicy(corrupt_fraction=0.0, max_dropouts=6, min_survivors=7, modulus_bits=32, shards=2),
    )
    bench = Bench(tmp_path, Fleet(40, task))
    sizes = [len(bench.fleet.shard(shard, number)) for shard in (0, 1) for number in (1, 2)]
    assert min(sizes) >= 10
    assert bench.fleet.shard(0, 1) != bench.fleet.shard(0, 2)
    return bench


def charged_for(record: RoundRecord) -> str:
    """What the ledger should hold, recomputed from the reviewer's log."""
    parts = [
        total_transcript(
            SignedSurvivors(Members(shard.survivors), bytes.fromhex(shard.table_digest)).signed_part(
                bytes.fromhex(shard.roster), shard.cohort
            ),
            bytes.fromhex(shard.sum_digest),
        )
        for shard in record.shards
    ]
    return joint_transcript(parts)


def is_mean_of(bench: Bench, weights: NDArray[np.float32], *rounds: list[int]) -> bool:
    """Momentum 0.5 over the plain sums of these devices, divided by the expected 40."""
    expected, velocity = np.zeros(8), np.zeros(8)
    for devices in rounds:
        velocity = 0.5 * velocity + bench.fleet.expected(devices) / 40
        expected += velocity
    return bool(np.abs(weights - expected).max() < 1e-4)


def test_two_shards_are_summed_and_charged_together_once_a_round(sharded: Bench) -> None:
    result = sharded.coordinator().run(START)
    assert is_mean_of(sharded, result.state.weights, [*range(40)], [*range(40)])
    assert (sharded.count(Charged), sharded.count(Released)) == (2, 2)
    charges = [body.charge.transcript for body in sharded.bodies() if isinstance(body, Charged)]
    assert charges == [charged_for(record) for record in sharded.log()]
    assert [len(record.shards) for record in sharded.log()] == [2, 2]
    assert [report.release and report.release.survivors for report in sharded.watcher.reports] == [40, 40]


@pytest.mark.parametrize("stage", Stage)
def test_a_shard_that_ends_early_leaves_the_others_sum(sharded: Bench, stage: Stage) -> None:
    """Before the charge it is left out of it; while unmasking, it stays charged and nothing of it is released."""
    lost, other = sharded.fleet.shard(0, 1), sharded.fleet.shard(1, 1)

    def fault(at: str, node: NodeId) -> None:
        if at == stage and not sharded.watcher.reports and node in lost[1:]:
            raise ConnectionError("gone")

    result = sharded.coordinator(fault).run(START)
    assert is_mean_of(sharded, result.state.weights, other, [*range(40)])
    first = sharded.log()[0]
    charges = [body.charge.transcript for body in sharded.bodies() if isinstance(body, Charged)]
    assert charges[0] == charged_for(first)
    assert [shard.shard for shard in first.shards] == ([0, 1] if stage is Stage.UNMASK else [1])
    assert list(first.ended) == ["0"]
    assert stage in first.ended["0"]
    released = sharded.watcher.reports[0].release
    assert released is not None
    assert (released.survivors, released.cohort) == (len(other), len(other))


def test_a_round_without_a_shard_left_costs_nothing(sharded: Bench) -> None:
    def fault(at: str, node: NodeId) -> None:
        if at == Stage.INPUT and not sharded.watcher.reports and node >= 4:
            raise ConnectionError("gone")

    sharded.coordinator(fault).run(START)
    assert [bool(report.aborted) for report in sharded.watcher.reports] == [True, False]
    assert (sharded.count(Charged), sharded.count(Released)) == (1, 1)
    first = sharded.log()[0]
    assert (first.transcript, first.entry, first.shards) == (None, None, ())
    assert set(first.ended) == {"0", "1"}


# Statistics.


def test_statistics_are_released_with_the_model(tmp_path: Path) -> None:
    def reports(count: float) -> Train:
        def train(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:  # noqa: ARG001
            return Update(np.zeros_like(weights), {"examples": count, "loss": 0.25 * count})

        return train

    counted = tuple(Statistic(name=name, bound=8.0, sensitivity_fraction=0.1) for name in ("examples", "loss"))
    fleet = Fleet(
        task=noiseless_task(rounds=1, statistics=counted), trains={device: reports(device) for device in range(6)}
    )
    bench = Bench(tmp_path, fleet)
    bench.coordinator(lose(Stage.INPUT, [5])).run(START)
    released = bench.watcher.reports[0].release
    assert released is not None
    assert released.statistics == pytest.approx({"examples": 10.0, "loss": 2.5}, abs=1e-2)


def _directory(base: Path, name: str) -> Path:
    path = base / name
    path.mkdir()
    return path


def _memory_before(fleet: Fleet, number: int) -> MemoryDeviceStore:
    store = MemoryDeviceStore()
    store.save(
        Memory(
            {fleet.task.id: TaskRecord(Rounds(number - 1), number - 1)},
            revocations={fleet.task.population: SeenList(1)},
        )
    )
    return store
