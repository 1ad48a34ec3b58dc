"""Which processes still belong to a test."""

from __future__ import annotations

import os
import time
from pathlib import Path


def leftovers(directory: Path, timeout: float = 10.0) -> list[str]:
    """Command lines of processes with a path below `directory` in their arguments or environment.

    Empty as soon as there are none; after `timeout` seconds, those that are left.
    """
    deadline = time.monotonic() + timeout
    while (commands := _commands_with(str(directory).encode())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return commands


def _commands_with(mark: bytes) -> list[str]:
    processes = [path for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != os.getpid()]
    lines = [(_read(path / "cmdline"), _read(path / "environ")) for path in processes]
    return [command.replace(b"\0", b" ").decode() for command, environment in lines if mark in command + environment]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended in between
        return b""
