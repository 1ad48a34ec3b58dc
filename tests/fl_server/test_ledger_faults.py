"""A coordinator killed at any moment, and a disk after a power cut at any moment: the ledger's promises hold.

By default a sample of the points; with `-m long`, all of them.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ledger_crash import Nursery, Unit, nursery
from tests.support.ledger_rounds import check, check_finished
from tests.support.postgres import Cluster
from tests.support.power_cut import replayed
from tests.support.required import unavailable

SAMPLE = 15
AT_LEAST = {"step": 200, "syscall": 400, "cut": 480, "postgres step": 200, "postgres syscall": 300}
"""How many points the full set has."""


@pytest.fixture(scope="module")
def children() -> Iterator[Nursery]:
    with nursery() as it:
        yield it


@pytest.fixture(scope="session")
def ptrace() -> None:
    if subprocess.run([sys.executable, "-m", "tests.support.syscalls"], capture_output=True, check=False).returncode:
        unavailable("ptrace(2) with PTRACE_GET_SYSCALL_INFO on x86-64 or 64-bit ARM")


@pytest.fixture(params=["step", "syscall"])
def unit(request: pytest.FixtureRequest) -> Unit:
    """What points are counted in."""
    if request.param == "step":
        return "step"
    request.getfixturevalue("ptrace")
    return "syscall"


def sample(points: int) -> list[int]:
    """Evenly spread, with both ends."""
    return sorted({round(index * (points - 1) / (SAMPLE - 1)) for index in range(SAMPLE)})


def kill(children: Nursery, where: str, directory: Path, unit: Unit, point: int) -> None:
    """Kill a run at the point, look at what is left, and bring the run to its end."""
    children.run(where, directory, unit=unit, die_at=point)
    survive(children, where, directory)


def survive(children: Nursery, where: str, directory: Path) -> None:
    before = check(where, directory)
    children.run(where, directory, attempt=1)
    check_finished(where, directory, before)


def fresh(path: Path, name: object) -> Path:
    """An empty directory."""
    directory = path / str(name)
    directory.mkdir()
    return directory


def points_of(children: Nursery, where: str, directory: Path, unit: Unit) -> int:
    """How many points a run has that nobody kills."""
    points = children.run(where, directory, unit=unit)
    check_finished(where, directory, ())
    return points


def kill_sqlite(children: Nursery, path: Path, unit: Unit, points: list[int]) -> None:
    for point in points:
        directory = fresh(path, point)
        kill(children, str(directory / "ledger.db"), directory, unit, point)
        shutil.rmtree(directory)


def kill_postgres(children: Nursery, postgres: Cluster, path: Path, unit: Unit, points: list[int]) -> None:
    for point in points:
        with postgres.lent_database() as url:
            kill(children, url, fresh(path, point), unit, point)


def disk_operations(children: Nursery, path: Path, *, careless: bool = False) -> tuple[Path, list[dict[str, object]]]:
    """A run's directory, and all that it asked of the disk."""
    directory, log = fresh(path, "recorded"), path / "log"
    children.run(str(directory / "ledger.db"), directory, unit="syscall", log=log, careless=careless)
    return directory, json.loads(log.read_text())


def cut(children: Nursery, path: Path, recorded: Path, operations: list[dict[str, object]], point: int) -> None:
    """Even points keep nothing that was not synced, odd ones some of it."""
    image = fresh(path, point)
    chance = random.Random(point) if point % 2 else None  # noqa: S311 (reproducible)
    replayed(recorded, operations[: point // 2]).after_cut(image, chance)
    survive(children, str(image / "ledger.db"), image)
    shutil.rmtree(image)


def test_a_kill_at_any_moment(children: Nursery, tmp_path: Path, unit: Unit) -> None:
    points = points_of(children, str(tmp_path / "ledger.db"), tmp_path, unit)
    kill_sqlite(children, tmp_path, unit, sample(points))


@pytest.mark.long
def test_a_kill_at_every_point(children: Nursery, tmp_path: Path, unit: Unit) -> None:
    points = points_of(children, str(tmp_path / "ledger.db"), tmp_path, unit)
    assert points >= AT_LEAST[unit]
    kill_sqlite(children, tmp_path, unit, list(range(points)))


def test_a_kill_at_any_moment_with_postgres(children: Nursery, postgres: Cluster, tmp_path: Path, unit: Unit) -> None:
    with postgres.lent_database() as url:
        points = points_of(children, url, tmp_path, unit)
    kill_postgres(children, postgres, tmp_path, unit, sample(points)[::2])


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_kill_at_every_point_with_postgres(children: Nursery, postgres: Cluster, tmp_path: Path, unit: Unit) -> None:
    with postgres.lent_database() as url:
        points = points_of(children, url, tmp_path, unit)
    assert points >= AT_LEAST[f"postgres {unit}"]
    kill_postgres(children, postgres, tmp_path, unit, list(range(points)))


@pytest.mark.usefixtures("ptrace")
def test_a_power_cut_at_any_moment(children: Nursery, tmp_path: Path) -> None:
    recorded, operations = disk_operations(children, tmp_path)
    for point in sample(2 * len(operations) + 2):
        cut(children, tmp_path, recorded, operations, point)


@pytest.mark.long
@pytest.mark.usefixtures("ptrace")
def test_a_power_cut_at_every_point(children: Nursery, tmp_path: Path) -> None:
    recorded, operations = disk_operations(children, tmp_path)
    points = 2 * len(operations) + 2
    assert points >= AT_LEAST["cut"]
    for point in range(points):
        cut(children, tmp_path, recorded, operations, point)


@pytest.mark.usefixtures("ptrace")
def test_a_store_that_does_not_sync_is_caught(children: Nursery, tmp_path: Path) -> None:
    """The power cuts above find it when a model is shown before its charge is on the disk."""
    recorded, operations = disk_operations(children, tmp_path, careless=True)
    with pytest.raises(AssertionError, match="was shown and not paid for"):
        cut(children, tmp_path, recorded, operations, 2 * len(operations))
