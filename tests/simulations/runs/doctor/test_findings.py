"""Each diagnosis on a run made to have that fault and no other, and none on a healthy one."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simulations.cli import app
from simulations.config.config import load_config
from simulations.runs.doctor.findings import diagnose
from simulations.runs.doctor.reading import FinishedRun, read_run
from simulations.runs.run import RunError, start

LOSSES = [0.6, 0.5, 0.45, 0.42, 0.4, 0.39, 0.385, 0.382, 0.38, 0.379]


def summary(told: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The figures of a healthy run, some of them changed."""
    diagnostics = {
        "clip": 0.5,
        "update_norm": 2.3,
        "updates_clipped": 1.0,
        "logit_spread": 3.0,
        "logit_noise": 0.8,
        "learning_rate": 30.0,
        "ruled_learning_rate": 34.0,
        "compact_letters": 0.0,
        "shortest_ngram": 1,
    }
    return {
        "devices": 7_000,
        "empty_devices": 0,
        "test_messages": 7_000,
        "test_positives": 1_400,
        "test_users_with_positives": 790,
        "auroc": 0.9,
        "auroc_interval": [0.89, 0.91],
        "loss": 0.379,
        "rounds": 10,
        "rounds_released": 10,
        "marks": [],
        "diagnostics": {**diagnostics, **(told or {})},
        **more,
    }


def lines(losses: list[float]) -> list[dict[str, Any]]:
    return [{"loss": loss, "aborted": None} for loss in losses]


def codes(run: FinishedRun) -> list[str]:
    return [finding.code for finding in diagnose(run)]


def test_nothing_is_found_in_a_healthy_run() -> None:
    assert codes(FinishedRun(summary(), lines(LOSSES))) == []
    nonlinear = {"logit_noise": None, "ruled_learning_rate": None, "update_norm": None, "updates_clipped": None}
    assert codes(FinishedRun(summary(nonlinear), lines(LOSSES))) == []


FAULTS: dict[str, dict[str, Any]] = {
    "too_few_users": summary(devices=60),
    "too_few_positives": summary(test_positives=4, test_users_with_positives=4, loss=0.02),
    "script_not_covered": summary({"compact_letters": 0.9, "shortest_ngram": 3}),
    "rounds_lost": summary(rounds_released=6),
    "noise_drowned": summary({"logit_noise": 1.0, "logit_spread": 1.2}),
    "clipped_too_hard": summary({"clip": 0.01}),
    "clip_too_loose": summary({"clip": 50.0}),
    "learning_rate_too_high": summary({"learning_rate": 300.0}),
    "learning_rate_too_low": summary({"learning_rate": 3.0}),
}


@pytest.mark.parametrize(("code", "told"), [*FAULTS.items()])
def test_a_fault_is_named_and_no_other(code: str, told: dict[str, Any]) -> None:
    assert codes(FinishedRun(told, lines(LOSSES))) == [code]
    [finding] = diagnose(FinishedRun(told, lines(LOSSES)))
    assert finding.evidence
    assert "-" in finding.change or "." in finding.change


def test_scripts_are_judged_by_what_the_features_read() -> None:
    assert codes(FinishedRun(summary({"compact_letters": 0.9}), lines(LOSSES))) == []
    assert codes(FinishedRun(summary({"shortest_ngram": 3}), lines(LOSSES))) == []


def test_scores_worse_than_the_base_rate_are_overconfident() -> None:
    assert codes(FinishedRun(summary({"learning_rate": 40.0}, loss=0.9), lines(LOSSES))) == ["learning_rate_too_high"]
    unruled = summary({"ruled_learning_rate": None, "logit_noise": None}, loss=0.9)
    assert codes(FinishedRun(unruled, lines(LOSSES))) == ["learning_rate_too_high"]


def test_a_loss_that_still_falls_asks_for_rounds() -> None:
    falling = [0.69 * 0.95**number for number in range(10)]
    assert codes(FinishedRun(summary(), lines(falling))) == ["too_few_rounds"]


def written(path: Path, told: dict[str, Any], losses: list[float]) -> Path:
    (path / "summary.json").write_text(json.dumps(told))
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(losses)))
    return path


def test_the_command_tells_by_its_exit_code(tmp_path: Path) -> None:
    healthy = CliRunner().invoke(app, ["doctor", str(written(tmp_path, summary(), LOSSES))])
    assert (healthy.exit_code, healthy.stdout) == (0, "nothing was found\n")
    ill = CliRunner().invoke(app, ["doctor", str(written(tmp_path, FAULTS["learning_rate_too_low"], LOSSES))])
    assert ill.exit_code == 1
    assert "--server-learning-rate 34" in ill.stdout
    assert "from summary.json: diagnostics.learning_rate" in ill.stdout
    told = CliRunner().invoke(app, ["doctor", str(tmp_path), "--json"])
    assert [finding["code"] for finding in json.loads(told.stdout)["findings"]] == ["learning_rate_too_low"]
    assert told.exit_code == 1


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert missing.exit_code == 2
    assert "expected the directory of a finished" in missing.stderr
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"loss": 0.5, "aborted": None}) + "\n")
    stopped = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert stopped.exit_code == 2
    assert "no summary.json" in stopped.stderr
    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("")
    old = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert old.exit_code == 2
    assert "diagnostics" in old.stderr


def test_a_run_that_gave_up_is_told_why(tmp_path: Path) -> None:
    told = [{"loss": 0.69, "aborted": "input: expected at least 90 devices, got 66"}] * 5
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    [finding] = diagnose(read_run(tmp_path))
    assert finding.code == "rounds_lost"
    assert "5 of 5 rounds released nothing; the first reason: input: expected at least 90" in finding.what


RUN = """
seed = 3
[data]
devices = 1500
[privacy]
noise_multiplier = 0.0
[training]
buckets = 4096
[server]
rounds = 30
cohort = 100
aggregation = "central"
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"server.rounds": 100}, None),
        ({"server.rounds": 4}, "too_few_rounds"),
        ({"server.learning_rate": 2_000.0}, "learning_rate_too_high"),
        ({"server.learning_rate": 1.0}, "learning_rate_too_low"),
        ({"privacy.noise_multiplier": 20.0, "server.learning_rate": 20.0}, "noise_drowned"),
        ({"privacy.clip": 0.01}, "clipped_too_hard"),
        ({"privacy.clip": 100.0}, "clip_too_loose"),
        ({"data.devices": 80, "server.cohort": 40, "server.min_survivors": 5}, "too_few_users"),
        ({"faults.drop_out.input": 0.3}, "rounds_lost"),
    ],
)
def test_runs_that_were_made_to_have_a_fault(tmp_path: Path, changed: dict[str, Any], found: str | None) -> None:
    (tmp_path / "federation.toml").write_text(RUN)
    with suppress(RunError):  # of too many lost rounds
        start(load_config(tmp_path / "federation.toml", changed), tmp_path / "run", force=False, workers=1)
    seen = codes(read_run(tmp_path / "run"))
    assert (found in seen) if found else (seen == [])
