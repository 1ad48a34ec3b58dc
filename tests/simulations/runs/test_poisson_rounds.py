"""Sampled rounds with devices away: refused or charged by who was within reach, and told without sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulations.config.config import load_config
from simulations.runs.run import RunError, start
from simulations.runs.rundir import RunDirectory

ONLINE = """
seed = 4242
[data]
devices = 200
[privacy]
noise_multiplier = 0.9
delta = 1e-5
[availability]
hours = [{hours}]
[training]
buckets = 64
steps = 1
[server]
rounds = 2
cohort = 40
min_survivors = 10
aggregation = "ideal"
"""


def run_online(directory: Path, share: float) -> Path:
    config = directory / "federation.toml"
    config.write_text(ONLINE.format(hours=", ".join([str(share)] * 24)))
    start(load_config(config, {"server.rounds": 6 if share < 0.5 else 2}), directory / "run", force=False, workers=0)
    return directory / "run"


def test_with_56_of_200_within_reach_no_cohort_is_drawn(tmp_path: Path) -> None:
    with pytest.raises((RunError, RuntimeError), match=r"expected at least 1\d\d devices within reach"):
        run_online(tmp_path, 0.28)
    lines = RunDirectory(tmp_path / "run").metrics()
    assert {line["epsilon"] for line in lines} == {0.0}


@pytest.mark.long
def test_released_rounds_are_told_without_sizes(tmp_path: Path) -> None:
    run = run_online(tmp_path, 0.75)
    lines = RunDirectory(run).metrics()
    assert len(lines) == 2
    for line in lines:
        assert line["aborted"] is None
        assert not {"invited", "cohort", "survivors", "refusals"} & set(line)
        assert line["noise_multiplier"] == 0.9
    assert "devices in the sum" not in (run / "run.log").read_text()
    summary = json.loads((run / "summary.json").read_text())
    card = json.loads((run / "release" / "stable" / "card.json").read_text())
    known = summary["device_epsilon_known_cohorts"]
    assert known > summary["device_epsilon"]
    assert float(card["device_epsilon_known_cohorts"]) == known
    assert "whoever holds the round log" in card["holds_against"]
