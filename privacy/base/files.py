"""Files that survive a crash whole, and files that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace `path` by `data`, durably: after a crash the file holds the old bytes or the new ones.

    Args:
        path: the file to make or to replace.
        data: its new contents, whole.
        mode: permissions of the file, less what the process's umask takes away.

    Raises:
        OSError: when the disk refuses; the old file is then as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename in the directory `path` durable, where the system lets a directory be opened: on POSIX."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read.

    Raises:
        FileExistsError: when the file exists already.
    """
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(data)
