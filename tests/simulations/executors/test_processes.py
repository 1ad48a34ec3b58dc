"""Worker processes that die, or run out of memory: the sum is that of one process in peace."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from simulations.config.config import load_config
from simulations.executors.local import LocalExecutor
from simulations.executors.processes import ProcessWorkers
from simulations.executors.retrying import RetryingExecutor
from simulations.federation.partial_sums import Worker
from simulations.processes.workers import WorkerDied
from tests.support.runs import small_config
from tests.support.traps import Trap, job_of, total, worker_of

DEVICES = 12


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    path = small_config(tmp_path_factory.mktemp("config"))
    return worker_of(load_config(path, {"server.aggregation": "ideal"}))


def test_whoever_dies_is_replaced_and_the_sums_are_the_same(worker: Worker, tmp_path: Path) -> None:
    """One process ends in the middle of a round, the other between rounds; a device takes too much memory once."""
    trap = Trap(Trap(worker.examples_of, 4, "exit", tmp_path / "exit"), 7, "memory", tmp_path / "memory")
    told: list[str] = []
    with ProcessWorkers(replace(worker, examples_of=trap), 2) as processes:
        executor = RetryingExecutor(processes, worker.task, told.append)
        for number in (1, 2):
            job = job_of(worker, number, DEVICES)
            assert total(executor.partial_sums(job)) == total(LocalExecutor(worker).partial_sums(job))
            (survivor,) = processes.idle()
            os.kill(survivor.pid or 0, signal.SIGKILL)
    assert all(any(words in text for text in told) for words in ("exit code 7", "out of memory", "SIGKILL"))


def test_what_cannot_be_replayed(worker: Worker) -> None:
    """A device that nobody can train is named at last; a bug ends the run at once, and is shown."""
    trap = Trap(Trap(worker.examples_of, 5, "memory"), 12, "bug")
    with ProcessWorkers(replace(worker, examples_of=trap), 1) as processes:
        executor = RetryingExecutor(processes, worker.task, lambda _: None)
        with pytest.raises(WorkerDied, match=r"device 5: .*memory.* lower training\.buckets"):
            list(executor.partial_sums(job_of(worker, 1, DEVICES)))
        with pytest.raises(WorkerDied, match="AttributeError: a bug") as caught:
            list(executor.partial_sums(replace(job_of(worker, 2, DEVICES), devices=[12])))
    assert "in _spring" in "".join(caught.value.__notes__)
