"""What a command says where a package is missing that its extra would have brought."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = {"fl-sim": "simulations", "fl-server": "fl_server", "fl-client": "fl_client", "fl-privacy": "privacy"}


def started(command: str, without: str) -> subprocess.CompletedProcess[str]:
    script = (
        f"import runpy, sys; sys.modules[{without!r}] = None; sys.argv[1:] = ['--help'];"
        f"runpy.run_module({COMMANDS[command]!r}, run_name='__main__')"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("command", "package"), [("fl-sim", "sklearn"), ("fl-server", "alembic")])
def test_a_missing_package_is_named_with_its_extra(command: str, package: str) -> None:
    ended = started(command, package)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{command}: the package {package!r} is missing; install havenfl with its ")
    assert "Traceback" not in ended.stderr


def test_a_missing_module_of_our_own_is_a_bug() -> None:
    assert "Traceback" in started("fl-client", "fl_client.cli").stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    ended = started(command, "nothing_at_all")
    assert ended.returncode == 0, ended.stderr
    assert f"Usage: {command} " in ended.stdout
