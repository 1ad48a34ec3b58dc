"""`fl-server dev` as its user meets it: a process with an exit code, that leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fl_server
from fl_server.cli import app
from fl_server.publishing.registry import STABLE, ModelVersion, open_release
from fl_server.service import ServerDirectory
from privacy.base.canonical import sha256
from privacy.ledger.entries import Released
from privacy.ledger.ledger import SignedHead
from tests.support.ledgers import kinds, read_ledger, verified_entries
from tests.support.leftovers import leftovers

pytestmark = pytest.mark.timeout(400)

ROOT = Path(fl_server.__file__).parents[1]


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fl_server", "dev", "--out", str(out), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Path, process: subprocess.Popen[str], timeout: float = 90) -> None:
    deadline = time.monotonic() + timeout
    while not condition.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"expected {condition} within {timeout} s"
        time.sleep(0.1)


@dataclass(frozen=True)
class Finished:
    """A run that has ended, and what it said."""

    path: Path
    stdout: str

    @property
    def server(self) -> ServerDirectory:
        return ServerDirectory(self.path / "dev")

    @property
    def release(self) -> ModelVersion:
        return open_release(self.server.release / STABLE, self.server.read_operator().public)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    path = tmp_path_factory.mktemp("finished")
    process = start(path / "dev", "--rounds", "2")
    stdout, stderr = process.communicate(timeout=350)
    assert process.returncode == 0, stderr
    return Finished(path, stdout)


def test_it_publishes_a_verified_model_and_leaves_nothing_running(finished: Finished) -> None:
    assert "round 2: 3 of 3 devices in the sum" in finished.stdout
    assert f"published {finished.release.name}" in finished.stdout
    assert np.linalg.norm(finished.release.weights) > 0
    assert leftovers(finished.path) == []


def test_ledger_model_and_metrics_agree(finished: Finished) -> None:
    """Charges, digests and epsilon, each from another file."""
    server, release = finished.server, finished.release
    ledger, entries = read_ledger(server), verified_entries(server)
    assert kinds(entries) == ["charge", "released"] * 2
    last = entries[-1].body
    assert isinstance(last, Released)
    assert last.model_digest == sha256(release.weights.astype("<f4").tobytes()).hex()
    assert SignedHead.model_validate(release.predicate["ledger"]) == ledger.head()
    assert release.predicate["task"] == server.read_task().id
    assert server.lines()[-1]["epsilon"] == pytest.approx(ledger.spent().epsilon)
    assert ledger.spent().epsilon <= 8


def test_keys_stay_private(finished: Finished) -> None:
    logs = "".join(log.read_text() for log in (finished.path / "dev" / "logs").iterdir()) + finished.stdout
    for key in (finished.server.operator_key, finished.path / "dev" / "devices" / "0" / "identity.key"):
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.read_bytes().hex() not in logs


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_in_the_middle_of_a_run_it_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "dev"
    process = start(out, "--rounds", "50")
    wait_for(out / "metrics.jsonl", process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert leftovers(tmp_path) == []


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_killed_outright_it_leaves_nothing_running_either(tmp_path: Path) -> None:
    out = tmp_path / "dev"
    process = start(out, "--rounds", "50")
    wait_for(out / "metrics.jsonl", process)
    process.kill()
    process.communicate(timeout=60)
    assert leftovers(tmp_path, timeout=30) == []


@pytest.mark.long
def test_a_part_that_dies_ends_the_run_with_its_log(tmp_path: Path) -> None:
    out = tmp_path / "dev"
    process = start(out, "--rounds", "50")
    wait_for(out / "metrics.jsonl", process)
    victim = subprocess.run(["pgrep", "-f", f"flower-superlink.*{out}"], capture_output=True, text=True, check=True)
    os.kill(int(victim.stdout.split()[0]), signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "superlink: ended with exit code -9" in stderr
    assert leftovers(tmp_path) == []


def test_an_existing_path_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["dev", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "--out: expected a new path" in result.output


def test_too_few_devices_are_refused(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["dev", "--out", str(tmp_path / "dev"), "--devices", "2"]).exit_code == 2


def test_help_shows_examples_and_exit_codes() -> None:
    output = CliRunner().invoke(app, ["dev", "--help"]).output
    assert "fl-server dev --out runs/dev" in output
    assert "130 interrupted" in output
