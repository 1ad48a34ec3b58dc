"""`fl-privacy verify` where a script decides by its exit code: what is bound to nothing fails, and costs nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import privacy.report.build
from privacy.base.canonical import canonical_json
from privacy.cli.app import app
from tests.support.resigned import resigned

TIED = "task: bound by a signature"
WHOLE = "ledger: signed, chained and whole"
ALONE = "ledger: nothing else in its file"
BESIDE = "release: nothing unsigned lies beside it"
SIGNED = "release: signed by the operator, every file whole"
RECOMPUTED = "report: all that follows from task, ledger and log, recomputed"


def verify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments), "--json"])


def named(result: Result, passed: bool | None) -> set[str]:
    return {check["name"] for check in json.loads(result.stdout)["checks"] if check["passed"] is passed}


def open_questions(result: Result) -> set[str]:
    checks = json.loads(result.stdout)["checks"]
    return {check["name"] for check in checks if check["passed"] is None and not check["word"]}


def with_keys(run: Path) -> list[str | Path]:
    return ["--operator", run / "operator.pub", "--authority", run / "authority.pub"]


def pair(run: Path, *more: str | Path) -> Result:
    """Ledger and report alone, as a reviewer may be sent them."""
    return verify("--ledger", run / "ledger.db", "--operator", run / "operator.pub", *more)


# Strictness.


def witnessed(run: Path) -> list[str | Path]:
    key, checkpoint = run / "witness.key", run / "checkpoint.json"
    ledger = ["--ledger", str(run / "ledger.db"), "--operator", str(run / "operator.pub")]
    for command in (
        ["keys", "new", str(key)],
        ["witness", *ledger, "--key", str(key), "--checkpoint", str(checkpoint)],
    ):
        assert CliRunner().invoke(app, command).exit_code == 0
    return ["--checkpoint", checkpoint, "--witness", run / "witness.key.pub"]


def files(run: Path) -> list[str | Path]:
    release = run / "release" / "stable"
    return ["--ledger", run / "ledger.db", *with_keys(run), "--release", release, "--log", run / "rounds.jsonl"]


def test_of_a_simulation_a_strict_gate_lacks_real_noise_and_nothing_else(run: Path) -> None:
    """What only a person knows is named, and no file could be given that would show it."""
    everything = [*files(run), *witnessed(run)]
    loose, strict = verify(*everything), verify(*everything, "--strict")
    assert (loose.exit_code, strict.exit_code) == (0, 1)
    assert json.loads(strict.stdout)["passed"] is False
    assert open_questions(strict) == {"noise: real"}
    assert named(strict, None) > open_questions(strict)


def test_a_strict_gate_misses_what_was_not_given(run: Path) -> None:
    assert "ledger: continues what a witness saw" in open_questions(verify(*files(run), "--strict"))
    assert {"report", "release", "round log"} <= open_questions(pair(run, "--strict"))


def test_a_strict_gate_wants_keys_from_elsewhere(run: Path) -> None:
    keys = "keys: from somebody else than the files"
    assert keys in open_questions(verify(run, "--strict"))
    assert keys not in open_questions(verify(run, *with_keys(run), "--strict"))


# Files that nothing binds.


def other_task(run: Path, **changes: object) -> Path:
    path = run / "other.json"
    task = json.loads((run / "release" / "stable" / "task.json").read_bytes())
    path.write_bytes(canonical_json({**task, "name": "another", **changes}))
    return path


def test_a_task_that_nothing_ties_to_the_ledger_fails(run: Path) -> None:
    result = pair(run, "--task", other_task(run))
    assert result.exit_code == 1
    assert named(result, False) == {TIED}


def test_a_log_of_another_task_fails(run: Path) -> None:
    log = ["--log", run / "rounds.jsonl", "--authority", run / "authority.pub"]
    result = pair(run, "--task", other_task(run), *log)
    assert (result.exit_code, named(result, False)) == (1, {TIED})


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.update(hypothetical=False),
        lambda report: report["claim"].update(warnings=[]),
        lambda report: report.update({}),
    ],
)
def test_a_report_without_its_task_fails(run: Path, change: Callable[[Any], None]) -> None:
    """Its words follow from a task; also those of an honest one, which nobody can tell from the others."""
    report = json.loads((run / "report.json").read_bytes())
    change(report)
    (run / "lie.json").write_bytes(canonical_json(report))
    result = pair(run, "--report", run / "lie.json")
    assert (result.exit_code, named(result, False)) == (1, {RECOMPUTED})


def test_a_head_whose_signature_is_zeroed_fails(run: Path) -> None:
    with closing(sqlite3.connect(run / "ledger.db")) as connection, connection:
        connection.execute("DROP TRIGGER ledger_no_UPDATE")
        [[seq, head]] = connection.execute("SELECT seq, head FROM ledger_entries ORDER BY seq DESC LIMIT 1").fetchall()
        zeroed = canonical_json({**json.loads(head), "signature": "0" * 128})
        connection.execute("UPDATE ledger_entries SET head = ? WHERE seq = ?", (zeroed, seq))
    result = pair(run)
    assert (result.exit_code, named(result, False) >= {WHOLE}) == (1, True)


# Cost before authenticity.


def test_nothing_is_computed_of_a_task_that_nobody_signed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand steps in each of a million rounds would be composed for minutes."""
    training = json.loads((run / "release" / "stable" / "task.json").read_bytes())["training"]
    costly = other_task(run, training={**training, "steps": 10_000, "message_noise": 1.0}, rounds=1_000_000)

    def computed(*_: object) -> float:
        pytest.fail("computed for a task that nobody signed")

    for name in ("message_level_epsilon", "confirmed_spend", "attackers", "known_cohorts_epsilon"):
        monkeypatch.setattr(privacy.report.build, name, computed)
    result = pair(run, "--task", costly, "--report", run / "report.json")
    assert (result.exit_code, named(result, False)) == (1, {TIED})


# What lies beside.


def sql(*statements: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        with closing(sqlite3.connect(run / "ledger.db")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return change


def appended(run: Path) -> None:
    with (run / "ledger.db").open("ab") as file:
        file.write(b"a page that SQLite does not know of")


@pytest.mark.parametrize(
    "change",
    [
        sql("CREATE TABLE approvals (who TEXT)"),
        sql("CREATE VIEW summary AS SELECT 3.5 AS epsilon"),
        sql("CREATE INDEX fast ON ledger_entries (head)"),
        sql("CREATE TRIGGER quiet BEFORE INSERT ON alembic_version BEGIN SELECT 1; END"),
        sql("ALTER TABLE ledger_entries ADD COLUMN note TEXT"),
        sql("DROP TRIGGER ledger_no_UPDATE", "CREATE TRIGGER ledger_no_UPDATE BEFORE UPDATE ON ledger_entries "
            "BEGIN SELECT 1; END"),
        sql("INSERT INTO alembic_version VALUES ('approved by the board')"),
        sql("PRAGMA user_version = 8"),
        sql("PRAGMA application_id = 8"),
        sql("CREATE TABLE notes (text BLOB)", "INSERT INTO notes VALUES (zeroblob(100000))", "DROP TABLE notes"),
        appended,
    ],
)  # fmt: skip
def test_strays_in_the_ledgers_database_fail(run: Path, change: Callable[[Path], None]) -> None:
    change(run)
    result = pair(run)
    assert (result.exit_code, named(result, False)) == (1, {ALONE})


@pytest.mark.parametrize(
    ("place", "check"),
    [
        ("release/stable/notes.txt", SIGNED),
        ("release/stable/more/notes.txt", SIGNED),
        ("release/notes.txt", BESIDE),
        ("release/latest/card.json", BESIDE),
        ("release/.hidden", BESIDE),
    ],
)
def test_strays_in_a_release_fail(run: Path, place: str, check: str) -> None:
    (run / place).parent.mkdir(exist_ok=True)
    (run / place).write_text("epsilon is 0.1")
    result = verify(run, *with_keys(run))
    assert result.exit_code == 1
    assert check in named(result, False)


def test_a_release_under_another_name_and_a_channel_that_leads_away_fail(run: Path) -> None:
    elsewhere = Path(shutil.copytree((run / "release" / "stable").resolve(), run / "elsewhere"))
    (run / "release" / "extrapolated").symlink_to(elsewhere, target_is_directory=True)
    result = verify(run, *with_keys(run))
    assert (result.exit_code, BESIDE in named(result, False)) == (1, True)


# The course of a run, as its card tells it.


@pytest.mark.parametrize(
    "lie", [{"rounds": 99}, {"rounds_released": 2}, {"ended": "budget exhausted"}, {"rounds_released": 99}]
)
def test_a_signed_card_that_tells_another_course_fails(run: Path, lie: dict[str, object]) -> None:
    """The operator signs it, and the ledger and the log say otherwise."""
    release = (run / "release" / "stable").resolve()
    card = json.loads((release / "card.json").read_bytes())
    resigned(run, release, "card.json", canonical_json({**card, **lie}))
    result = verify(run, *with_keys(run))
    assert (result.exit_code, named(result, False)) == (1, {"card.json: its figures follow"})
