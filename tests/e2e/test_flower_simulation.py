"""`flwr run` on Flower's own simulation: Ray workers play the devices, and the model learns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import simulations
from fl_server.flower.flwr_cli import FlwrCli, script
from fl_server.flower.processes import Processes
from fl_server.flower.superlink import free_port
from fl_server.publishing.registry import STABLE, open_release
from fl_server.service import ServerDirectory
from privacy.ledger.ledger import SignedHead
from simulations.config.config import load_config
from simulations.runs.run import start
from tests.support.ledgers import kinds, read_ledger, verified_entries
from tests.support.leftovers import leftovers

APP = Path(simulations.__file__).parent / "flower_app"
_RAY_FAILED = "Simulation Runtime crashed."
"""Flower says so when it cannot start its workers; what goes wrong in them, it tells otherwise."""
DEVICES = 24
CONFIG = f"""\
seed = 6
[data]
devices = {DEVICES}
[privacy]
noise_multiplier = 0.0
participation = "bounded"
[training]
buckets = 4096
[server]
rounds = 2
cohort = {DEVICES}
"""


class Simulation:
    """A SuperLink that simulates, and Flower's command line beside it."""

    def __init__(self, path: Path, processes: Processes) -> None:
        self.path = path
        self.processes = processes
        port = free_port()
        self.cli = FlwrCli(path / "flwr-home", f"127.0.0.1:{port}", None)
        self.environment = {**self.cli.environment, "OMP_NUM_THREADS": "1"}
        command = [script("flower-superlink"), "--insecure", "--simulation", "--port", str(port)]
        processes.start("superlink", command, self.environment)
        processes.wait_until(lambda: _answers(port), "a SuperLink that answers", timeout=60)

    def run(self, name: str, config: str, nodes: int) -> Path:
        """The output of a `flwr run` that came to its end; a second one where Ray itself did not start, since it gives
        its own processes half a minute, which a busy machine exceeds."""
        for out in (self.path / name, self.path / f"{name}-again"):
            outcome = self._outcome(out, config, nodes)
            told = self.processes.log(out.name).read_text(errors="replace")
            if outcome == "completed" or _RAY_FAILED not in told:
                break
        assert outcome == "completed", told
        return out

    def _outcome(self, out: Path, config: str, nodes: int) -> str | None:
        federation = {"num-supernodes": nodes, "client-resources-num-cpus": 1, "init-args-num-cpus": 2}
        run = self.cli.submit(APP, {"config": config, "out": str(out)}, federation)
        self.processes.start(out.name, self.cli.log_command(run), self.environment, may_end=True)
        self.processes.wait_until(lambda: self.processes.ended(out.name), "the end of the run", timeout=150)
        return self.cli.outcome(run)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    path = tmp_path_factory.mktemp("simulation")
    with Processes(path / "logs") as processes:
        yield Simulation(path, processes)
    assert leftovers(path) == []


def trained_in_process(path: Path) -> float:
    """AUROC of the same federation without Flower."""
    outcome = start(load_config(path / "federation.toml", {}), path / "in-process", force=False, workers=1)
    assert outcome.summary is not None
    return float(outcome.summary["auroc"])


@pytest.mark.long
def test_ray_devices_train_and_the_model_is_published(simulation: Simulation) -> None:
    (simulation.path / "federation.toml").write_text(CONFIG)
    directory = ServerDirectory(simulation.run("trained", str(simulation.path / "federation.toml"), nodes=DEVICES))
    summary = json.loads((directory.path / "summary.json").read_text())
    assert summary["auroc_untrained"] == pytest.approx(0.5)
    assert summary["auroc"] > 0.7
    assert summary["auroc"] == pytest.approx(trained_in_process(simulation.path), abs=2e-3)
    assert [line["aborted"] for line in directory.lines()] == [None, None]
    assert not any(line["refusals"] for line in directory.lines())
    release = open_release(directory.release / STABLE, directory.read_operator().public)
    assert release.name == summary["release"]
    assert kinds(verified_entries(directory)) == ["charge", "released"] * 2
    assert SignedHead.model_validate(release.predicate["ledger"]) == read_ledger(directory).head()
