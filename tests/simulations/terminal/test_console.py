"""What is said of a finished run."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulations.terminal.console import RunProgress, describe

SUMMARY = {
    "extrapolated": False,
    "aggregation": "secure",
    "ended": "complete",
    "rounds": 4,
    "auroc": None,
    "auroc_interval": None,
    "test_messages": 100,
    "test_positives": 4,
    "test_users": 50,
    "test_users_with_positives": 3,
    "marks": [],
    "macro_f1": 0.5,
    "recall_at_fpr_1pct": 0.0,
    "novel": {"auroc": None, "macro_f1": None},
    "device_epsilon": 1.2345,
    "device_epsilon_known_cohorts": None,
    "message_epsilon": None,
    "delta": 1e-5,
}


@pytest.mark.parametrize(("released", "said"), [(4, "(complete, 4 rounds)"), (1, "1 of 4 rounds released: see run")])
def test_rounds_that_released_something_are_counted(released: int, said: str) -> None:
    assert said in describe({**SUMMARY, "rounds_released": released}, Path("run"))


def test_positives_and_the_interval_are_told() -> None:
    told = {**SUMMARY, "rounds_released": 4, "auroc": 0.75, "auroc_interval": [0.4, 0.93]}
    said = describe(told, Path("run"))
    assert "AUROC 0.750 (0.400 to 0.930)" in said
    assert "4 of 100 messages are abuse, of 3 of 50 users" in said
    assert "WARNING" not in said


def test_a_mark_is_a_warning_and_names_the_doctor() -> None:
    marks = [{"code": "no_better_than_chance", "text": "test AUROC 0.510, 95% interval 0.400 to 0.620"}]
    said = describe({**SUMMARY, "rounds_released": 4, "marks": marks}, Path("run"))
    assert "WARNING    no better than chance: test AUROC 0.510" in said
    assert "`fl-sim doctor run`" in said


def test_without_a_terminal_a_line_is_written_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 0.0, 3.0, 6.0, 10.5, 10.5, 12.0, 12.0])
    with RunProgress(6, lambda: next(times)) as progress:
        for number in range(1, 7):
            progress.round_ended(number, f"AUROC {number}")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("round ")]
    assert said == ["round 1/6  AUROC 1", "round 4/6  AUROC 4", "round 6/6  AUROC 6"]
