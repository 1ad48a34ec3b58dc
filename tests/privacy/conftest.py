"""One finished run for all who review it, and a cohort that runs the protocol."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from simulations.config.config import load_config
from simulations.runs.run import start
from tests.support.federation import Federation
from tests.support.runs import few_canaries, small_config


@pytest.fixture
def federation() -> Federation:
    return Federation(10)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reviewed")
    with few_canaries():
        start(load_config(small_config(path, rounds=3), {}), path / "run", force=False, workers=1)
    return path / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))
