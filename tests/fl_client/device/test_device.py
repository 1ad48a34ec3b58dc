from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.device.device import Train
from fl_client.device.memory import Memory, SeenList, StoreError, TaskRecord
from fl_client.device.store import DeviceStore, FileStore
from privacy.base.randomness import Randomness
from privacy.mechanism.mechanism import MechanismError
from privacy.secagg import Refused, Rounds, Stage
from privacy.task.states import Total, Update
from privacy.task.task import BoundedParticipation, PoissonParticipation, TaskSpec
from tests.support.devices import ANY_TASK, LATER, STAGES, WEIGHTS, Fleet, noiseless_task
from tests.support.stores import MemoryDeviceStore

KEY = bytes(range(32))


def file_stores(path: Path) -> dict[int, DeviceStore]:
    """New ones, or those that are there."""
    for index in range(6):
        if not (path / f"{index}.bin").exists():
            FileStore.create(path / f"{index}.bin", KEY)
    return {index: FileStore(path / f"{index}.bin", KEY) for index in range(6)}


def record(fleet: Fleet, index: int) -> TaskRecord:
    return fleet.stores[index].load().tasks[fleet.task.id]


def is_sum(fleet: Fleet, total: Total, survivors: Sequence[int]) -> bool:
    """To rounding error: the plain sum of the survivors' clipped updates."""
    error = np.abs(fleet.decoded(total) - fleet.expected([*survivors])).max()
    return total.survivors == len(survivors) and bool(error <= fleet.rounding(total) < 1e-4)


def learns(delta: NDArray[np.float32]) -> Train:
    def train(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:  # noqa: ARG001
        return Update(delta)

    return train


def crashes(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:  # noqa: ARG001
    raise RuntimeError("the disk is full")


def test_a_round_gives_the_sum_of_the_clipped_updates() -> None:
    fleet = Fleet()
    total = fleet.run()
    norms = np.linalg.norm(fleet.deltas, axis=1)
    assert norms.min() < fleet.task.mechanism.clip < norms.max()
    assert fleet.failures == {}
    assert is_sum(fleet, total, range(6))


def test_training_gets_the_task_and_the_model_of_the_round() -> None:
    seen = list[tuple[TaskSpec, NDArray[np.float32]]]()

    def train(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:  # noqa: ARG001
        seen.append((task, weights))
        return Update(np.zeros_like(weights))

    fleet = Fleet(trains={2: train})
    fleet.run()
    [(task, weights)] = seen
    assert task == fleet.task
    np.testing.assert_array_equal(weights, WEIGHTS)


def test_snapshot_and_resume_between_all_messages_change_nothing() -> None:
    """Every message is answered by a device that was built anew."""
    whole, broken = Fleet(), Fleet()

    def replace_all() -> None:
        for index, old in broken.devices.items():
            broken.devices[index] = broken.device(index)
            broken.devices[index].resume(old.snapshot())

    expected, total = whole.run(), broken.run(between=replace_all)
    np.testing.assert_array_equal(total.sums, expected.sums)
    assert total.transcript == expected.transcript
    assert broken.failures == {}
    assert all(device.snapshot() == b"" for device in broken.devices.values())


# Limits that the device keeps by itself, against a server that asks for more.


@pytest.mark.parametrize("restarted", [False, True])
def test_a_device_takes_part_as_often_as_the_task_allows_and_no_more(tmp_path: Path, restarted: bool) -> None:
    fleet = Fleet(task=noiseless_task(max_participations=2), stores=file_stores(tmp_path))
    for number in (1, 2):
        fleet.run(number)
        if restarted:
            fleet.restart()
    assert fleet.failures == {}
    for index, request in fleet.server(3).requests().items():
        with pytest.raises(Refused, match="taken part 2 times, its limit"):
            fleet.devices[index].handle("advertise", request.body)
        assert fleet.devices[index].snapshot() == b""
        assert record(fleet, index) == TaskRecord(Rounds(2), 2, (2,))


@pytest.mark.parametrize("restarted", [False, True])
def test_a_device_sits_out_the_rounds_that_its_task_sets_apart(tmp_path: Path, restarted: bool) -> None:
    apart = BoundedParticipation(cohort=6, max_participations=9, min_separation=3)
    fleet = Fleet(task=noiseless_task(participation=apart), stores=file_stores(tmp_path))
    fleet.run(1)
    for number in (2, 3):
        if restarted:
            fleet.restart()
        for index, request in fleet.server(number).requests().items():
            with pytest.raises(Refused, match="took part in round 1, 3 rounds must lie between"):
                fleet.devices[index].handle("advertise", request.body)
    fleet.run(4)
    assert fleet.failures == {}


@pytest.mark.parametrize("number", [2, 5])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_round_that_was_answered_is_never_answered_again(tmp_path: Path, number: int, restarted: bool) -> None:
    fleet = Fleet(stores=file_stores(tmp_path))
    for answered in (2, 5):
        fleet.run(answered)
    if restarted:
        fleet.restart()
    with pytest.raises(Refused, match=f"round {number}, which was answered"):
        fleet.devices[0].handle("advertise", fleet.server(number).requests()[0].body)
    fleet.run(6)
    assert fleet.failures == {}


@pytest.mark.parametrize("before", [Stage.ADVERTISE, Stage.CONSISTENCY, Stage.UNMASK])
def test_a_restart_once_the_input_is_sent_changes_nothing(tmp_path: Path, before: Stage) -> None:
    """All devices at once; what they knew of the round is in their stores alone."""
    whole, fleet = Fleet(), Fleet(stores=file_stores(tmp_path))
    server = fleet.run_until(before)
    fleet.restart()
    for stage in STAGES[STAGES.index(before) :]:
        fleet.exchange(server, stage)
    [total], expected = server.totals(), whole.run()
    assert fleet.failures == {}
    assert is_sum(fleet, total, range(6))
    np.testing.assert_array_equal(total.sums, expected.sums)
    assert [record(fleet, index) for index in range(6)] == [TaskRecord(Rounds(1), 1, (1,))] * 6
    assert all(store.load().round == b"" for store in fleet.stores.values())


@pytest.mark.parametrize("before", [Stage.SHARE, Stage.INPUT])
def test_a_restart_before_the_input_is_sent_drops_the_device_out(tmp_path: Path, before: Stage) -> None:
    """What the input would be masked with was in the process alone; the others go on without it."""
    fleet = Fleet(stores=file_stores(tmp_path))
    server = fleet.run_until(before)
    fleet.devices[0] = fleet.device(0)
    for stage in STAGES[STAGES.index(before) :]:
        fleet.exchange(server, stage)
    [total] = server.totals()
    assert list(fleet.failures) == [(0, before)]
    assert is_sum(fleet, total, range(1, 6))
    assert record(fleet, 0) == TaskRecord(Rounds(1))


@pytest.mark.parametrize("again", [Stage.SHARE, Stage.INPUT])
def test_a_device_that_was_restarted_gives_no_second_input(tmp_path: Path, again: Stage) -> None:
    """Two inputs under the same masks would be the difference of two updates in the clear."""
    fleet = Fleet(stores=file_stores(tmp_path))
    asked = fleet.run_until(again).requests()[0].body
    server = fleet.server(2)
    for stage in STAGES[:3]:
        if stage is again:
            asked = server.requests()[0].body
        fleet.exchange(server, stage)
    fleet.restart()
    with pytest.raises(Refused, match=f"stage {again} at stage echo"):
        fleet.devices[0].handle(again, asked)
    with pytest.raises(Refused, match="round 2, which was answered"):
        fleet.devices[0].handle(Stage.ADVERTISE, fleet.server(2).requests()[0].body)
    assert record(fleet, 0).participations == 1


@pytest.mark.parametrize("damage", [b"\x01", b"garbled", bytes(200)])
def test_a_round_state_that_cannot_be_read_is_over(damage: bytes) -> None:
    fleet = Fleet()
    server = fleet.run_until(Stage.INPUT)
    fleet.stores[0].save(replace(fleet.stores[0].load(), round=damage))
    fleet.restart()
    with pytest.raises(Refused, match="over, or has not begun"):
        fleet.devices[0].handle(Stage.INPUT, server.requests()[0].body)
    fleet.run(2)
    assert [place for place in fleet.failures if place[0] == 0] == []


def test_a_device_whose_store_is_damaged_does_not_start(tmp_path: Path) -> None:
    fleet = Fleet(stores=file_stores(tmp_path))
    fleet.run()
    (tmp_path / "0.bin").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="damaged data"):
        fleet.device(0)


def test_a_device_has_a_cap_for_life_over_all_tasks(tmp_path: Path) -> None:
    """Kept on the device, so that no new task and no restart starts at 0."""
    policy = ANY_TASK.model_copy(update={"max_lifetime_participations": 2})
    for name in ("first", "second"):
        Fleet(task=noiseless_task(name=name), stores=file_stores(tmp_path), policy=policy).run()
    third = Fleet(task=noiseless_task(name="third"), stores=file_stores(tmp_path), policy=policy)
    with pytest.raises(Refused, match="taken part 2 times in all tasks, its limit for life"):
        third.devices[0].handle(Stage.ADVERTISE, third.server(1).requests()[0].body)


def test_the_host_application_may_allow_fewer_participations_than_the_task() -> None:
    fleet = Fleet(policy=ANY_TASK.model_copy(update={"max_participations": 1}))
    fleet.run(1)
    with pytest.raises(Refused, match="taken part 1 times, its limit"):
        fleet.devices[0].handle(Stage.ADVERTISE, fleet.server(2).requests()[0].body)


def test_a_limit_of_the_host_holds_where_the_task_has_none() -> None:
    task = noiseless_task(participation=PoissonParticipation(population=6, sampling_rate=1.0))
    fleet = Fleet(task=task, policy=ANY_TASK.model_copy(update={"max_participations": 2}))
    fleet.run(1)
    fleet.run(2)
    assert fleet.failures == {}
    with pytest.raises(Refused, match="taken part 2 times"):
        fleet.devices[0].handle(Stage.ADVERTISE, fleet.server(3).requests()[0].body)


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ({"min_noise_multiplier": 0.1}, "noise_multiplier of at least 0.1, the task has 0"),
        ({"min_survivors": 4}, "min_survivors of at least 4, the task has 3"),
        ({"min_corrupt_fraction": 0.01}, "corrupt_fraction of at least 0.01, the task has 0"),
    ],
)
def test_a_task_below_the_hosts_policy_is_refused_by_name(limit: dict[str, float], name: str) -> None:
    fleet = Fleet(policy=ANY_TASK.model_copy(update=limit))
    with pytest.raises(Refused, match=name):
        fleet.devices[0].handle(Stage.ADVERTISE, fleet.server(1).requests()[0].body)
    assert fleet.stores[0].load() == Memory()


# Revocation lists: the newest one that was seen counts, also after a restart.


@pytest.mark.parametrize("restarted", [False, True])
def test_an_older_revocation_list_is_refused(tmp_path: Path, restarted: bool) -> None:
    fleet = Fleet(stores=file_stores(tmp_path))
    fleet.revocations = fleet.list_revoked(7)
    fleet.run(1)
    assert fleet.stores[0].load().revocations == {fleet.task.population: SeenList(7, fleet.revocations.digest)}
    if restarted:
        fleet.restart()
    fleet.revocations = fleet.list_revoked(6)
    with pytest.raises(Refused, match="revocation list 6, after list 7"):
        fleet.devices[0].handle(Stage.ADVERTISE, fleet.server(2).requests()[0].body)
    fleet.revocations = fleet.list_revoked(7)
    fleet.run(3)
    assert fleet.failures == {}


def test_lists_are_remembered_across_tasks_of_one_population() -> None:
    fleet = Fleet()
    fleet.revocations = fleet.list_revoked(7)
    fleet.run(1)
    other = Fleet(task=noiseless_task(name="another"), stores=fleet.stores)
    other.revocations = other.list_revoked(6)
    with pytest.raises(Refused, match="revocation list 6, after list 7"):
        other.devices[0].handle(Stage.ADVERTISE, other.server(1).requests()[0].body)


def test_a_revoked_device_is_left_out_by_the_server() -> None:
    fleet = Fleet()
    fleet.revocations = fleet.list_revoked(2, 4)
    total = fleet.run()
    assert is_sum(fleet, total, [0, 1, 2, 3, 5])
    [(place, error)] = fleet.failures.items()
    assert place == (4, Stage.ADVERTISE)
    assert "revoked" in str(error)


@pytest.mark.parametrize(("seconds", "reason"), [(1, "the list is out of date"), (-1, None)])
def test_an_outdated_list_is_refused_by_the_devices_own_clock(seconds: int, reason: str | None) -> None:
    fleet = Fleet()
    request = fleet.server(1).requests()[0].body
    device = fleet.devices[0]
    device._clock = lambda: LATER + seconds
    if reason is None:
        assert device.handle(Stage.ADVERTISE, request)
        return
    with pytest.raises(Refused, match=reason):
        device.handle(Stage.ADVERTISE, request)


def test_a_round_is_remembered_before_its_keys_are_sent() -> None:
    fleet = Fleet()
    fleet.devices[0].handle("advertise", fleet.server(4).requests()[0].body)
    assert record(fleet, 0) == TaskRecord(Rounds(0, (4,)))


def test_only_what_was_masked_counts_as_taking_part() -> None:
    fleet = Fleet(trains={0: crashes})
    fleet.run()
    assert [record(fleet, index).participations for index in range(6)] == [0, 1, 1, 1, 1, 1]


class FailingStore(MemoryDeviceStore):
    """Its `failing`-th save does not come back."""

    def __init__(self, failing: int) -> None:
        super().__init__()
        self._left = failing

    def save(self, memory: Memory) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError("no space left on device")
        super().save(memory)


class FullStore(MemoryDeviceStore):
    """Takes `left` saves, then none."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self._left = left

    def save(self, memory: Memory) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError("no space left on device")
        super().save(memory)


@pytest.mark.parametrize("make", [FailingStore, lambda failing: FullStore(failing - 1)])
@pytest.mark.parametrize("stage", STAGES)
def test_what_cannot_be_remembered_is_not_sent(stage: Stage, make: Callable[[int], DeviceStore]) -> None:
    """Otherwise a restart could lead to a second answer."""
    fleet = Fleet(stores={0: make(1 + STAGES.index(stage))})
    fleet.run()
    assert list(fleet.failures) == [(0, stage)]
    assert fleet.devices[0].snapshot() == b""
    assert isinstance(fleet.failures[0, stage], OSError)


def test_a_new_invitation_ends_the_earlier_round() -> None:
    fleet = Fleet()
    server = fleet.run_until(Stage.INPUT, number=1)
    fleet.devices[0].handle("advertise", fleet.server(2).requests()[0].body)
    with pytest.raises(Refused, match="a request of stage input at stage share"):
        fleet.devices[0].handle("input", server.requests()[0].body)


# Faults: the device drops out, wiped, and the others go on without it.


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.full(8, np.nan, np.float32), "expected finite numbers"),
        (np.array([np.inf, *[0.0] * 7], np.float32), "expected finite numbers"),
        (np.zeros(9, np.float32), r"expected float32\[8\]"),
    ],
)
def test_an_unusable_update_is_not_sent(bad: NDArray[np.float32], reason: str) -> None:
    fleet = Fleet(trains={3: learns(bad)})
    total = fleet.run()
    [(place, error)] = fleet.failures.items()
    assert place == (3, Stage.INPUT)
    with pytest.raises(MechanismError, match=reason):
        raise error
    assert is_sum(fleet, total, [0, 1, 2, 4, 5])
    assert fleet.stores[3].load().round == b""


def random_failure(stage: str, request: bytes) -> Randomness:  # noqa: ARG001
    raise OSError("no entropy")


@pytest.mark.parametrize("fault", ["nan", "crash", "randomness", "garbled"])
def test_after_a_fault_nothing_is_left_and_nothing_more_is_answered(fault: str) -> None:
    fleet = Fleet(trains={0: learns(np.full(8, np.nan, np.float32)) if fault == "nan" else crashes})
    server = fleet.run_until(Stage.INPUT)
    device, request = fleet.devices[0], server.requests()[0].body
    if fault == "randomness":
        device._randomness_for = random_failure
    stage, body, expected = {
        "nan": ("input", request, MechanismError),
        "crash": ("input", request, RuntimeError),
        "randomness": ("input", request, OSError),
        "garbled": ("input", request[:-1], Refused),
    }[fault]
    assert device.snapshot() != b"" != fleet.stores[0].load().round
    with pytest.raises(expected):
        device.handle(stage, body)
    assert device.snapshot() == fleet.stores[0].load().round == b""
    device._randomness_for = fleet.device(0)._randomness_for
    for later in STAGES[1:]:
        with pytest.raises(Refused, match="this round is over"):
            device.handle(later, request)


def test_after_a_fault_the_next_round_is_answered() -> None:
    fleet = Fleet(trains={0: crashes})
    fleet.run(1)
    fleet.devices[0]._train = learns(np.zeros(8, np.float32))
    assert fleet.run(2).survivors == 6


# Secrets stay inside.


def test_failures_and_reprs_show_no_secret() -> None:
    """Neither randomness nor update, in any failure at any stage."""
    drawn = list[bytes]()
    recognisable = np.full(8, 0.7654321, np.float32)
    recognisable[0] = np.nan
    fleet = Fleet(tap=drawn.append, trains={0: learns(recognisable)})
    shown = list[str]()
    for number, stage in enumerate(STAGES, 1):
        server = fleet.run_until(stage, number)
        for index, request in server.requests().items():
            shown.append(_failure(fleet, index, request.body[:-1], stage))
            shown.append(_failure(fleet, index, request.body, "reveal-all"))
        shown += [repr(device) + repr(vars(device)["_client"]) for device in fleet.devices.values()]
    shown += ["".join(traceback.format_exception(error)) for error in fleet.failures.values()]
    text = "\n".join(shown)
    assert "Refused" in text
    assert "MechanismError" in text
    assert "76543" not in text
    assert len(drawn) > 20
    for secret in {token[:8] for token in drawn if len(token) >= 8}:
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text


def _failure(fleet: Fleet, index: int, request: bytes, stage: str) -> str:
    """The whole traceback of what the device says, on a copy so that the round can go on."""
    copy = fleet.device(index)
    copy._store = MemoryDeviceStore()
    copy.resume(fleet.devices[index].snapshot())
    try:
        copy.handle(stage, request)
    except Exception as error:
        return "".join(traceback.format_exception(error))
    return pytest.fail(f"a bad request was answered at stage {stage}")
