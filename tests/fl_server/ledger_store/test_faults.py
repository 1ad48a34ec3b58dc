"""A coordinator killed at any moment, a disk full or after a power cut, a database server gone: the ledger holds.

By default a sample of the points; with `-m long`, all of them.
"""

from __future__ import annotations

import json
import platform
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import coordinator_rounds
from tests.support.ledger_crash import Nursery, Unit, nursery
from tests.support.ledger_rounds import check, check_finished
from tests.support.postgres import Cluster
from tests.support.power_cut import replayed
from tests.support.required import unavailable

SAMPLE = 6
AT_LEAST = {
    "step": 200,
    "syscall": 400,
    "cut": 480,
    "postgres step": 200,
    "postgres syscall": 300,
    "coordinator": 100,
    "full": 100,
}
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


def kill_coordinator(children: Nursery, path: Path, points: list[int]) -> None:
    for point in points:
        directory = fresh(path, point)
        children.run("", directory, unit="syscall", die_at=point, what="coordinator")
        before = coordinator_rounds.check(directory)
        children.run("", directory, attempt=1, what="coordinator")
        coordinator_rounds.check_finished(directory, before)
        shutil.rmtree(directory)


@pytest.mark.usefixtures("ptrace")
def test_a_kill_of_the_coordinator_at_any_moment(children: Nursery, tmp_path: Path) -> None:
    """With devices, secure aggregation, records and checkpoints, as a server runs it."""
    points = children.run("", tmp_path, unit="syscall", what="coordinator")
    coordinator_rounds.check_finished(tmp_path, ())
    kill_coordinator(children, tmp_path, sample(points)[1::3])


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("ptrace")
def test_a_kill_of_the_coordinator_at_every_point(children: Nursery, tmp_path: Path) -> None:
    points = children.run("", tmp_path, unit="syscall", what="coordinator")
    assert points >= AT_LEAST["coordinator"]
    kill_coordinator(children, tmp_path, list(range(points)))


def fill_disks(children: Nursery, path: Path, writes: list[int]) -> None:
    for write in writes:
        directory = fresh(path, f"full{write}")
        _, error = children.fill_disk(directory, write)
        assert not error or "with free space at" in error or "No space left" in error, error
        survive(children, str(directory / "ledger.db"), directory)
        shutil.rmtree(directory)


@pytest.fixture
def writes(children: Nursery, tmp_path: Path, ptrace: None) -> int:  # noqa: ARG001
    """Of a run whose disk never fills."""
    if platform.machine() != "x86_64":
        unavailable("a system call that can be made to fail, on x86-64")
    return children.fill_disk(fresh(tmp_path, "roomy"), 1_000_000)[0]


def test_a_disk_that_is_full_from_any_moment_on(children: Nursery, tmp_path: Path, writes: int) -> None:
    assert "with free space at" in children.fill_disk(fresh(tmp_path, "full"), 0)[1]
    fill_disks(children, tmp_path, [write for write in sample(writes)[::2] if write])


@pytest.mark.long
def test_a_disk_that_is_full_from_every_write_on(children: Nursery, tmp_path: Path, writes: int) -> None:
    assert writes >= AT_LEAST["full"]
    fill_disks(children, tmp_path, list(range(writes)))


def stop_servers(children: Nursery, postgres: Cluster, path: Path, steps: list[int]) -> None:
    """PostgreSQL goes down at the step, and is up again when the coordinator is restarted."""
    for step in steps:
        with postgres.lent_database() as url:
            directory = fresh(path, f"down{step}")
            error = children.stop_server(url, directory, postgres.pid, step)
            postgres.start()
            assert not error or "expected a writable PostgreSQL" in error, error
            survive(children, url, directory)


def test_a_server_that_goes_down_at_any_step(children: Nursery, postgres: Cluster, tmp_path: Path) -> None:
    with postgres.lent_database() as url:
        steps = points_of(children, url, tmp_path, "step")
    stop_servers(children, postgres, tmp_path, sample(steps)[2::4])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_server_that_goes_down_at_every_step(children: Nursery, postgres: Cluster, tmp_path: Path) -> None:
    with postgres.lent_database() as url:
        steps = points_of(children, url, tmp_path, "step")
    stop_servers(children, postgres, tmp_path, list(range(steps)))


@pytest.mark.usefixtures("ptrace")
def test_a_store_that_does_not_sync_is_caught(children: Nursery, tmp_path: Path) -> None:
    """The power cuts above find it when a model is shown before its charge is on the disk."""
    recorded, operations = disk_operations(children, tmp_path, careless=True)
    with pytest.raises(AssertionError, match="was shown and not paid for"):
        cut(children, tmp_path, recorded, operations, 2 * len(operations))
