"""Worker processes that die, or run out of memory: the sum is that of one process in peace."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from simulations.config import load_config
from simulations.crews.local import LocalCrew
from simulations.crews.processes import ProcessTeam
from simulations.crews.replay import ReplayingCrew
from simulations.inprocess import WorkerDied
from simulations.shares import Worker
from tests.support.runs import small_config
from tests.support.traps import Trap, job_of, total, worker_of

DEVICES = 12


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    path = small_config(tmp_path_factory.mktemp("config"))
    return worker_of(load_config(path, {"server.aggregation": "ideal"}))


def test_whoever_dies_is_replaced_and_the_sums_are_the_same(worker: Worker, tmp_path: Path) -> None:
    """One process ends in the middle of round 1, one between rounds, and a device takes too much memory once."""
    trap = Trap(Trap(worker.examples_of, 4, "exit", tmp_path / "exit"), 7, "memory", tmp_path / "memory")
    told: list[str] = []
    with ProcessTeam(replace(worker, examples_of=trap), 2) as team:
        crew = ReplayingCrew(team, worker.task, told.append)
        for number in (1, 2, 3):
            job = job_of(worker, number, DEVICES)
            assert total(crew.shares(job)) == total(LocalCrew(worker).shares(job))
            if number == 1:
                os.kill(team.idle()[0].pid or 0, signal.SIGKILL)
        assert len(team.idle()) == 2
    assert any("exit code 7" in text for text in told)
    assert any("memory" in text for text in told)
    assert any("SIGKILL" in text for text in told)


def test_a_device_that_nobody_can_train_is_named(worker: Worker) -> None:
    with ProcessTeam(replace(worker, examples_of=Trap(worker.examples_of, 5, "memory")), 2) as team:
        crew = ReplayingCrew(team, worker.task, lambda _: None)
        with pytest.raises(WorkerDied, match=r"device 5: .*memory.* lower training\.buckets"):
            list(crew.shares(job_of(worker, 1, DEVICES)))


def test_a_bug_ends_the_run_at_once(worker: Worker) -> None:
    with ProcessTeam(replace(worker, examples_of=Trap(worker.examples_of, 5, "bug")), 2) as team:
        crew = ReplayingCrew(team, worker.task, lambda _: None)
        with pytest.raises(WorkerDied, match="AttributeError: a bug") as caught:
            list(crew.shares(job_of(worker, 1, DEVICES)))
    assert "in _spring" in "".join(caught.value.__notes__)
