"""What a command says where a package is missing that its extra would have brought."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.paths import ROOT

COMMANDS = {"fl-sim": "simulations", "fl-server": "fl_server", "fl-client": "fl_client", "fl-privacy": "privacy"}


NEEDING = {
    "fl-sim": ("torch", ["run"]),
    "fl-server": ("alembic", ["export-ledger", "ledger.db", "--out", "copy.db"]),
    "fl-client": ("torch", ["run", "--superlink", "localhost:1", "--root-certificates", "ca.crt", "device"]),
    "fl-privacy": ("scipy", ["plan", "--cohort", "10", "--population", "100"]),
}
"""A package that the command's extra brings, and what needs it."""


def started(command: str, without: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    script = (
        f"import runpy, sys; sys.modules[{without!r}] = None; sys.argv[1:] = {arguments!r};"
        f"runpy.run_module({COMMANDS[command]!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
    )


@pytest.mark.parametrize("command", NEEDING)
def test_a_missing_package_is_named_with_its_extra(command: str, tmp_path: Path) -> None:
    package, arguments = NEEDING[command]
    ended = started(command, package, arguments, tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith(f"{command}: the package {package!r} is missing; install havenfl with its ")
    assert "Traceback" not in ended.stderr


def test_a_missing_module_of_our_own_is_a_bug(tmp_path: Path) -> None:
    assert "Traceback" in started("fl-client", "fl_client.cli", ["--help"], tmp_path).stderr


def test_a_module_that_hides_one_of_our_packages_is_named(tmp_path: Path) -> None:
    (tmp_path / "strategies.py").write_text("")
    ended = started("fl-sim", "nothing_at_all", ["--help"], tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"fl-sim: {tmp_path / 'strategies.py'} hides havenfl's package 'strategies'")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, tmp_path: Path) -> None:
    ended = started(command, "nothing_at_all", ["--help"], tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert f"Usage: {command} " in ended.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_version(command: str, tmp_path: Path) -> None:
    ended = started(command, "nothing_at_all", ["--version"], tmp_path)
    assert ended.stdout == f"{command} {version('havenfl')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_flag_that_there_is_not_is_bad_input(command: str, tmp_path: Path) -> None:
    ended = started(command, "nothing_at_all", ["--nonsense"], tmp_path)
    assert ended.returncode == 2
    assert "--nonsense" in ended.stderr
