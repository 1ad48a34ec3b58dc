"""What a disk may hold after a power cut: what was synced, and any sectors of what was not.

The model is POSIX's, stricter than journalling file systems are: the data of a file last once the file is synced, its
name (also its new or no name) once its directory is (Pillai et al., OSDI 2014, "All File Systems Are Not Created
Equal").
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.support.syscalls import Operation

_SECTOR = 512


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)

    def sync(self) -> None:
        for operation in self.pending:
            _apply(self.durable, operation)
        self.pending.clear()

    def after_cut(self, chance: random.Random | None) -> bytes:
        content = bytearray(self.durable)
        for operation in self.pending if chance else ():
            for sector in _sectors(operation):
                if chance and chance.random() < 0.5:
                    _apply(content, sector)
        return bytes(content)


class Disk:
    """One directory, as the operations of a `DiskLog` leave it."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}

    def apply(self, operation: Operation) -> None:
        """Advance by one operation."""
        kind, path = operation["name"], operation["paths"][0]
        if kind == "open":
            file = self._names.setdefault(path, _File())
            if operation["empty"]:
                file.pending.append({"name": "truncate", "size": 0})
        elif kind == "rename":
            self._names[operation["paths"][1]] = self._names.pop(path)
        elif kind == "unlink":
            self._names.pop(path, None)
        elif kind == "sync" and path == self._directory:
            self._durable_names = dict(self._names)
        elif path in self._names:
            self._change(self._names[path], operation)

    def after_cut(self, into: Path, chance: random.Random | None) -> None:
        """Write into an empty directory what is left when the power goes now.

        Args:
            chance: draws which names and sectors survive without a sync; None: none does.
        """
        names = self._names if chance and chance.random() < 0.5 else self._durable_names
        for path, file in names.items():
            if not path.endswith("-shm"):  # shared memory only: SQLite makes it anew
                (into / Path(path).name).write_bytes(file.after_cut(chance))

    @staticmethod
    def _change(file: _File, operation: Operation) -> None:
        if operation["name"] == "sync":
            file.sync()
        else:
            file.pending.append(operation)


def replayed(directory: Path, operations: Iterable[Operation]) -> Disk:
    """The disk after these operations on an empty directory."""
    disk = Disk(directory)
    for operation in operations:
        disk.apply(operation)
    return disk


def _apply(content: bytearray, operation: Operation) -> None:
    if operation["name"] == "truncate":
        size = operation["size"]
        content[:] = content[:size].ljust(size, b"\0")
        return
    data, offset = bytes.fromhex(operation["data"]), operation["offset"]
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _sectors(operation: Operation) -> list[Operation]:
    if operation["name"] != "write":
        return [operation]
    data, offset = bytes.fromhex(operation["data"]), operation["offset"]
    cuts = [0, *range(_SECTOR - offset % _SECTOR, len(data), _SECTOR), len(data)]
    return [operation | {"offset": offset + start, "data": data[start:end].hex()} for start, end in pairwise(cuts)]
