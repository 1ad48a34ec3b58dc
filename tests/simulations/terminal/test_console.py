"""What is said of a finished run."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulations.terminal.console import describe

SUMMARY = {
    "extrapolated": False,
    "aggregation": "secure",
    "ended": "complete",
    "rounds": 4,
    "auroc": None,
    "macro_f1": 0.5,
    "recall_at_fpr_1pct": 0.0,
    "novel": {"auroc": None, "macro_f1": None},
    "device_epsilon": 1.2345,
    "message_epsilon": None,
    "delta": 1e-5,
}


@pytest.mark.parametrize(
    ("lost", "said"), [(0, "(complete, 4 rounds)"), (3, "3 of them with nothing released: see run")]
)
def test_rounds_that_released_nothing_are_counted(lost: int, said: str) -> None:
    assert said in describe({**SUMMARY, "rounds_without_release": lost}, Path("run"))
