"""Directories that a command makes for its results: never over somebody else's files, one process at a time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from privacy.base.files import write_atomically

Inputs = Iterable[tuple[str, Path]]
"""Files and folders that a command reads, each with the flag that names it."""


class OutputDirectoryError(ValueError):
    """A directory or file that cannot be used as asked; the message says what to do."""


def keep_inputs(flag: str, out: Path, inputs: Inputs) -> None:
    """Refuse to write where an input lies: nothing is ever written over what is read.

    Links are followed, so that an input is the same by whatever name.

    Args:
        flag: the option that names the output, for messages.
        out: the file or directory to write.
        inputs: all that the command reads.

    Raises:
        OutputDirectoryError: when the output is an input, holds one, or lies in a folder that is one.
    """
    place = out.resolve()
    for name, path in inputs:
        given = path.resolve()
        if given.is_relative_to(place):
            what = f"is what {name} reads" if given == place else f"has {path} in it, which {name} reads,"
            raise OutputDirectoryError(f"{flag}: {out} {what}, and would be written over; give another path")
        if given.is_dir() and place.is_relative_to(given):
            raise OutputDirectoryError(
                f"{flag}: {out} lies in {path}, all of which {name} reads; give a path outside of it"
            )
        if place.is_file() and given.is_file() and place.samefile(given):
            raise OutputDirectoryError(
                f"{flag}: {out} is another name of {path}, which {name} reads; give another path"
            )


@dataclass(frozen=True)
class ManagedDirectory:
    """The rule by which a command knows its own directories.

    Attributes:
        command: the command, as messages name it.
        marker: the file that says what was asked for; the first to be written.
        again: what to do about a directory that exists, for a message.
    """

    command: str
    marker: str
    again: str

    def check(self, path: Path, *, force: bool, inputs: Inputs = ()) -> None:
        """Refuse early what `create` would refuse, and what would be written over an input.

        Args:
            path: the directory.
            force: whether an earlier directory of the same command may be replaced.
            inputs: all that the command reads, each with the flag that names it.

        Raises:
            OutputDirectoryError: when the path is a file, a directory that is not empty and may not be replaced, one
                with an input in it, or one within a folder that is read.
        """
        keep_inputs("--out", path, inputs)
        if path.exists() and not path.is_dir():
            raise OutputDirectoryError(f"--out: {path} is a file; expected a directory or a new path")
        if not path.exists() or not any(path.iterdir()):
            return
        if not force:
            raise OutputDirectoryError(f"--out: {path} exists; {self.again.format(path=path)}")
        if not self.made(path):
            raise OutputDirectoryError(
                f"--force: {path} was not made by {self.command} (no {self.marker}); it is left alone"
            )

    def create(self, path: Path, definition: str, *, force: bool) -> None:
        """Make a new directory with its marker in it.

        Args:
            path: the directory.
            definition: the marker's text.
            force: whether an earlier directory of the same command may be replaced.

        Raises:
            OutputDirectoryError: when `check` refuses it, it cannot be written, or a process runs in what it replaces.
        """
        self.check(path, force=force)
        try:
            if path.exists() and any(path.iterdir()):
                with exclusive(path):
                    shutil.rmtree(path)
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / self.marker, definition.encode())
        except OSError as error:
            raise OutputDirectoryError(f"--out: cannot write to {path}: {error.strerror or error}") from error

    def made(self, path: Path) -> bool:
        """Tell whether the command made a directory."""
        return (path / self.marker).is_file()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other processes out of a directory while the context lasts.

    Raises:
        OutputDirectoryError: when another process is in it.
    """
    with (path / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputDirectoryError(
                f"{path}: another process is running in it; wait for it to end, or stop it"
            ) from error
        yield
