"""A real sweep, small: cells, table, page; failing cells; a sweep that was killed."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from simulations.cli import app
from simulations.config.config import ConfigError, load_config
from simulations.config.template import TEMPLATE
from simulations.outdir import OutputDirectoryError
from simulations.sweep import running
from simulations.sweep.cli import _base, sweep_command
from simulations.sweep.grid import Axis, Grid
from simulations.sweep.preset import tuning_axes
from simulations.sweep.report import SweepReport
from simulations.terminal.page import bound
from tests.support.runs import model_bytes, small_config

CONFIG = "server.cohort=18,20"


def grid(directory: Path, *axes: str, seeds: int = 1, rounds: int = 2) -> Grid:
    parsed = tuple(Axis.parse(axis) for axis in axes)
    return Grid(_base(load_config(small_config(directory, rounds=rounds), {}), parsed), parsed, seeds)


def sweep(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["sweep", *(str(argument) for argument in arguments)])


def fl_sim(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "simulations", *arguments]


def test_the_preset_varies_rounds_and_rate_around_what_is_planned(tmp_path: Path) -> None:
    base = load_config(small_config(tmp_path, rounds=4), {"server.learning_rate": 6.0})
    assert tuning_axes(base, []) == (
        Axis("server.rounds", ("2", "4", "8")),
        Axis("server.learning_rate", ("2", "6", "18")),
    )
    assert tuning_axes(base, ["server.rounds"]) == (Axis("server.learning_rate", ("2", "6", "18")),)
    plan = Grid(_base(base, ()), tuning_axes(base, []), 2)
    assert len(plan.cells()) == 18


def test_every_combination_is_run_and_told(tmp_path: Path) -> None:
    plan = grid(tmp_path, "clip=0.5,1", "noise_multiplier=1,2", rounds=1)
    result = running.start(plan, tmp_path / "sweep", force=False, workers=2)
    told = SweepReport.of(result).write()
    assert (told["runs"], told["complete"], told["failed"]) == (4, 4, [])
    assert told["aggregations"] == ["ideal"]
    assert told["tuning"]["charged"] is False
    costs = [run.summary["device_epsilon"] for run in result.results if run.summary]
    assert told["tuning"]["together"] > max(costs)
    rows = list(csv.DictReader((tmp_path / "sweep" / "table.csv").open()))
    assert {(row["clip"], row["noise_multiplier"]) for row in rows} == {
        (clip, noise) for clip in ("0.5", "1.0") for noise in ("1.0", "2.0")
    }
    page = (tmp_path / "sweep" / "sweep.html").read_text()
    assert "Tuning was not charged" in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").split("<body", 1)[0]
    with pytest.raises(OutputDirectoryError, match="--force"):
        running.start(plan, tmp_path / "sweep", force=False, workers=1)


def test_a_sweep_over_aggregations_tells_each_run_by_its_own(tmp_path: Path) -> None:
    result = running.start(
        grid(tmp_path, "aggregation=secure,central", rounds=1), tmp_path / "s", force=False, workers=2
    )
    assert SweepReport.of(result).write()["aggregations"] == ["secure", "central"]
    rows = list(csv.DictReader((tmp_path / "s" / "table.csv").open()))
    assert [row["aggregation"] for row in rows] == ["secure", "central"]


def test_the_configuration_that_init_writes_is_swept_without_the_protocol(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(TEMPLATE)
    assert _base(load_config(tmp_path / "config.toml", {}), ()).server.aggregation == "ideal"


def test_examples_in_the_help_can_be_swept() -> None:
    written = re.findall(r"--grid (\S+=\S+)", sweep_command.__doc__ or "")
    assert len(written) >= 4
    assert all(Axis.parse(axis).key for axis in written)


@pytest.mark.long
def test_the_cells_models_are_those_of_single_runs(tmp_path: Path) -> None:
    from simulations.runs.run import start  # noqa: PLC0415 - beside the sweep that it is compared with

    result = running.start(grid(tmp_path, CONFIG), tmp_path / "sweep", force=False, workers=1)
    for prepared in result.cells:
        single = tmp_path / prepared.cell.name
        start(prepared.cell.config, single, force=False, workers=1)
        assert model_bytes(single) == model_bytes(result.directory.open_cell(prepared.cell).path)


@pytest.mark.parametrize(
    ("axis", "reason"),
    [
        ("clipp=1", "clipp"),
        ("learning_rate=1,2", "training.learning_rate.*server.learning_rate|server.learning_rate.*training"),
        ("clip", "expected KEY=VALUE"),
        ("clip=0.5,-1", "clip"),
        ("clip=1,1", "twice"),
        ("seed=1,2", "--seeds"),
        ("data.devices=40,19", "at most the population's 19 devices, got 20"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_starts(tmp_path: Path, axis: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        running.start(grid(tmp_path, axis), tmp_path / "sweep", force=False, workers=1)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.long
def test_a_cell_that_fails_is_told_and_the_others_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its ledger is a directory: the run ends with an error of its own, after work has started.
    made = running.SweepDirectory.create

    def sabotaged(*given: object, **more: object) -> running.SweepDirectory:
        directory = made(*given, **more)  # type: ignore[arg-type]
        (directory.open_cell(plan.cells()[0]).path / "ledger.db").mkdir()
        return directory

    monkeypatch.setattr(running.SweepDirectory, "create", sabotaged)
    plan, out = grid(tmp_path, CONFIG), tmp_path / "sweep"
    failed = sweep(tmp_path / "federation.toml", "--grid", CONFIG, "--out", out, "--workers", "1", "--json")
    assert failed.exit_code == 1
    assert "1 of 2 cells failed" in failed.stderr
    told = json.loads(failed.stdout)
    assert told["complete"] == 1
    assert [run["run"] for run in told["failed"]] == [plan.cells()[0].name]
    assert plan.cells()[0].name in (out / "sweep.html").read_text()


@pytest.mark.long
def test_ctrl_c_ends_it_and_it_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, out = small_config(tmp_path, rounds=2), tmp_path / "sweep"
    with monkeypatch.context() as pressed:
        pressed.setattr(running.StopAfterRound, "requested", lambda _: True)
        stopped = sweep(config, "--grid", CONFIG, "--out", out, "--workers", "1")
    assert stopped.exit_code == 130
    assert f"fl-sim sweep --resume {out}" in stopped.stderr
    done = sweep("--resume", out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["complete"] == 2


@pytest.mark.long
def test_a_sweep_that_was_killed_goes_on(tmp_path: Path) -> None:
    config, out = small_config(tmp_path, rounds=12), tmp_path / "sweep"
    arguments = ("sweep", str(config), "--grid", CONFIG, "--out", str(out), "--workers", "1")
    with subprocess.Popen(fl_sim(*arguments), stderr=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("cells/*/checkpoint*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    done = subprocess.run(fl_sim("sweep", "--resume", str(out), "--json"), check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["complete"] == 2
    peaceful = running.start(grid(tmp_path, CONFIG, rounds=12), tmp_path / "peaceful", force=False, workers=1)
    for prepared in peaceful.cells:
        kept = out / "cells" / prepared.cell.name
        assert model_bytes(kept) == model_bytes(peaceful.directory.open_cell(prepared.cell).path)


@pytest.mark.parametrize(("epsilon", "shown"), [(7.1601, "7.17"), (7.16, "7.16"), (0.9999, "1.00"), (None, "∞")])
def test_no_epsilon_is_shown_smaller_than_it_is(epsilon: float | None, shown: str) -> None:
    assert bound(epsilon) == shown


def test_the_page_promises_nothing_when_one_run_has_no_noise(tmp_path: Path) -> None:
    result = running.start(grid(tmp_path, "noise_multiplier=0,1", rounds=1), tmp_path / "s", force=False, workers=2)
    told = SweepReport.of(result).write()["tuning"]
    assert (told["costliest"], told["together"], told["best_alone"]) == (None, None, None)
    assert told["statement"].endswith("a run alone costs up to ∞.")
