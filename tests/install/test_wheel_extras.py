"""The wheel holds all that is needed, and each extra brings what it promises into an empty environment, and no more."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email import message_from_string
from pathlib import Path

import pytest

from tests.support.golden import RUNS
from tests.support.paths import ROOT

PACKAGES = ("privacy", "strategies", "fl_client", "fl_server", "simulations")
COMMANDS = ("fl-sim", "fl-server", "fl-client", "fl-privacy")
EXTRAS = {"report", "client", "server", "sim", "dev"}
TOO_MUCH = {
    "": {"torch", "flwr", "opacus", "grpcio", "ray", "scipy", "sqlalchemy", "alembic"},
    "report": {"torch", "flwr", "opacus", "grpcio", "ray", "alembic"},
    "client": {"ray", "dp-accounting", "psycopg"},
    "server": {"torch", "opacus", "ray"},
}
"""What an extra must not bring."""
BUILD_SINCE = 77
"""The setuptools that pyproject.toml asks for."""

SECURE = next(run for run in RUNS if (run.path / "ledger.db").exists())

Install = Callable[[str], "Installed"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel is made of, apart from the checkout: setuptools leaves files of its own beside the sources."""
    path = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, path)
    return path


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wheel")
    here = int(importlib.metadata.version("setuptools").partition(".")[0]) >= BUILD_SINCE
    command = [sys.executable, "-m", "pip", "wheel", source, "--quiet", "--no-deps", "--wheel-dir", path]
    subprocess.run([*command, *(["--no-build-isolation"] if here else [])], check=True)
    [wheel] = path.glob("*.whl")
    return wheel


def test_the_wheel_holds_every_file_of_every_package_and_nothing_else(source: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        about = message_from_string(archive.read(metadata).decode())
        scripts = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    files = [path for name in PACKAGES for path in (source / name).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(source)) for path in files if path.suffix != ".md" and "egg-info" not in str(path)}
    assert names == expected, names ^ expected
    assert {f"{name}/py.typed" for name in PACKAGES} <= names
    assert {"simulations/flower_app/pyproject.toml", "simulations/flower_app/LICENSE"} <= names
    assert {"privacy/report/report.html.j2", "privacy/report/epsilon-report.schema.json"} <= names
    assert any(name.startswith("fl_server/ledger_store/migrations/versions/v0001") for name in names)
    assert set(about.get_all("Provides-Extra", [])) >= EXTRAS
    assert all(f"\n{command} = " in scripts for command in COMMANDS)


def test_every_folder_of_code_is_a_package(source: Path) -> None:
    folders = {path.parent for name in PACKAGES for path in (source / name).rglob("*.py")}
    assert [str(folder.relative_to(source)) for folder in folders if not (folder / "__init__.py").exists()] == []


class Installed:
    """An environment with the wheel and one extra, and a directory to work in."""

    def __init__(self, path: Path, wheel: Path, extra: str) -> None:
        self.bin, self.work = path / "venv" / "bin", path / "work"
        self.work.mkdir()
        subprocess.run([sys.executable, "-m", "venv", path / "venv"], check=True)
        wanted = f"havenfl[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
        subprocess.run([self.bin / "pip", "install", "--quiet", wanted], check=True)

    def run(self, command: str, *arguments: str | Path, code: int = 0) -> str:
        """What the command printed; if nothing, what it said about its end."""
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        ended = subprocess.run(
            [self.bin / command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.work,
            env=environment,
        )
        assert ended.returncode == code, ended.stderr
        return ended.stdout or ended.stderr

    def packages(self) -> set[str]:
        return {package["name"].lower() for package in json.loads(self.run("pip", "list", "--format", "json"))}


@pytest.fixture
def install(wheel: Path, tmp_path: Path) -> Install:
    def installed(extra: str) -> Installed:
        made = Installed(tmp_path, wheel, extra)
        assert not made.packages() & TOO_MUCH.get(extra, set())
        made.run("pip", "check")
        return made

    return installed


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_without_an_extra_the_library_is_there_and_commands_name_theirs(install: Install) -> None:
    bare = install("")
    every = (
        "import privacy.task, privacy.mechanism, privacy.secagg, privacy.ledger, strategies; print(privacy.__file__)"
    )
    assert str(bare.bin.parent) in bare.run("python", "-c", every)
    for command in COMMANDS:
        assert "Usage" in bare.run(command, "--help")
    told = bare.run("fl-privacy", "plan", "--cohort", "10", "--population", "100", code=1)
    assert "'report' extra" in told
    assert "Traceback" not in told


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_report_is_all_that_a_reviewer_needs(install: Install) -> None:
    """Every command, on the evidence of an earlier version."""
    reviewer = install("report")
    run = Path(shutil.copytree(SECURE.path, reviewer.work / "run"))
    release, report = next((run / "release").iterdir()), next((run / "release").glob("*/report.json"))
    evidence = ("--ledger", run / "ledger.db", "--operator", run / "operator.pub")
    whole = ("--authority", run / "authority.pub", "--release", release, "--log", run / "rounds.jsonl")
    assert json.loads(reviewer.run("fl-privacy", "verify", *evidence, *whole, "--json"))["passed"]
    assert json.loads(reviewer.run("fl-privacy", "budget", *evidence, "--json", code=1))["limits"]  # none is left
    assert json.loads(reviewer.run("fl-privacy", "diff", report, report, "--json"))["same"]
    plan = ("--cohort", "64", "--population", "10000", "--json")
    assert json.loads(reviewer.run("fl-privacy", "plan", *plan))["plans"]
    reviewer.run("fl-privacy", "report", "--report", report, "--html", run / "again.html", "--registry", run / "e.json")
    assert (run / "again.html").read_text().startswith("<!")
    quick = ("--trials", "50", "--battery", "40", "--canaries", "200")
    audits = json.loads(reviewer.run("fl-privacy", "audit", "--task", release / "task.json", *quick, "--json"))
    assert len(audits["audits"]) == 3
    reviewer.run("fl-privacy", "keys", "new", run / "witness.key")
    reviewer.run("fl-privacy", "witness", *evidence, "--key", run / "witness.key", "--checkpoint", run / "seen.json")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_client_makes_devices(install: Install) -> None:
    client = install("client")
    client.run("fl-client", "init", "alice", "bob")
    assert (client.work / "bob" / "enrolment-request.bin").exists()
    client.run("python", "-c", "from fl_client.device.host import open_device; import fl_client.connection.flower")
    assert "--superlink" in client.run("fl-client", "run", "--help")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_server_enrols_and_keeps_a_ledger(install: Install) -> None:
    server = install("server")
    server.run("fl-server", "authority", "authority", "--population", "people")
    assert (server.work / "authority" / "authority.pub").exists()
    server.run("fl-server", "revoke", "--authority", "authority")
    server.run("fl-server", "export-ledger", shutil.copy(SECURE.path / "ledger.db", server.work), "--out", "copy.db")
    assert (server.work / "copy.db").exists()
    server.run("python", "-c", "import fl_server.service, fl_server.flower.app")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_sim_runs_a_federation(install: Install) -> None:
    """In a directory with no checkout anywhere near it, workers and all."""
    sim = install("sim")
    (sim.work / "small.toml").write_text(
        "seed = 1\n[data]\ndevices = 40\n[privacy]\nnoise_multiplier = 1.0\ndelta = 1e-3\n[training]\nbuckets = 256\n"
        "steps = 2\n[server]\nrounds = 2\ncohort = 20\nmin_survivors = 3\n"
    )
    sim.run("fl-sim", "run", "--config", "small.toml", "--out", "run", "--workers", "2")
    assert (sim.work / "run" / "report.html").exists()
    (sim.work / "new.csv").write_text("text\nnobody wants you here\n")
    sim.run("fl-sim", "score", "--release", "run/release/stable", "--data", "new.csv", "--out", "scores.csv")
    app = "import simulations, pathlib; print((pathlib.Path(simulations.__file__).parent / 'flower_app').is_dir())"
    assert sim.run("python", "-c", app) == "True\n"
