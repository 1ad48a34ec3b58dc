"""Files that survive a crash whole, and files that only their owner can read."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace `path` by `data`, durably: after a crash the file holds the old bytes or the new ones.

    Of several that write at the same time each does so whole. One that is killed may leave a file behind, whose name
    matches `leftovers`.

    Args:
        path: the file to make or to replace.
        data: its new contents, whole.
        mode: permissions of the file, less what the process's umask takes away.

    Raises:
        OSError: when the disk refuses; the old file is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def leftovers(path: Path) -> list[Path]:
    """Return what writers of `path` that were killed have left beside it; also what writers are at just now."""
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


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
