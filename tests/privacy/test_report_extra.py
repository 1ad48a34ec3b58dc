"""A reviewer installs the `report` extra into an empty environment, and gets every command without torch or flwr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_TOO_MUCH = ("torch", "flwr", "opacus", "grpcio", "ray")


@pytest.fixture(scope="module")
def reviewer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment with nothing but the extra."""
    path = tmp_path_factory.mktemp("reviewer") / "venv"
    subprocess.run([sys.executable, "-m", "venv", path], check=True)
    subprocess.run([path / "bin/pip", "install", "--quiet", f"{ROOT}[report]"], check=True)
    return path / "bin"


def call(reviewer: Path, *arguments: str | Path) -> str:
    return subprocess.run([reviewer / "fl-privacy", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_command_works_without_torch_and_flwr(reviewer: Path, run: Path) -> None:
    listed = json.loads(
        subprocess.check_output([reviewer / "pip", "list", "--format", "json"], stderr=subprocess.DEVNULL)
    )
    assert not {package["name"] for package in listed} & set(_TOO_MUCH)
    release, report = run / "release/stable", run / "report.json"
    evidence = ("--ledger", run / "ledger.db", "--operator", run / "operator.pub")
    whole = ("--authority", run / "authority.pub", "--release", release, "--log", run / "rounds.jsonl")
    assert json.loads(call(reviewer, "verify", *evidence, *whole, "--json"))["passed"]
    assert json.loads(call(reviewer, "budget", *evidence, "--json"))["limits"]
    assert json.loads(call(reviewer, "diff", report, report, "--json"))["same"]
    assert json.loads(call(reviewer, "plan", "--cohort", "64", "--population", "10000", "--json"))["plans"]
    call(reviewer, "report", "--report", report, "--html", run / "again.html", "--registry", run / "entry.json")
    assert (run / "again.html").read_text() == (run / "report.html").read_text()
    quick = ("--trials", "50", "--battery", "40", "--canaries", "200")
    assert len(json.loads(call(reviewer, "audit", "--task", release / "task.json", *quick, "--json"))["audits"]) == 3
    call(reviewer, "keys", "new", run / "witness.key")
    call(reviewer, "witness", *evidence, "--key", run / "witness.key", "--checkpoint", run / "checkpoint.json")
