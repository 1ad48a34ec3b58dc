"""A run goes on wherever it and its data lie now, and with no other data than those that it began with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from simulations.config.config import load_config
from simulations.data.errors import DataError
from simulations.outdir import OutputDirectoryError
from simulations.runs import run
from simulations.runs.run import Outcome, Prepared, Supervision, resume, start
from simulations.runs.rundir import RunDirectory
from tests.support.runs import GOOD, fl_sim, refused, small_config

SETTINGS = {"data.user_column": "user", "server.cohort": 10, "server.aggregation": "central"}


@pytest.fixture(autouse=True)
def no_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the rounds, which would take a minute."""

    def stopped(prepared: Prepared, directory: RunDirectory, by: Supervision) -> Outcome:  # noqa: ARG001
        return Outcome(directory, None)

    monkeypatch.setattr(run, "execute", stopped)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A run in `run` of the files of `data`, both below the path."""
    (tmp_path / "place" / "data").mkdir(parents=True)
    for name in ("a.csv", "b.csv"):
        (tmp_path / "place" / "data" / name).write_text(GOOD)
    settings = {**SETTINGS, "data.path": str(tmp_path / "place" / "data")}
    start(load_config(small_config(tmp_path), settings), tmp_path / "place" / "run", force=False, workers=1)
    return tmp_path / "place"


def test_run_and_data_can_move_together(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = place.rename(place.with_name("moved"))
    monkeypatch.chdir("/")
    assert resume(moved / "run", workers=1).directory.path == moved / "run"
    (moved / "link").symlink_to(moved / "run")
    assert resume(moved / "link", workers=1)


def test_a_run_can_be_told_where_its_data_went_and_remembers_it(place: Path) -> None:
    gone = (place / "data").rename(place.with_name("elsewhere"))
    said = refused(fl_sim("run", "--resume", place / "run"))
    assert "data of --data is gone; say where it is now: --data PATH beside --resume" in said
    with pytest.raises(DataError, match="--data: no file"):
        resume(place / "run", workers=1)
    resume(place / "run", workers=1, overrides={"data.path": [str(gone)]})
    assert '"../../elsewhere"' in (place / "run" / "config.toml").read_text()
    resume(place / "run", workers=1)


def test_files_that_are_told_have_to_be_the_same(place: Path) -> None:
    other = shutil.copytree(place / "data", place / "other")
    (other / "b.csv").write_text(GOOD + "u1,one more,0\n")
    before = (place / "run" / "config.toml").read_text()
    with pytest.raises(DataError, match=r"other/b.csv has changed since the run began \(sha256 \w{12} then"):
        resume(place / "run", workers=1, overrides={"data.path": [str(other)]})
    assert (place / "run" / "config.toml").read_text() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.csv", GOOD.replace("hello number 7,", "hello number 8,"), r"data/b.csv has changed since the run began"),
        ("c.csv", GOOD, r"data/c.csv was not there when the run began"),
        ("b.csv", None, r"b.csv was there when the run began"),
    ],
)
def test_the_file_that_changed_is_named(place: Path, name: str, content: str | None, message: str) -> None:
    path = place / "data" / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as refusal:
        resume(place / "run", workers=1)
    assert f"fl-sim run --config {place / 'run' / 'config.toml'} --out NEW" in str(refusal.value)


def test_what_the_refusal_says_works(place: Path) -> None:
    config = load_config(place / "run" / "config.toml", {})
    assert config.data.path == (place / "data",)
    assert start(config, place / "new", force=False, workers=1).directory.path == place / "new"
    with pytest.raises(OutputDirectoryError, match="which --data reads"):
        RunDirectory.check(place, force=True, inputs=config.inputs)
