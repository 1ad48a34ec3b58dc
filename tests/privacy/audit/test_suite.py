from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from privacy.audit import AuditPlan, NothingToAudit, TaskAudits, audit_release, audit_task
from privacy.audit.pipeline import Shipped
from privacy.cli.app import app
from privacy.report.model import EpsilonReport
from privacy.task.task import Budget, DeviceMechanism, SimulationOnly, TaskSpec
from simulations.config.config import load_config
from simulations.runs.run import RunError, start
from tests.support.audits import SEED, audited, weaker
from tests.support.runs import small_config
from tests.support.tasks import make_task

SHORT = ("--trials", "300", "--battery", "40", "--canaries", "300")


def test_a_task_is_audited_with_its_own_noise_and_assumptions() -> None:
    """The claim is of the task's noise; the cohort leaves at most a hundredth more noise than is counted."""
    task = audited(10, noise=1.0, dropout=0.1, corrupt=0.05).task
    parts = {part.name: part for part in audit_task(task, AuditPlan(2000, 60, 1000), SEED.stream())}
    assert list(parts) == ["battery", "mechanism-many-runs", "mechanism-one-run"]
    assert all(part.passed for part in parts.values())
    many = parts["mechanism-many-runs"]
    assert float(many.epsilon_claimed) == pytest.approx(4.3772, abs=1e-3)
    assert many.epsilon_bound is not None
    assert 0.7 * float(many.epsilon_claimed) < float(many.epsilon_bound) <= float(many.epsilon_claimed)


@pytest.mark.long
@pytest.mark.parametrize("cohort", [3, 64, 5000])
@pytest.mark.parametrize("noise", [0.3, 20.0])
def test_tasks_of_any_size_can_be_audited(cohort: int, noise: float) -> None:
    task = audited(cohort, noise=noise, dropout=0.2).task
    parts = list(audit_task(task, AuditPlan(40, 40, 300), SEED.child(cohort).stream()))
    assert all(part.passed for part in parts)
    assert [part.passed for part in audit_release(task, SEED.stream())] == [True]


def test_figures_are_rounded_against_the_claim() -> None:
    (part,) = audit_release(audited().task, SEED.stream())
    assert part.epsilon_bound is not None
    assert all(len(number.partition(".")[2]) <= 4 for number in (part.epsilon_bound, part.epsilon_claimed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mechanism": DeviceMechanism(clip=0.5, noise_multiplier=0)}, "noise_multiplier: expected more than 0"),
        ({"simulation": SimulationOnly(trusted_aggregator=True)}, "trusted_aggregator: expected noise of the devices"),
    ],
)
def test_what_no_audit_covers_is_said(change: dict[str, Any], message: str) -> None:
    task = make_task(**change, budget=Budget(delta=1e-5))
    with pytest.raises(NothingToAudit, match=message):
        next(audit_task(task, AuditPlan(), SEED.stream()))
    assert audit_release(task, SEED.stream()) == ()


def written(path: Path, task: TaskSpec) -> str:
    (path / "task.json").write_bytes(task.canonical())
    return str(path / "task.json")


def test_the_command_finds_nothing_wrong(tmp_path: Path) -> None:
    task = audited().task
    arguments = ["audit", "--task", written(tmp_path, task), *SHORT, "--json", "--out", str(tmp_path / "audits.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["task"] == task.id
    assert json.loads((tmp_path / "audits.json").read_bytes()) == shown


def test_the_command_fails_when_the_mechanism_is_not_what_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices that add 40% of the noise."""
    monkeypatch.setattr(Shipped, "of", lambda round_: weaker(round_, 0.4))
    result = CliRunner().invoke(app, ["audit", "--task", written(tmp_path, audited().task), *SHORT])
    assert result.exit_code == 1
    assert "FAILED" in result.output


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        (
            make_task(mechanism=DeviceMechanism(clip=0.5, noise_multiplier=0), budget=Budget(delta=1e-5)),
            (),
            "noise_multiplier: expected more than 0",
        ),
        (audited().task, ("--trials", "19"), "--trials"),
        (None, (), "No such file"),
    ],
)
def test_bad_input_ends_with_2(tmp_path: Path, task: TaskSpec | None, arguments: tuple[str, ...], message: str) -> None:
    where = written(tmp_path, task) if task else str(tmp_path / "missing")
    result = CliRunner().invoke(app, ["audit", "--task", where, *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output


def test_every_release_reports_its_audit(run: Path) -> None:
    report = EpsilonReport.model_validate_json((run / "release/stable/report.json").read_bytes())
    assert [audit.name for audit in report.audit] == ["mechanism-one-run"]
    assert all(audit.passed for audit in report.audit)
    assert "not refuted" in (run / "report.html").read_text()


def test_a_release_whose_claim_is_refuted_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shipped, "of", lambda round_: weaker(round_, 0.3))
    config = load_config(small_config(tmp_path, rounds=1), {})
    with pytest.raises(RunError, match="THE CLAIM IS REFUTED"):
        start(config, tmp_path / "run", force=False, workers=1)
    assert not (tmp_path / "run/release/stable").exists()


@pytest.mark.long
@pytest.mark.timeout(900)  # minutes of accounting
def test_messages_that_noise_protects_are_audited_too(tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path, rounds=1), {"training": {"message_noise": 1.0}})
    start(config, tmp_path / "run", force=False, workers=1)
    report = EpsilonReport.model_validate_json((tmp_path / "run/report.json").read_bytes())
    assert [audit.name for audit in report.audit] == ["message-many-runs", "mechanism-one-run"]
    assert report.spend.message.one_participation == report.audit[0].epsilon_claimed


def report_with(run: Path, audits: TaskAudits) -> tuple[int, str]:
    (run / "audits.json").write_bytes(audits.canonical())
    given = {"ledger": "ledger.db", "operator": "operator.pub", "task": "release/stable/task.json"}
    options = [item for name, file in given.items() for item in (f"--{name}", str(run / file))]
    result = CliRunner().invoke(app, ["report", *options, "--audits", str(run / "audits.json")])
    return result.exit_code, result.output


def test_a_report_takes_audits_of_its_own_task_alone(run: Path) -> None:
    task = TaskSpec.model_validate_json((run / "release/stable/task.json").read_bytes())
    audits = audit_release(task, SEED.stream())
    code, output = report_with(run, TaskAudits(task=task.id, audits=audits))
    assert code == 0
    assert EpsilonReport.model_validate_json(output).audit == audits
    code, output = report_with(run, TaskAudits(task="ab" * 32, audits=audits))
    assert code == 2
    assert "--audits: expected audits of task" in output
