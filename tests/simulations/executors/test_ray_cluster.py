"""A cluster of several nodes, which join and die."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulations.config.config import RunConfig, load_config
from simulations.executors import cluster, executor
from simulations.executors.local import LocalExecutor
from simulations.federation.ideal import Executor
from simulations.federation.partial_sums import Worker
from simulations.processes.workers import WorkerDied
from simulations.runs.run import start
from tests.support.leftovers import leftovers
from tests.support.runs import model_bytes, small_config
from tests.support.traps import Doomed, job_of, total, worker_of

DEVICES = 12


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head with one CPU."""
    cluster.settle()
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - after the settings

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, nodes: Any) -> RunConfig:
    path = small_config(tmp_path_factory.mktemp("config"))
    return load_config(path, {"server.aggregation": "ideal", "engine": "ray", "ray_address": nodes.address})


@pytest.fixture(scope="module")
def worker(config: RunConfig) -> Worker:
    return worker_of(config)


@pytest.mark.long
def test_a_node_joins_and_dies_in_the_middle_of_a_round(
    nodes: Any, config: RunConfig, worker: Worker, tmp_path: Path
) -> None:
    told: list[str] = []
    with executor(
        config, replace(worker, examples_of=Doomed(worker.examples_of, tmp_path)), None, told.append
    ) as ray_executor:
        rounds = (_round(ray_executor, worker, number) for number in itertools.count(1))
        next(rounds)
        assert told == ["Ray: workers 1, nodes 1"]
        doomed = nodes.add_node(num_cpus=1)
        while told[-1] != "Ray: workers 2, nodes 2":
            next(rounds)
            time.sleep(0.2)
        mark = tmp_path / doomed.node_id
        mark.touch()
        killer = threading.Thread(target=_kill, args=(nodes, doomed, mark))
        killer.start()
        next(rounds)
        killer.join()
        next(rounds)
    assert told[2:] == [
        "a Ray worker is gone (ActorUnavailableError); its 6 devices are given to others",
        "Ray: workers 1, nodes 1",
    ]


@pytest.mark.long
def test_a_run_on_a_cluster_is_stopped_and_goes_on_elsewhere(nodes: Any, tmp_path: Path) -> None:
    """Ctrl-C, to the whole process group as a terminal sends it; standard output holds the summary and nothing else."""
    config = ["--config", str(small_config(tmp_path, rounds=12)), "--aggregation", "ideal"]
    out = tmp_path / "run"
    process = _fl_sim(*config, "--engine", "ray", "--ray-address", nodes.address, "--out", str(out), mark=tmp_path)
    while not (out / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert leftovers(tmp_path) == []
    process = _fl_sim("--resume", str(out), "--ray-address", "local", "--workers", "2", "--json", mark=tmp_path)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["rounds"] == 12
    assert leftovers(tmp_path) == []
    start(load_config(Path(config[1]), {"server.aggregation": "ideal"}), tmp_path / "local", force=False, workers=1)
    assert model_bytes(out) == model_bytes(tmp_path / "local")


@pytest.mark.long
def test_other_versions_are_left_out(config: RunConfig, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with executor(config, worker, None, told.append) as ray_executor:
        from simulations.executors import actors  # noqa: PLC0415 - imports Ray

        monkeypatch.setattr(actors, "version", lambda name: f"not the {name} of the others")
        with pytest.raises(WorkerDied, match=r"expected .*not the torch.* got "):
            _round(ray_executor, worker, 1)
    assert "is left out: expected" in told[0]


def _fl_sim(*arguments: str, mark: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own; it and all that it starts have a path in their environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "simulations", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "MARK": str(mark)},
    )


def _round(ray_executor: Executor, worker: Worker, number: int) -> None:
    """One more, with the sum of one process alone."""
    job = job_of(worker, number, DEVICES)
    assert total(ray_executor.partial_sums(job)) == total(LocalExecutor(worker).partial_sums(job))


def _kill(nodes: Any, doomed: Any, mark: Path) -> None:
    """All processes of the node, without warning, as soon as one of its workers has begun."""
    while not mark.read_text():
        time.sleep(0.05)
    nodes.remove_node(doomed, allow_graceful=False)
