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
    "device_epsilon_known_cohorts": None,
    "message_epsilon": None,
    "delta": 1e-5,
}


@pytest.mark.parametrize(("released", "said"), [(4, "(complete, 4 rounds)"), (1, "1 of 4 rounds released: see run")])
def test_rounds_that_released_something_are_counted(released: int, said: str) -> None:
    assert said in describe({**SUMMARY, "rounds_released": released}, Path("run"))
