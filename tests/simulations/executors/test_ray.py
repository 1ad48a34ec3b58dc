"""Real Ray: the sums are those of one process, whoever dies or joins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from simulations.config.config import RunConfig, load_config
from simulations.executors import executor
from simulations.executors.local import LocalExecutor
from simulations.federation.partial_sums import Worker
from tests.support.leftovers import leftovers
from tests.support.runs import small_config
from tests.support.traps import Trap, job_of, total, worker_of

DEVICES = 12


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    path = small_config(tmp_path_factory.mktemp("config"))
    return load_config(path, {"server.aggregation": "ideal", "engine": "ray"})


@pytest.fixture(scope="module")
def worker(config: RunConfig) -> Worker:
    return worker_of(config)


def test_a_ray_of_its_own(config: RunConfig, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One actor ends in the middle of a round, a device takes too much memory once, and nothing is left behind."""
    monkeypatch.setenv("MARK", str(tmp_path))
    trap = Trap(Trap(worker.examples_of, 4, "exit", tmp_path / "exit"), 7, "memory", tmp_path / "memory")
    told: list[str] = []
    with executor(config, replace(worker, examples_of=trap), 2, told.append) as ray_executor:
        for number in (1, 2):
            job = job_of(worker, number, DEVICES)
            assert total(ray_executor.partial_sums(job)) == total(LocalExecutor(worker).partial_sums(job))
    assert told[0] == "Ray: workers 2, nodes 1"
    assert any("is gone" in text for text in told)
    assert any("memory" in text for text in told)
    assert leftovers(tmp_path) == []
