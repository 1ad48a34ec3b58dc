"""`fl-server dev` as its user meets it: a process with an exit code, that leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fl_server
from fl_server.cli import app
from fl_server.publishing.registry import STABLE, open_release
from fl_server.service import ServerDirectory
from tests.support.leftovers import leftovers

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


def test_it_publishes_a_verified_model_and_leaves_nothing_running(tmp_path: Path) -> None:
    out = tmp_path / "dev"
    process = start(out, "--rounds", "1")
    stdout, stderr = process.communicate(timeout=150)
    assert process.returncode == 0, stderr
    name = open_release(out / "release" / STABLE, ServerDirectory(out).read_operator().public).name
    assert (out / "ledger.db").is_file()
    assert "round 1: 3 of 3 devices in the sum" in stdout
    assert f"published {name}" in stdout
    assert leftovers(tmp_path) == []


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
