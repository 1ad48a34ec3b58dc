"""`fl-privacy` on a real run, and on copies of it that lie."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fl_server.ledger_store import SqliteLedgerStore
from privacy.accounting.accountant import spend
from privacy.accounting.events import BoundedGaussian
from privacy.base.signing import Signer
from privacy.cli.app import app
from privacy.ledger.ledger import Charge, Ledger
from privacy.task.task import Budget, Window
from simulations.config.config import load_config
from simulations.runs.run import start
from tests.support.runs import few_canaries, small_config

SIGNER = Signer.from_seed(b"\x07" * 32)


def verify(run: Path, *more: str) -> Result:
    files = {
        "--ledger": run / "ledger.db",
        "--operator": run / "operator.pub",
        "--authority": run / "authority.pub",
        "--task": run / "release" / "stable" / "task.json",
        "--log": run / "rounds.jsonl",
        "--release": run / "release" / "stable",
        "--report": run / "report.json",
    }
    arguments = [str(part) for pair in files.items() for part in pair]
    return CliRunner().invoke(app, ["verify", *arguments, *more])


def failed(run: Path) -> list[str]:
    result = verify(run, "--json")
    assert result.exit_code == 1
    verdict = json.loads(result.stdout)
    assert verdict["passed"] is False
    return [check["name"] for check in verdict["checks"] if check["passed"] is False]


def test_an_honest_run_passes(run: Path) -> None:
    result = verify(run, "--json")
    assert result.exit_code == 0
    verdict = json.loads(result.stdout)
    assert verdict["passed"] is True
    assert len(verdict["checks"]) == 45
    unverified = {check["name"] for check in verdict["checks"] if check["passed"] is None}
    assert unverified == {
        "ledger: continues what a witness saw",
        "noise: real",
        "report: versions of what ran",
        "report: how far attacks came",
        "card.json: the rest",
        "round log: who was invited, refused and lost, and why",
    }


def test_the_table_has_a_line_a_check(run: Path) -> None:
    result = verify(run)
    assert result.exit_code == 0
    assert result.stdout.count("ok") >= 24


def test_what_was_not_given_is_not_verified(run: Path) -> None:
    arguments = ["verify", "--ledger", str(run / "ledger.db"), "--operator", str(run / "operator.pub"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    checks = {check["name"]: check["passed"] for check in json.loads(result.stdout)["checks"]}
    assert checks.pop("ledger: signed, chained and whole") is True
    assert checks.pop("epsilon: both accountants agree") is True
    assert checks.pop("ledger: each entry's signed head") is True
    assert checks.pop("ledger: nothing else in its file") is True
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
    with few_canaries():
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
        ([*REAL, "--log", "x"], "--log: needs --authority"),
        ([*REAL, "--task", "{run}/report.json"], "--task: expected a TaskSpec"),
        ([*REAL, "--report", "{run}/summary.json"], "--report: expected"),
        ([*REAL, "--report", "none.json"], "--report: none.json"),
    ],
)
def test_bad_input_names_the_option(run: Path, arguments: list[str], reason: str) -> None:
    filled = [argument.replace("{run}", str(run)) for argument in arguments]
    result = CliRunner().invoke(app, ["verify", *filled])
    assert result.exit_code == 2
    assert reason in result.stderr


@pytest.mark.long
def test_plan_compares_cohorts() -> None:
    arguments = ["plan", "--cohort", "64", "--cohort", "200", "--population", "10000", "--rounds", "5", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert [plan["cohort"] for plan in json.loads(result.stdout)["plans"]] == [64, 200]


def test_plan_says_what_to_change() -> None:
    result = CliRunner().invoke(app, ["plan", "--cohort", "64", "--population", "10"])
    assert result.exit_code == 2
    assert "population: expected at least the cohort's 64 devices, got 10" in result.stderr


def test_a_reviewer_needs_neither_torch_nor_flwr() -> None:
    script = "import sys, privacy.cli.app; sys.exit(bool({'torch', 'flwr', 'grpc', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_report_is_recomputed_from_the_ledger_alone(run: Path) -> None:
    result = invoke(
        "report", "--ledger", run / "ledger.db", "--operator", run / "operator.pub",
        "--task", run / "release/stable/task.json", "--html", run / "again.html", "--out", run / "again.json",
    )  # fmt: skip
    assert result.exit_code == 0
    again, published = (json.loads((run / name).read_bytes()) for name in ("again.json", "report.json"))
    assert again["spend"] == published["spend"]
    assert again["mechanism"]["noise_multiplier_realised"] is None
    assert "What nobody verified" in (run / "again.html").read_text()


def test_a_report_can_be_drawn_again_and_exported(run: Path) -> None:
    result = invoke("report", "--report", run / "report.json", "--registry", run / "entry.json", "--curator", "ACME")
    assert result.exit_code == 0
    entry = json.loads((run / "entry.json").read_bytes())
    published = json.loads((run / "report.json").read_bytes())
    deployment = entry["deployment"]
    assert deployment["basic"]["data_curators"] == ["ACME"]
    assert deployment["privacy_loss"]["privacy_parameters"] == {
        "epsilon": float(published["claim"]["epsilon"]),
        "delta": float(published["claim"]["delta"]),
    }


REGISTRY = {
    "basic": "name data_curators intended_use data_product_type data_product_region description publication_date",
    "dp_variant": "variant_name data_domain unprotected_quantities",
    "privacy_loss": "privacy_unit privacy_unit_details privacy_parameters privacy_parameters_details",
    "deployment_model": "model_name model_name_details actors release_type release_type_details data_source_type "
    "data_source_type_details access_type access_type_details",
    "accounting": "post_processing composition",
    "implementation": "preprocessing_and_hyperparameter_tuning mechanisms justification",
    "administrative": "sources notes registry_authors",
}
"""Fields by section in deployments-schema.yaml of github.com/opendp/deployments-registry-data, commit 3e9c812."""
VALUES = {
    ("basic", "data_product_type"): {"Summary statistics", "Machine learning model", "Dataset", "Synthetic data"},
    ("dp_variant", "variant_name"): {"Pure DP", "Approximate DP", "Zero-concentrated DP", "Renyi DP", "Custom"},
    ("deployment_model", "model_name"): {"Local", "Central", "Shuffle", "Federated", "Varies"},
    ("deployment_model", "release_type"): {"One release", "Many releases"},
    ("deployment_model", "data_source_type"): {"Static", "Dynamic"},
    ("deployment_model", "access_type"): {"Interactive", "Non-interactive"},
}


def test_an_export_has_the_registrys_form(run: Path) -> None:
    assert invoke("report", "--report", run / "report.json", "--registry", run / "entry.json").exit_code == 0
    entry = json.loads((run / "entry.json").read_bytes())
    assert set(entry) == {"url_slug", "status", "tier", "deployment"}
    assert (entry["status"], entry["tier"]) == ("Draft", 3)
    deployment = entry["deployment"]
    assert set(deployment) == set(REGISTRY)
    assert all(set(fields) <= set(REGISTRY[section].split()) for section, fields in deployment.items())
    assert set(deployment["basic"]) == set(REGISTRY["basic"].split())
    assert all(deployment[section][field] in allowed for (section, field), allowed in VALUES.items())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", deployment["basic"]["publication_date"])


def test_a_report_needs_a_source() -> None:
    result = invoke("report", "--ledger", "ledger.db")
    assert result.exit_code == 2
    assert "--ledger, --operator and --task" in result.stderr


def test_a_ledger_that_does_not_verify_gives_no_report(run: Path) -> None:
    key = run / "wrong.pub"
    key.write_text("ab" * 32)
    task = run / "release/stable/task.json"
    result = invoke(
        "report", "--ledger", run / "ledger.db", "--operator", key, "--task", task, "--out", run / "no.json"
    )
    assert result.exit_code == 1
    assert not (run / "no.json").exists()


def test_a_diff_names_every_change_and_only_those(run: Path) -> None:
    same = invoke("diff", run / "report.json", run / "report.json")
    assert (same.exit_code, same.stdout) == (0, "The two reports are the same.\n")
    report = json.loads((run / "report.json").read_bytes())
    report["claim"]["epsilon"] = "1.5"
    report["spend"]["device"]["by_charge"].append("9")
    report["composition"]["uncharged"] = [{"purpose": "tuning", "what": "x", "why": "y"}]
    (run / "other.json").write_text(json.dumps(report))
    result = invoke("diff", run / "report.json", run / "other.json", "--json")
    assert result.exit_code == 1
    changes = {change["place"]: change for change in json.loads(result.stdout)["changes"]}
    assert set(changes) == {
        "claim.epsilon",
        "spend.device.by_charge",
        "composition.uncharged.0.purpose",
        "composition.uncharged.0.what",
        "composition.uncharged.0.why",
    }
    assert changes["claim.epsilon"]["after"] == "1.5"
    assert changes["composition.uncharged.0.what"]["before"] is None
    assert invoke("diff", run / "report.json", run / "rounds.jsonl").exit_code == 2


def test_the_budget_counts_the_rounds_that_are_left(run: Path, tmp_path: Path) -> None:
    unlimited = invoke("budget", "--ledger", run / "ledger.db", "--operator", run / "operator.pub", "--json")
    assert unlimited.exit_code == 0
    assert json.loads(unlimited.stdout)["limits"][0]["rounds_left"] is None
    event = BoundedGaussian(task="ab" * 32, noise_multiplier=4.0, max_participations=1_000)
    budget = Budget(epsilon=8.0, delta=1e-6, window=Window(epsilon=4.0, days=30))
    ledger = Ledger(SqliteLedgerStore(tmp_path / "l.db"), SIGNER, "demo", budget, lambda: 0)
    ledger.reserve(
        Charge(task="ab" * 32, population="demo", round=1, purpose="training", event=event, transcript="cd" * 32)
    )
    arguments = ["budget", "--ledger", tmp_path / "l.db", "--operator", SIGNER.public.hex()]
    rows = json.loads(invoke(*arguments, "--json").stdout)["limits"]
    assert [row["span"] for row in rows] == ["the population's life", "any 30 days"]
    for row, limit in zip(rows, (8.0, 4.0), strict=True):
        left = row["rounds_left"]
        assert spend([event] * (1 + left), 1e-6).epsilon <= limit < spend([event] * (2 + left), 1e-6).epsilon
    assert "any 30 days" in invoke(*arguments).stdout


def test_a_budget_with_no_round_left_is_shown_like_any_other(tmp_path: Path) -> None:
    """A finished plan has none left; a script that needs one reads the number."""
    event = BoundedGaussian(task="ab" * 32, noise_multiplier=4.0, max_participations=1_000)
    budget = Budget(epsilon=spend([event], 1e-6).epsilon, delta=1e-6)
    ledger = Ledger(SqliteLedgerStore(tmp_path / "l.db"), SIGNER, "demo", budget, lambda: 0)
    ledger.reserve(
        Charge(task="ab" * 32, population="demo", round=1, purpose="training", event=event, transcript="cd" * 32)
    )
    result = invoke("budget", "--ledger", tmp_path / "l.db", "--operator", SIGNER.public.hex(), "--json")
    assert (result.exit_code, json.loads(result.stdout)["limits"][0]["rounds_left"]) == (0, 0)


def test_keys_are_private_never_overwritten_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "witness.key"
    made = invoke("keys", "new", path)
    secret = path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    assert secret.hex() not in made.stdout
    assert made.stdout.split()[0] == Signer.from_seed(secret).public.hex()
    again = invoke("keys", "new", path)
    assert again.exit_code == 2
    assert path.read_bytes() == secret
    shown = json.loads(invoke("keys", "show", tmp_path / "witness.key.pub", "--json").stdout)
    assert shown["public_key"] == Signer.from_seed(secret).public.hex()


def test_a_witness_needs_a_key_a_ledger_and_its_own_memory(run: Path) -> None:
    invoke("keys", "new", run / "w.key")
    good = {"--ledger": run / "ledger.db", "--operator": run / "operator.pub", "--key": run / "w.key"}

    def witness(**changes: object) -> Result:
        options = {**good, "--checkpoint": run / "c.json", **{f"--{name}": value for name, value in changes.items()}}
        return invoke("witness", *(part for pair in options.items() for part in pair))

    assert witness().exit_code == 0
    assert witness().exit_code == 0
    assert witness(key=run / "report.json").exit_code == 2
    assert witness(ledger=run / "none.db").exit_code == 2
    assert witness(checkpoint=run / "report.json").exit_code == 2
    invoke("keys", "new", run / "other.key")
    assert witness(key=run / "other.key").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--report", "report.json", "--html"),
        ("report", "--report", "report.json", "--registry"),
        ("report", "--report", "report.json", "--out"),
        ("audit", "--task", "release/stable/task.json", "--out"),
        ("witness", "--ledger", "ledger.db", "--operator", "operator.pub", "--key", "none", "--checkpoint"),
    ],
)
def test_places_that_cannot_be_written_to_are_named_before_work_starts(run: Path, arguments: tuple[str, ...]) -> None:
    files = [str(run / argument) if (run / argument).exists() else argument for argument in arguments]
    for place in (run / "nowhere" / "file", run):
        result = CliRunner().invoke(app, [*files, str(place)])
        assert result.exit_code == 2
        assert f"{arguments[-1]}: expected a file in a directory that can be written to" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--report", "report.json", "--html", "report.json"),
        ("report", "--report", "report.json", "--out", "other-name.json"),
        ("audit", "--task", "task.json", "--out", "task.json"),
        (
            "witness",
            "--ledger",
            "ledger.db",
            "--operator",
            "operator.pub",
            "--key",
            "none",
            "--checkpoint",
            "ledger.db",
        ),
        ("report", "--report", "report.json", "--html", "release/stable/card.json"),
        ("report", "--report", "report.json", "--registry", "release/stable/new.json"),
    ],
)
def test_nothing_is_written_over_an_input_or_into_a_release(run: Path, arguments: tuple[str, ...]) -> None:
    shutil.copy(run / "release" / "stable" / "task.json", run / "task.json")
    (run / "other-name.json").symlink_to("report.json")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    files = [str(run / argument) if "." in argument else argument for argument in arguments]
    result = CliRunner().invoke(app, files)
    assert result.exit_code == 2
    assert f"{arguments[-2]}: " in result.output
    assert "would be written over" in result.output or "lies in a release" in result.output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
