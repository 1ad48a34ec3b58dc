from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.device import Train
from fl_client.store import FileStore, MemoryStore, TaskRecord
from privacy.mechanism import Mechanism, MechanismError
from privacy.randomness import Randomness
from privacy.secagg import Refused, Stage
from privacy.states import Total, Update
from privacy.task import TaskSpec
from tests.support.devices import STAGES, WEIGHTS, Fleet, noiseless_task


def decoded(fleet: Fleet, total: Total) -> NDArray[np.float64]:
    scale = Mechanism.for_cohort(fleet.task, total.cohort).scale
    return np.asarray(total.residues.view(np.int32) / scale, np.float64)


def rounding(fleet: Fleet, total: Total) -> float:
    """Each survivor rounds each coordinate to a neighbouring step."""
    return total.survivors / Mechanism.for_cohort(fleet.task, total.cohort).scale


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
    np.testing.assert_allclose(decoded(fleet, total), fleet.expected([*range(6)]), rtol=0, atol=rounding(fleet, total))


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
    np.testing.assert_array_equal(total.residues, expected.residues)
    assert total.transcript == expected.transcript
    assert broken.failures == {}
    assert all(device.snapshot() == b"" for device in broken.devices.values())


# Limits that the device keeps by itself, against a server that asks for more.


@pytest.mark.parametrize("restarted", [False, True])
def test_a_device_takes_part_as_often_as_the_task_allows_and_no_more(tmp_path: Path, restarted: bool) -> None:
    stores = {index: FileStore(tmp_path / f"{index}.json") for index in range(6)}
    fleet = Fleet(task=noiseless_task(max_participations=2), stores={**stores})
    for number in (1, 2):
        fleet.run(number)
        if restarted:
            fleet.restart()
    assert fleet.failures == {}
    for index, request in fleet.server(3).requests().items():
        with pytest.raises(Refused, match="taken part 2 times, its limit"):
            fleet.devices[index].handle("advertise", request)
        assert fleet.devices[index].snapshot() == b""
        assert stores[index].load(fleet.task.id) == TaskRecord(last_round=2, participations=2)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_round_that_was_answered_is_never_answered_again(tmp_path: Path, number: int, restarted: bool) -> None:
    fleet = Fleet(stores={index: FileStore(tmp_path / f"{index}.json") for index in range(6)})
    fleet.run(2)
    if restarted:
        fleet.restart()
    with pytest.raises(Refused, match=f"round {number}, when round 2 was answered before"):
        fleet.devices[0].handle("advertise", fleet.server(number).requests()[0])
    fleet.run(3)
    assert fleet.failures == {}


def test_a_restart_in_the_middle_of_a_round_ends_it_for_the_device() -> None:
    fleet = Fleet()
    server = fleet.run_until(Stage.INPUT)
    fleet.restart()
    with pytest.raises(Refused, match="over, or has not begun"):
        fleet.devices[0].handle("input", server.requests()[0])
    with pytest.raises(Refused, match="answered before"):
        fleet.devices[0].handle("advertise", fleet.server(1).requests()[0])


def test_a_round_is_remembered_before_its_keys_are_sent() -> None:
    fleet = Fleet()
    fleet.devices[0].handle("advertise", fleet.server(4).requests()[0])
    assert fleet.stores[0].load(fleet.task.id) == TaskRecord(last_round=4, participations=0)


def test_only_what_was_masked_counts_as_taking_part() -> None:
    fleet = Fleet(trains={0: crashes})
    fleet.run()
    assert [fleet.stores[index].load(fleet.task.id).participations for index in range(6)] == [0, 1, 1, 1, 1, 1]


class FailingStore(MemoryStore):
    """Its `failing`-th save does not come back."""

    def __init__(self, failing: int) -> None:
        super().__init__()
        self._left = failing

    def save(self, task_id: str, record: TaskRecord) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError("no space left on device")
        super().save(task_id, record)


@pytest.mark.parametrize(("failing", "stage"), [(1, Stage.ADVERTISE), (2, Stage.INPUT)])
def test_what_cannot_be_remembered_is_not_sent(failing: int, stage: Stage) -> None:
    fleet = Fleet(stores={0: FailingStore(failing)})
    fleet.run()
    assert {place: type(error) for place, error in fleet.failures.items()} == {(0, stage): OSError}
    assert fleet.devices[0].snapshot() == b""


def test_a_new_invitation_ends_the_earlier_round() -> None:
    fleet = Fleet()
    server = fleet.run_until(Stage.INPUT, number=1)
    fleet.devices[0].handle("advertise", fleet.server(2).requests()[0])
    with pytest.raises(Refused, match="stage input at stage share"):
        fleet.devices[0].handle("input", server.requests()[0])


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
    assert total.survivors == 5
    np.testing.assert_allclose(
        decoded(fleet, total), fleet.expected([0, 1, 2, 4, 5]), rtol=0, atol=rounding(fleet, total)
    )


def random_failure(stage: str, request: bytes) -> Randomness:  # noqa: ARG001
    raise OSError("no entropy")


@pytest.mark.parametrize("fault", ["nan", "crash", "randomness", "unknown stage", "garbled", "wrong stage"])
def test_after_a_fault_nothing_is_left_and_nothing_more_is_answered(fault: str) -> None:
    fleet = Fleet(trains={0: learns(np.full(8, np.nan, np.float32)) if fault == "nan" else crashes})
    server = fleet.run_until(Stage.INPUT)
    device, request = fleet.devices[0], server.requests()[0]
    if fault == "randomness":
        device._randomness_for = random_failure
    stage, body, expected = {
        "nan": ("input", request, MechanismError),
        "crash": ("input", request, RuntimeError),
        "randomness": ("input", request, OSError),
        "unknown stage": ("reveal-all", request, ValueError),
        "garbled": ("input", request[:-1], Refused),
        "wrong stage": ("unmask", request, Refused),
    }[fault]
    assert device.snapshot() != b""
    with pytest.raises(expected):
        device.handle(stage, body)
    assert device.snapshot() == b""
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
            shown.append(_failure(fleet, index, request[:-1], stage))
            shown.append(_failure(fleet, index, request, "reveal-all"))
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
    copy.resume(fleet.devices[index].snapshot())
    try:
        copy.handle(stage, request)
    except Exception as error:
        return "".join(traceback.format_exception(error))
    return pytest.fail(f"a bad request was answered at stage {stage}")
