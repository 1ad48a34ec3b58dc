"""What a device remembers keeps servers from making it repeat itself, and locks nobody out: rounds, lists, clocks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from typer.testing import CliRunner

from fl_client.cli import app
from fl_client.device.contents import decode, encode
from fl_client.device.files import DeviceDirectory, DeviceFilesError
from fl_client.device.memory import MOST_TASKS, Memory, SeenList, StoreError, TaskRecord
from fl_client.device.store import FileStore
from privacy.secagg import Refused, Rounds, Stage
from privacy.secagg.client.seen import APART, LIST_LEAP
from privacy.secagg.membership.identity import EnrolmentRequest, Revocations, enrol
from privacy.secagg.server.server import EXPIRY_SLACK_S
from privacy.task.task import BoundedParticipation
from tests.support.devices import ANY_TASK, LATER, NOW, Fleet, noiseless_task

KEY = bytes(range(32))
FAR = 1_000_000


def invite(fleet: Fleet, number: int) -> bytes:
    return fleet.devices[0].handle(Stage.ADVERTISE, fleet.server(number).requests()[0].body)


# Round numbers.


@given(st.lists(st.integers(1, 300), max_size=200))
def test_no_round_is_taken_twice_and_few_are_lost(asked: list[int]) -> None:
    """Against a set of all that was answered: refused is what was, or what is below the `APART` greatest."""
    rounds, answered = Rounds(), set[int]()
    for number in asked:
        refused = number in rounds
        assert refused >= (number in answered), "answered twice"
        if refused and number not in answered:
            assert sum(taken > number for taken in answered) >= APART
        if not refused:
            rounds = rounds.adding(number)
            answered.add(number)
        assert rounds.last == max(answered, default=0)
        assert len(rounds.above) <= APART


def test_a_far_round_does_not_lock_out_those_below_it() -> None:
    fleet = Fleet(task=noiseless_task(rounds=FAR))
    fleet.run(FAR)
    for number in (1, 5, FAR - 1):
        fleet.run(number)
    assert fleet.failures == {}
    with pytest.raises(Refused, match=f"round {FAR}, which was answered"):
        invite(fleet, FAR)


@given(st.lists(st.integers(1, 100), unique=True, min_size=1, max_size=90), st.integers(1, 100))
def test_the_nearest_input_is_known_for_every_round_that_can_come(taken: list[int], number: int) -> None:
    record, sent = TaskRecord(), list[int]()
    for one in taken:
        if one not in record.rounds:
            record = record.answering(record.rounds.adding(one)).taking_part(one)
            sent.append(one)
    assert record.participations == len(sent)
    nearest = record.nearest_input(number)
    if number not in record.rounds:
        assert nearest is not None
        assert abs(number - nearest) == min(abs(number - one) for one in sent)
    assert len(record.inputs) <= APART + 1


def test_rounds_are_kept_apart_in_both_directions() -> None:
    apart = BoundedParticipation(cohort=6, max_participations=9, min_separation=3)
    fleet = Fleet(task=noiseless_task(participation=apart))
    fleet.run(5)
    for number in (3, 4, 6, 7):
        with pytest.raises(Refused, match="took part in round 5, 3 rounds must lie between"):
            invite(fleet, number)
    fleet.run(2)
    fleet.run(8)
    assert fleet.failures == {}


# Revocation lists.


def test_a_far_list_number_is_refused() -> None:
    fleet = Fleet()
    fleet.revocations = fleet.list_revoked(2**32 - 1)
    with pytest.raises(Refused, match="revocation list 4294967295, too far after list 0"):
        invite(fleet, 1)
    for number in (LIST_LEAP, 2 * LIST_LEAP):
        fleet.revocations = fleet.list_revoked(number)
        invite(fleet, number // LIST_LEAP)
    assert fleet.stores[0].load().revocations[fleet.task.population].number == 2 * LIST_LEAP


def test_another_list_of_the_same_number_is_refused() -> None:
    fleet = Fleet()
    fleet.revocations = fleet.list_revoked(7, 3)
    fleet.run(1)
    fleet.revocations = fleet.list_revoked(7)
    with pytest.raises(Refused, match="revocation list 7, other than the one of that number seen before"):
        invite(fleet, 2)
    fleet.revocations = fleet.list_revoked(7, 3)
    invite(fleet, 2)


def test_a_list_of_which_an_older_version_kept_the_number_alone_is_taken() -> None:
    fleet = Fleet()
    fleet.stores[0].save(Memory(revocations={fleet.task.population: SeenList(1)}))
    invite(fleet, 1)
    assert fleet.stores[0].load().revocations == {fleet.task.population: SeenList(1, fleet.revocations.digest)}


# Clocks.


def test_a_clock_that_is_set_back_does_not_bring_an_expired_list_back() -> None:
    fleet = Fleet()
    device, hour = fleet.devices[0], 3600
    fleet.revocations = _until(fleet, NOW + hour)
    old = fleet.server(2).requests()[0].body
    fleet.revocations = fleet.list_revoked(2)
    device._clock = lambda: NOW + 2 * hour
    invite(fleet, 1)
    assert fleet.stores[0].load().time == NOW + 2 * hour
    fleet.stores[0].save(Memory(time=NOW + 2 * hour))  # the list's number is not what it is about
    device._clock = lambda: NOW
    with pytest.raises(Refused, match="the list is out of date"):
        device.handle(Stage.ADVERTISE, old)
    invite(fleet, 3)


def test_a_clock_that_was_far_ahead_locks_nobody_out() -> None:
    """It is believed no further than a list that the authority signed lasts."""
    fleet = Fleet()
    fleet.devices[0]._clock = lambda: LATER + 1
    with pytest.raises(Refused, match=r"expired|out of date"):
        invite(fleet, 1)
    fleet.devices[0]._clock = lambda: NOW
    fleet.run(1)
    assert fleet.failures == {}


def test_a_clock_before_1970_is_named() -> None:
    fleet = Fleet()
    fleet.devices[0]._clock = lambda: -5
    with pytest.raises(Refused, match="this device's clock is before 1970, at -5 s"):
        invite(fleet, 1)


@pytest.mark.parametrize(("left", "taken"), [(60, False), (EXPIRY_SLACK_S - 1, False), (EXPIRY_SLACK_S, True)])
def test_a_certificate_that_ends_soon_does_not_end_the_round(left: int, taken: bool) -> None:
    """The others' clocks are two minutes ahead."""
    fleet = Fleet()
    request = EnrolmentRequest.by(fleet.keys(0))
    fleet.devices[0]._certificate = enrol(fleet.authority, fleet.task.population, request, NOW + left)
    for device in list(fleet.devices.values())[1:]:
        device._clock = lambda: NOW + 120
    fleet.devices[0]._client = fleet.devices[0]._new_client()
    assert fleet.run().survivors == (6 if taken else 5)
    assert [place for place in fleet.failures if place[0] != 0] == []


def test_a_device_whose_own_certificate_has_ended_makes_no_key() -> None:
    fleet = Fleet()
    fleet.devices[0]._certificate = enrol(
        fleet.authority, fleet.task.population, EnrolmentRequest.by(fleet.keys(0)), NOW - 1
    )
    with pytest.raises(Refused, match=r"certificate of [0-9a-f]{16}: expired"):
        invite(fleet, 1)


def _until(fleet: Fleet, time: int) -> Revocations:
    return Revocations.signed(fleet.authority, fleet.task.population, 1, time, frozenset())


# Tasks.


def test_thousands_of_tasks_take_little_room_and_no_time() -> None:
    memory = Memory()
    for number in range(5_000):
        memory = memory.with_task(f"{number:064x}", TaskRecord(Rounds(3), number % 2))
    assert len(memory.tasks) == MOST_TASKS
    assert memory.participations == 2_500, "what was counted for life stays"
    before = time.process_time()
    assert decode(encode(memory), "memory.bin") == memory
    assert time.process_time() - before < 0.1


def test_of_many_tasks_those_without_an_input_are_let_go_first() -> None:
    memory = Memory().with_task("took part", TaskRecord(Rounds(9), 2))
    for number in range(MOST_TASKS):
        memory = memory.with_task(str(number), TaskRecord(Rounds(1)))
    assert "took part" in memory.tasks
    assert (len(memory.tasks), "0" in memory.tasks, memory.closed) == (MOST_TASKS, False, frozenset())
    for number in range(MOST_TASKS):
        memory = memory.with_task(f"more {number}", TaskRecord(Rounds(1), 1))
    assert (len(memory.tasks), memory.closed) == (MOST_TASKS, {"took part"})
    assert memory.participations == MOST_TASKS + 2


def test_a_task_that_was_closed_does_not_begin_again() -> None:
    fleet = Fleet()
    fleet.stores[0].save(Memory(closed=frozenset({fleet.task.id}), participations_closed=3))
    with pytest.raises(Refused, match="put away"):
        invite(fleet, 1)


# A memory that is lost.


@pytest.fixture(params=["deleted", "damaged"])
def lost(request: pytest.FixtureRequest, tmp_path: Path) -> DeviceDirectory:
    directory = DeviceDirectory.create(tmp_path / "device")
    if request.param == "deleted":
        directory.memory.unlink()
    else:
        directory.memory.write_bytes(b"damaged" * 20)
    with pytest.raises(StoreError):
        FileStore(directory.memory, directory.store_key()).load()
    return directory


def test_a_lost_memory_is_begun_anew_with_a_count(lost: DeviceDirectory) -> None:
    result = CliRunner().invoke(app, ["recover", str(lost.path), "--participations", "30"])
    assert (result.exit_code, "counts 30 rounds" in result.output) == (0, True)
    memory = FileStore(lost.memory, lost.store_key()).load()
    assert memory.participations == memory.participations_in("any task") == 30
    again = CliRunner().invoke(app, ["recover", str(lost.path), "--participations", "0"])
    assert (again.exit_code, "it is whole" in again.output) == (2, True)
    assert FileStore(lost.memory, lost.store_key()).load() == memory


def test_a_recovery_needs_a_count(lost: DeviceDirectory) -> None:
    assert CliRunner().invoke(app, ["recover", str(lost.path)]).exit_code == 2
    with pytest.raises(DeviceFilesError, match="expected 0 or more"):
        lost.recover(-1)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_lifetime_participations": 4}, "taken part 4 times in all tasks, its limit for life"),
        ({"max_participations": 4}, "taken part 4 times, its limit in this task"),
    ],
)
def test_what_was_lost_counts_for_life_and_in_every_task(tmp_path: Path, limit: dict[str, int], reason: str) -> None:
    fleet = Fleet(policy=ANY_TASK.model_copy(update=limit))
    fleet.stores[0] = FileStore(tmp_path / "memory.bin", KEY)
    fleet.stores[0].recover(3)
    fleet.devices[0] = fleet.device(0)
    fleet.run(1)
    with pytest.raises(Refused, match=reason):
        invite(fleet, 2)


def test_after_a_loss_a_device_sits_out_the_rounds_that_may_be_too_near(tmp_path: Path) -> None:
    apart = BoundedParticipation(cohort=6, max_participations=9, min_separation=3)
    fleet = Fleet(task=noiseless_task(participation=apart))
    fleet.stores[0] = FileStore(tmp_path / "memory.bin", KEY)
    fleet.stores[0].recover(1)
    fleet.devices[0] = fleet.device(0)
    for number in (5, 6):
        with pytest.raises(Refused, match="took part in round 4, 3 rounds must lie between"):
            invite(fleet, number)
    invite(fleet, 7)


def test_a_memory_of_a_newer_version_is_not_recovered_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore.create(tmp_path / "memory.bin", KEY)
    monkeypatch.setattr("fl_client.device.contents.VERSION", 1)
    monkeypatch.setattr("fl_client.device.contents._MIGRATIONS", ())
    with pytest.raises(StoreError, match="newer version"):
        store.recover(3)
