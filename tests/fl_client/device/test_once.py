"""One answer for a round, whoever asks, however often, from wherever: threads, processes, copies put back, repeats."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.device.memory import Memory, StoreError
from fl_client.device.store import FileStore
from privacy.base.randomness import Randomness, SystemRandomness
from privacy.secagg import Refused, Stage, Survivors
from privacy.secagg.messages import Members
from privacy.task.states import Update
from privacy.task.task import TaskSpec
from tests.support.devices import STAGES, Fleet, noiseless_task
from tests.support.stores import MemoryDeviceStore

KEY = bytes(range(32))
FORK = get_context("fork")


def slow(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:  # noqa: ARG001
    time.sleep(0.02)
    return Update(np.zeros_like(weights))


def fleet_with_file(path: Path, **options: object) -> Fleet:
    """Device 0 remembers in a file, and takes its randomness from the system."""
    fleet = Fleet(stores={0: FileStore.create(path, KEY)}, **options)  # type: ignore[arg-type]
    fleet.devices[0]._randomness_for = lambda *_: SystemRandomness()
    return fleet


def two_sets(fleet: Fleet, until: Stage = Stage.CONSISTENCY) -> list[bytes]:
    """Two survivor sets, each of which device 0 would sign."""
    [shard] = fleet.run_until(until).shards.values()
    everybody = shard.survivors.places
    place = shard.cohort.index(fleet.keys(0).identity.public)
    other = next(member for member in everybody if member != place)
    return [
        Survivors(Members(members)).encode()
        for members in (everybody, tuple(member for member in everybody if member != other))
    ]


def answers(work: list[Callable[[], bytes]]) -> list[bytes]:
    """What comes of calls that all begin at once, each in a thread."""
    barrier = Barrier(len(work))

    def call(one: Callable[[], bytes]) -> bytes:
        barrier.wait()
        try:
            return one()
        except Refused:
            return b""

    with ThreadPoolExecutor(len(work)) as threads:
        return [answer for answer in threads.map(call, work) if answer]


# Threads.


def test_of_two_survivor_sets_asked_at_once_one_is_signed() -> None:
    """Each thread waits a moment for the other to come as far, which it must not."""
    fleet, meeting = Fleet(), Barrier(2)
    sets, device = two_sets(fleet), fleet.devices[0]
    verify = device._client._require_live_holders

    def together(*given: object) -> None:
        with suppress(BrokenBarrierError):
            meeting.wait(0.2)
        verify(*given)  # type: ignore[arg-type]

    device._client._require_live_holders = together  # type: ignore[method-assign]
    signed = answers([partial(device.handle, Stage.CONSISTENCY, asked) for asked in sets])
    assert len(signed) == 1


def test_two_threads_get_one_input() -> None:
    fleet = Fleet(trains={0: slow})
    fleet.devices[0]._randomness_for = lambda *_: SystemRandomness()
    request = fleet.run_until(Stage.INPUT).requests()[0].body
    vectors = answers([lambda: fleet.devices[0].handle(Stage.INPUT, request)] * 2)
    assert len(set(vectors)) == 1
    assert fleet.stores[0].load().participations == 1


# Processes.


def ask(fleet: Fleet, stage: Stage, request: bytes, path: Path, end: Connection) -> None:
    """In another process: the same device, opened again."""
    fleet.stores[0] = FileStore(path, KEY)
    device = fleet.device(0)
    end.send(b"ready")
    end.recv()
    try:
        end.send(device.handle(stage, request))
    except Refused:
        end.send(b"")


def in_processes(fleet: Fleet, stage: Stage, requests: list[bytes], path: Path) -> list[bytes]:
    pipes = [FORK.Pipe() for _ in requests]
    workers = [
        FORK.Process(target=ask, args=(fleet, stage, request, path, end))
        for request, (_, end) in zip(requests, pipes, strict=True)
    ]
    for worker in workers:
        worker.start()
    assert [own.recv() for own, _ in pipes] == [b"ready"] * len(workers)
    for own, _ in pipes:
        own.send(b"go")
    replies = [own.recv() for own, _ in pipes]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return [reply for reply in replies if reply]


def test_of_two_survivor_sets_two_processes_sign_one(tmp_path: Path) -> None:
    fleet = fleet_with_file(tmp_path / "memory.bin")
    sets = two_sets(fleet)
    assert len(in_processes(fleet, Stage.CONSISTENCY, sets, tmp_path / "memory.bin")) == 1
    with pytest.raises(Refused, match="stage echo at stage unmask"):
        fleet.devices[0].handle(Stage.CONSISTENCY, sets[0])


def test_of_two_processes_one_answers_an_invitation(tmp_path: Path) -> None:
    fleet = fleet_with_file(tmp_path / "memory.bin")
    invitation = fleet.server(1).requests()[0].body
    assert len(in_processes(fleet, Stage.ADVERTISE, [invitation] * 3, tmp_path / "memory.bin")) == 1
    assert fleet.stores[0].load().tasks[fleet.task.id].rounds.last == 1


def test_two_processes_give_one_input(tmp_path: Path) -> None:
    """The one that began the round alone knows what to mask with."""
    fleet = fleet_with_file(tmp_path / "memory.bin", trains={0: slow})
    request = fleet.run_until(Stage.INPUT).requests()[0].body
    assert in_processes(fleet, Stage.INPUT, [request] * 2, tmp_path / "memory.bin") == []
    assert fleet.devices[0].handle(Stage.INPUT, request)
    assert in_processes(fleet, Stage.INPUT, [request] * 2, tmp_path / "memory.bin") == []
    assert fleet.stores[0].load().participations == 1


def count_up(path: Path, times: int) -> None:
    store = FileStore(path, KEY)
    for _ in range(times):
        with store.exclusive():
            memory = store.load()
            store.save(replace(memory, participations_closed=memory.participations_closed + 1))


def test_two_processes_lose_no_count(tmp_path: Path) -> None:
    path = tmp_path / "memory.bin"
    FileStore.create(path, KEY)
    workers = [FORK.Process(target=count_up, args=(path, 20)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert FileStore(path, KEY).load().participations_closed == 40


def test_a_memory_that_stays_in_use_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fl_client.device.store.LOCK_TIMEOUT_S", 0.1)
    store, other = FileStore.create(tmp_path / "memory.bin", KEY), FileStore(tmp_path / "memory.bin", KEY)
    with store.exclusive():
        store.save(Memory())
        with pytest.raises(StoreError, match="in use by somebody else"):
            other.save(Memory())


# Copies that are put back.


@pytest.mark.parametrize("copied", STAGES)
@pytest.mark.parametrize("asked", STAGES[1:])
def test_a_copy_put_back_gives_no_second_input(tmp_path: Path, copied: Stage, asked: Stage) -> None:
    """Whatever copy of the memory comes back before whatever request: no other bytes under the round's masks."""
    path, requests = tmp_path / "memory.bin", dict[Stage, bytes]()
    fleet = fleet_with_file(path)
    server = fleet.server(1)
    for stage in STAGES:
        requests[stage] = server.requests()[0].body
        fleet.exchange(server, stage)
        if stage is copied:
            shutil.copyfile(path, tmp_path / "copy")
    shutil.copyfile(tmp_path / "copy", path)
    again = fleet.device(0)
    again._randomness_for = lambda *_: SystemRandomness()
    if asked in {Stage.SHARE, Stage.INPUT}:
        with pytest.raises(Refused):
            again.handle(asked, requests[asked])
    assert again.snapshot() == b"" or STAGES.index(copied) >= STAGES.index(Stage.INPUT)


@pytest.mark.parametrize("stage", STAGES)
def test_no_copy_has_what_an_input_is_masked_with(tmp_path: Path, stage: Stage) -> None:
    """Neither before the input is made nor after."""
    path, secrets = tmp_path / "memory.bin", list[bytes]()
    fleet = fleet_with_file(path)
    server = fleet.server(1)
    for at in STAGES[: STAGES.index(stage) + 1]:
        fleet.exchange(server, at)
        state = fleet.devices[0]._client._state
        if at is Stage.ADVERTISE and state is not None:
            secrets = [state.secrets.self_secret, state.secrets.mask.secret]
    kept = FileStore(path, KEY).load().round
    assert len(secrets) == 2
    assert not any(secret in kept for secret in secrets)
    assert bool(kept) == (stage is not Stage.UNMASK)


# Repeats.


def test_a_request_that_comes_twice_is_answered_alike() -> None:
    """By bytes that were drawn once, although the device's randomness is the system's."""
    once, twice = Fleet(), Fleet()
    for fleet in (once, twice):
        for device in fleet.devices.values():
            device._randomness_for = lambda *_: SystemRandomness()
    server = twice.server(1)
    for stage in STAGES:
        for index, request in server.requests().items():
            first = twice.devices[index].handle(stage, request.body)
            assert twice.devices[index].handle(stage, request.body) == first
            server.receive(index, first)
        server.advance()
    [total] = server.totals()
    error = np.abs(twice.decoded(total) - twice.expected([*range(6)])).max()
    assert error <= twice.rounding(total)
    assert all(store.load().participations == 1 for store in twice.stores.values())


@pytest.mark.parametrize("late", STAGES[:-1])
@pytest.mark.parametrize("at", STAGES[1:])
def test_a_request_that_comes_late_or_early_does_not_end_the_round(late: Stage, at: Stage) -> None:
    fleet, requests = Fleet(), dict[Stage, bytes]()
    server = fleet.server(1)
    for stage in STAGES:
        requests[stage] = server.requests()[0].body
        if stage is at and late in requests and STAGES.index(late) < STAGES.index(at) - 1:
            with pytest.raises(Refused):
                fleet.devices[0].handle(late, requests[late])
        if stage is at and stage is not Stage.UNMASK:
            with pytest.raises(Refused, match=f"stage unmask at stage {at}"):
                fleet.devices[0].handle(Stage.UNMASK, b"early")
        fleet.exchange(server, stage)
    assert fleet.failures == {}
    assert server.totals()[0].survivors == 6


@pytest.mark.parametrize("name", ["reveal-all", "", "SHARE", "x" * 10_000])
def test_an_unknown_stage_is_refused_and_does_not_end_the_round(name: str) -> None:
    fleet = Fleet()
    server = fleet.run_until(Stage.INPUT)
    with pytest.raises(Refused, match="a stage that there is none of") as caught:
        fleet.devices[0].handle(name, server.requests()[0].body)
    assert len(str(caught.value)) < 100
    for stage in STAGES[2:]:
        fleet.exchange(server, stage)
    assert (fleet.failures, server.totals()[0].survivors) == ({}, 6)


def test_an_invitation_that_is_refused_does_not_end_the_round() -> None:
    fleet = Fleet()
    server = fleet.run_until(Stage.INPUT)
    for garbled in (b"", fleet.server(101).requests()[0].body):
        with pytest.raises(Refused):
            fleet.devices[0].handle(Stage.ADVERTISE, garbled)
    for stage in STAGES[2:]:
        fleet.exchange(server, stage)
    assert (fleet.failures, server.totals()[0].survivors) == ({}, 6)


# Crashes.


class DyingStore(MemoryDeviceStore):
    """Dies after its `last` save, which is durable."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.left = last

    def save(self, memory: Memory) -> None:
        super().save(memory)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("last", range(1, 6))
def test_a_crash_after_any_write_counts_one_participation_at_most(last: int) -> None:
    """And whoever was counted cannot make an input again."""
    store = DyingStore(last)
    fleet = Fleet(stores={0: store}, task=noiseless_task(max_participations=2))
    server, inputs = fleet.server(1), 0
    for stage in STAGES:
        for index, request in server.requests().items():
            for _ in range(2 if index == 0 else 1):
                try:
                    reply = fleet.devices[index].handle(stage, request.body)
                    inputs += stage is Stage.INPUT and index == 0
                    server.receive(index, reply)
                    break
                except KeyboardInterrupt:
                    fleet.devices[0] = fleet.device(0)
                except Refused:
                    break
        server.advance()
    assert inputs <= 1
    assert inputs <= store.load().participations <= 1
