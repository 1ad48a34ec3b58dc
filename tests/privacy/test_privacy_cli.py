"""`fl-privacy` on a real run, and on copies of it that lie."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from privacy.cli.app import app
from simulations.config import load_config
from simulations.run import start
from tests.support.runs import small_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reviewed")
    start(load_config(small_config(path, rounds=3), {}), path / "run", force=False, workers=1)
    return path / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))


def verify(run: Path, *more: str) -> Result:
    files = {
        "--ledger": run / "ledger.db",
        "--operator": run / "operator.pub",
        "--authority": run / "authority.pub",
        "--task": run / "release" / "stable" / "task.json",
        "--log": run / "rounds.jsonl",
        "--report": run / "report.json",
    }
    arguments = [str(part) for pair in files.items() for part in pair]
    return CliRunner().invoke(app, ["verify", *arguments, *more])


def failed(run: Path) -> list[str]:
    result = verify(run, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["passed"] is False
    return [check["name"] for check in found["checks"] if check["passed"] is False]


def test_an_honest_run_passes(run: Path) -> None:
    result = verify(run, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["passed"] is True
    assert len(found["checks"]) == 18
    assert all(check["passed"] for check in found["checks"])


def test_the_table_has_a_line_a_check(run: Path) -> None:
    result = verify(run)
    assert result.exit_code == 0
    assert result.stdout.count("ok") >= 18


def test_what_was_not_given_is_not_verified(run: Path) -> None:
    arguments = ["verify", "--ledger", str(run / "ledger.db"), "--operator", str(run / "operator.pub"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    checks = {check["name"]: check["passed"] for check in json.loads(result.stdout)["checks"]}
    assert checks.pop("ledger: signed, chained and whole") is True
    assert checks.pop("epsilon: both accountants agree") is True
    assert set(checks.values()) == {None}


def test_a_ledger_on_a_read_only_disk(run: Path) -> None:
    """SQLite cannot make its own files beside it, and leaves none."""
    before = sorted(path.name for path in run.iterdir())
    assert verify(run).exit_code == 0
    assert sorted(path.name for path in run.iterdir()) == before


def _sql(statement: str) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        with sqlite3.connect(run / "ledger.db") as connection:
            for trigger in ("update", "delete"):
                connection.execute(f"DROP TRIGGER ledger_no_{trigger}")
            connection.execute(statement)
        connection.close()

    return apply


def _edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        path = run / name
        path.write_bytes(change(path.read_bytes()))

    return apply


def _report(change: Callable[[dict[str, dict[str, object]]], None]) -> Callable[[Path], None]:
    def apply(data: bytes) -> bytes:
        report = json.loads(data)
        change(report)
        return json.dumps(report).encode()

    return _edit("report.json", apply)


LEDGER = "ledger: signed, chained and whole"
EPSILON = "report: its epsilon is what the ledger costs"
SIGNED, ORDER = "round log: signed by the operator", "round log: complete and in order"
RECORDED = "round log: every charge has its record"


@pytest.mark.parametrize(
    ("tamper", "name"),
    [
        (
            _sql("UPDATE ledger_entries SET entry = CAST(replace(entry, 'charge', 'charhe') AS BLOB) WHERE seq = 1"),
            LEDGER,
        ),
        (_sql("DELETE FROM ledger_entries WHERE seq = 2"), LEDGER),
        (_sql("UPDATE ledger_entries SET seq = 100 - seq"), LEDGER),
        (_sql("UPDATE ledger_entries SET head = x'00'"), LEDGER),
        (_sql("DELETE FROM ledger_entries"), LEDGER),
        (_sql("DELETE FROM ledger_entries WHERE seq > 4"), "report: is about this ledger"),
        (_report(lambda report: report["claim"].update(epsilon="0.1")), EPSILON),
        (_report(lambda report: report["claim"].update(delta="0.01")), EPSILON),
        (_edit("rounds.jsonl", lambda data: data.replace(b'"invited":', b'"invited":1')), SIGNED),
        (_edit("rounds.jsonl", lambda data: data[data.index(b"\n") + 1 :]), ORDER),
        (_edit("rounds.jsonl", lambda data: data[: data.rindex(b"\n", 0, -1) + 1]), RECORDED),
        (_edit("rounds.jsonl", lambda data: data.replace(b",", b", ", 1)), SIGNED),
    ],
)
def test_lies_are_caught(run: Path, tamper: Callable[[Path], None], name: str) -> None:
    tamper(run)
    assert name in failed(run)


def test_another_runs_files(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    start(load_config(small_config(tmp_path, rounds=2), {"seed": 12}), other, force=False, workers=1)
    shutil.copy(other / "report.json", run)
    assert "report: is about this ledger" in failed(run)
    shutil.copy(other / "rounds.jsonl", run)
    assert "round log: signed by the operator" in failed(run)


REAL = ["--ledger", "{run}/ledger.db", "--operator", "ab" * 32]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--ledger", "missing.db", "--operator", "ab" * 32], "--ledger: no file missing.db"),
        (["--ledger", __file__, "--operator", "ab" * 32], "--ledger: expected a ledger in SQLite"),
        (["--ledger", "{run}/ledger.db", "--operator", "ab"], "--operator: expected 64 hex digits"),
        (["--ledger", "{run}/ledger.db", "--operator", "{run}/report.json"], "--operator: expected 64 hex digits"),
        ([*REAL, "--log", "x"], "--log: needs --task and --authority"),
        ([*REAL, "--task", "{run}/report.json"], "--task: expected a task"),
        ([*REAL, "--report", "{run}/summary.json"], "--report: expected"),
        ([*REAL, "--report", "none.json"], "--report: none.json"),
    ],
)
def test_bad_input_names_the_option(run: Path, arguments: list[str], reason: str) -> None:
    filled = [argument.replace("{run}", str(run)) for argument in arguments]
    result = CliRunner().invoke(app, ["verify", *filled])
    assert result.exit_code == 2
    assert reason in result.stderr


def test_plan_compares_cohorts() -> None:
    arguments = ["plan", "--cohort", "64", "--cohort", "200", "--population", "10000", "--rounds", "5", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert [one["cohort"] for one in json.loads(result.stdout)["plans"]] == [64, 200]


def test_plan_says_what_to_change() -> None:
    result = CliRunner().invoke(app, ["plan", "--cohort", "64", "--population", "10"])
    assert result.exit_code == 2
    assert "population: expected at least the cohort's 64 devices, got 10" in result.stderr


def test_a_reviewer_needs_neither_torch_nor_flwr() -> None:
    script = "import sys, privacy.cli.app; sys.exit(bool({'torch', 'flwr', 'grpc', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
