"""Parts that come back undone are done by others, and nothing is done twice."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from fl_client.training.training import Examples
from privacy.secagg.primitives.masking import pack, unpack
from privacy.task.task import TaskSpec
from simulations.config.config import load_config
from simulations.executors.results import Answer, PackedPartialSum, Unfinished, answer
from simulations.executors.retrying import RetryingExecutor, allot
from simulations.federation.partial_sums import Job, PartialSum
from simulations.processes.workers import WorkerDied
from tests.support.tasks import make_task
from tests.support.traps import job_of, worker_of

TASK: TaskSpec = make_task()


def sum_of(devices: Sequence[int]) -> PartialSum:
    """Coordinate j counts the devices that leave the remainder j."""
    return PartialSum(
        np.bincount([device % TASK.length for device in devices], minlength=TASK.length), list(devices), {}
    )


class Paper:
    """Workers that are numbers; `fates` say of each part in turn whether it is done, undone, or its worker's end."""

    def __init__(self, workers: int, fates: Sequence[str]) -> None:
        self.size = workers
        self.fates = deque(fates)
        self.living: set[int] = set()
        self.parts: dict[int, Sequence[int]] = {}
        self.given: list[tuple[int, Sequence[int]]] = []

    def open(self, job: Job) -> None:  # noqa: ARG002
        assert not self.parts

    def start_workers(self) -> None:
        assert not self.parts
        self.living = set(range(self.size))

    def idle(self) -> Sequence[int]:
        return sorted(self.living - self.parts.keys())

    def submit(self, worker: int, devices: Sequence[int]) -> None:
        assert worker in self.idle()
        self.parts[worker] = devices
        self.given.append((worker, devices))

    def results(self) -> Iterator[tuple[int, Answer]]:
        assert self.parts
        worker, devices = self.parts.popitem()
        fate = self.fates.popleft() if self.fates else "done"
        if fate == "dies":
            self.living.remove(worker)
        yield worker, PackedPartialSum.of(sum_of(devices), TASK) if fate == "done" else Unfinished(fate)


def job(devices: Sequence[int]) -> Job:
    return Job(1, np.zeros(1, np.float32), 1.0, b"", len(devices), devices)


@given(
    st.sets(st.integers(0, 200), min_size=1, max_size=40),
    st.integers(1, 5),
    st.lists(st.sampled_from(["done", "dies", "undone"]), max_size=60),
)
def test_every_device_is_in_the_sum_once(devices: set[int], workers: int, fates: list[str]) -> None:
    """Whatever happens, unless a device alone was the end of three parts."""
    workers = Paper(workers, fates)
    try:
        partial_sums = list(RetryingExecutor(workers, TASK, lambda _: None).partial_sums(job(sorted(devices))))
    except WorkerDied:
        assert 3 in Counter(part[0] for _, part in workers.given if len(part) == 1).values()
        return
    assert sorted(device for partial_sum in partial_sums for device in partial_sum.survivors) == sorted(devices)
    assert np.array_equal(sum(partial_sum.sums for partial_sum in partial_sums), sum_of(sorted(devices)).sums)


def test_parts_get_smaller_down_to_one_device_which_is_named() -> None:
    workers = Paper(2, ["dies"] * 1000)
    with pytest.raises(WorkerDied, match=r"device \d+: dies, 3 times with this device alone"):
        list(RetryingExecutor(workers, TASK, lambda _: None).partial_sums(job(range(16))))
    assert {len(devices) for _, devices in workers.given} == {8, 4, 2, 1}


def test_an_error_is_not_tried_again() -> None:
    class Wrong(Paper):
        def results(self) -> Iterator[tuple[int, Answer]]:
            yield self.parts.popitem()[0], ValueError("no such task")

    with pytest.raises(ValueError, match="no such task"):
        list(RetryingExecutor(Wrong(2, []), TASK, lambda _: None).partial_sums(job(range(4))))


@given(st.sets(st.integers(0, 500), max_size=100), st.integers(1, 9))
def test_parts_are_equal_and_devices_stay_where_they_were(devices: set[int], workers: int) -> None:
    parts = allot(sorted(devices), workers)
    assert sorted(device for part in parts for device in part) == sorted(devices)
    assert all(parts)
    most = -(-len(devices) // workers)
    assert all(len(part) <= most for part in parts)
    moved = sum(max(0, sum(device % workers == place for device in devices) - most) for place in range(workers))
    if len(parts) == workers:
        assert sum(device % workers != place for place, part in enumerate(parts) for device in part) == moved


@given(st.lists(st.integers(-(2**40), 2**40), min_size=TASK.length, max_size=TASK.length), st.integers(8, 32))
def test_a_packed_sum_is_the_sum_modulo_m(sums: list[int], bits: int) -> None:
    task = make_task(aggregation=TASK.aggregation.model_copy(update={"modulus_bits": bits}))
    added = np.array(sums, np.int64)
    opened = PackedPartialSum.of(PartialSum(added, [3, 1], {"late": 2}), task).open(task)
    assert (opened.survivors, opened.lost) == ([3, 1], {"late": 2})
    whole, halves = (unpack(pack(summed, bits), bits, task.length) for summed in (2 * added, opened.sums + added))
    assert np.array_equal(whole, halves)


@pytest.mark.parametrize("want", [lambda: torch.empty(1 << 55), lambda: np.empty(1 << 55)])
def test_no_memory_is_no_bug(want: Callable[[], object]) -> None:
    """However the library that wants it says so."""

    def examples_of(device: int, number: int) -> Examples:  # noqa: ARG001
        want()
        raise AssertionError("there was enough")

    worker = replace(worker_of(load_config(None, {"seed": 1, "data.devices": 80})), examples_of=examples_of)
    assert answer(worker, job_of(worker, 1, 8)) == Unfinished("a worker ran out of memory")
