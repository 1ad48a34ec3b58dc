"""Sampled rounds with devices away: put off or charged by who was within reach, and told without sizes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privacy.cli.app import app
from privacy.secagg.server.record import open_record
from simulations.config.config import ConfigError, load_config
from simulations.runs.run import RunError, start
from simulations.runs.rundir import RunDirectory
from tests.support.releases import Round, epsilon, hinged

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


ALL_DAY = [0.28] * 24
BY_DAY_ONLY = [0.28] * 12 + [0.9] * 12


def run_online(directory: Path, hours: list[float], **more: object) -> Path:
    config = directory / "federation.toml"
    config.write_text(ONLINE.format(hours=", ".join(map(str, hours))))
    dotted = {name.replace("__", "."): value for name, value in more.items()}
    start(load_config(config, dotted), directory / "run", force=False, workers=1)
    return directory / "run"


def test_with_56_of_200_within_reach_no_work_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"availability\.hours: expected at least 1\d\d of 200 devices within reach"):
        run_online(tmp_path, ALL_DAY)
    assert not (tmp_path / "run").exists()


def test_rounds_wait_for_the_afternoon_and_none_is_used_up(tmp_path: Path) -> None:
    run = run_online(tmp_path, BY_DAY_ONLY, availability__round_minutes=60.0)
    lines = RunDirectory(run).metrics()
    assert [(line["round"], line["aborted"]) for line in lines] == [(1, None), (2, None)]
    log = (run / "run.log").read_text()
    assert log.count("round 1 waits, and is not used up: draw: expected at least 1") == 1
    assert "round 2 waits" not in log


def test_a_night_that_never_ends_leaves_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fl_server.training.coordinator.MAX_WAITS", 10)
    with pytest.raises(
        RunError, match=r"round 1 was put off 10 times; the last time: draw: .* the last complete round"
    ):
        run_online(tmp_path, BY_DAY_ONLY, availability__round_minutes=60.0)
    assert RunDirectory(tmp_path / "run").metrics() == []


@pytest.mark.long
@pytest.mark.timeout(900)
def test_56_of_200_under_the_full_protocol_cost_what_their_log_says(tmp_path: Path) -> None:
    """With four survivors enough, cohorts of about 11 can be drawn; some nights too few are there, and rounds wait."""
    run = run_online(
        tmp_path,
        ALL_DAY,
        server__rounds=20,
        server__aggregation="secure",
        server__min_survivors=4,
        server__dropout_fraction=0.0,
        server__corrupt_fraction=0.0,
        availability__round_minutes=1440.0,
    )
    operator = bytes.fromhex((run / "operator.pub").read_text())
    records = [open_record(line, operator) for line in (run / "rounds.jsonl").read_bytes().splitlines()]
    charged = [record.reachable for record in records if record.entry is not None]
    assert len(charged) > 15
    assert min(charged) < 56 < max(charged)
    bound, error = epsilon(Counter(Round(0.2, 0.9, hinged(count, 0.2, 4)) for count in charged), 1e-5)
    stated = json.loads((run / "summary.json").read_text())["device_epsilon"]
    assert bound - error - 1e-4 <= stated <= 1.01 * bound + 1e-4
    assert "waits, and is not used up" in (run / "run.log").read_text()
    checked = CliRunner().invoke(app, ["verify", str(run)])
    assert checked.exit_code == 0, checked.output


@pytest.mark.long
def test_released_rounds_are_told_without_sizes(tmp_path: Path) -> None:
    run = run_online(tmp_path, [0.75] * 24)
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
