"""What a device remembers across restarts, so that no server can make it forget: rounds answered, times taken part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field, ValidationError
from pydantic_core import from_json

from privacy.base.canonical import Frozen
from privacy.base.files import write_atomically

STORE_KEY_BYTES = 32
_NONCE_BYTES = 12
_PURPOSE = b"havenfl/device/store/1"


@dataclass(frozen=True)
class TaskRecord:
    """One task's history on this device."""

    last_round: int = 0
    """The number of the last round that this device answered."""
    participations: int = 0
    """How often this device sent an input."""
    last_participation: int | None = None
    """The last round this device sent an input in."""


@dataclass(frozen=True)
class Memory:
    """Everything that outlives a round.

    Attributes:
        tasks: by task id; an unknown task has the empty record.
        revocations: number of the newest revocation list seen, by population.
    """

    tasks: Mapping[str, TaskRecord] = field(default_factory=lambda: MappingProxyType({}))
    revocations: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def with_task(self, task_id: str, record: TaskRecord) -> Memory:
        """Return a copy in which `record` is the history of one task."""
        return replace(self, tasks={**self.tasks, task_id: record})

    def with_revocations(self, population: str, number: int) -> Memory:
        """Return a copy in which `number` is the newest revocation list seen of one population."""
        return replace(self, revocations={**self.revocations, population: number})


class DeviceStore(Protocol):
    """Durable memory of one device."""

    def load(self) -> Memory:
        """Return what was saved last; an empty memory when nothing was."""
        ...

    def save(self, memory: Memory) -> None:
        """Replace the memory; returns once the new one will survive a crash."""
        ...

    def load_round(self) -> bytes:
        """Return the state of the round in progress; empty when there is none."""
        ...

    def save_round(self, state: Callable[[], bytes]) -> None:
        """Replace the round's state; returns once it will survive a crash.

        A store that forgets the state anyway need not call `state`.
        """
        ...


class FileStore:
    """One file, encrypted by AES-256-GCM (SP 800-38D) under a key of the host's, and replaced atomically.

    An older copy of the file, put back by whoever controls the disk, is not noticed: a host that has a monotonic
    counter should keep the file under it.

    The file of any earlier version is read, and is of this version from the next save on; see `_MIGRATIONS`. The state
    of a round in progress is not migrated: a device that cannot read it has dropped out of that round.

    Raises:
        StoreError: on reading, when the file is damaged, was sealed under another key or was written by a newer
            version: a device that cannot tell what it did must not go on.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        """Open the store, without reading the file yet.

        Raises:
            ValueError: when the key is not 32 bytes long.
        """
        if len(key) != STORE_KEY_BYTES:
            raise ValueError(f"key: expected {STORE_KEY_BYTES} bytes, got {len(key)}")
        self._path = path
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return f"FileStore({self._path.name})"

    def load(self) -> Memory:
        """Return the memory in the file; an empty one when there is no file."""
        stored = self._read()
        tasks = {
            task_id: TaskRecord(record.last_round, record.participations, record.last_participation)
            for task_id, record in stored.tasks.items()
        }
        return Memory(tasks, stored.revocations)

    def save(self, memory: Memory) -> None:
        """Replace the memory in the file, and leave the round's state in it as it is."""
        tasks = {
            task_id: _StoredRecord(
                last_round=record.last_round,
                participations=record.participations,
                last_participation=record.last_participation,
            )
            for task_id, record in memory.tasks.items()
        }
        self._write(self._read().model_copy(update={"tasks": tasks, "revocations": dict(memory.revocations)}))

    def load_round(self) -> bytes:
        """Return the state of the round in the file; empty when there is none."""
        return bytes.fromhex(self._read().round)

    def save_round(self, state: Callable[[], bytes]) -> None:
        """Replace the round's state in the file, and leave the memory in it as it is."""
        self._write(self._read().model_copy(update={"round": state().hex()}))

    def _read(self) -> _Stored:
        try:
            sealed = self._path.read_bytes()
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _PURPOSE)
            return _Stored.model_validate(_migrated(from_json(plain), self._path.name))
        except FileNotFoundError:
            return _Stored(version=VERSION, tasks={}, revocations={}, round="")
        except OSError as error:
            raise StoreError(f"device store: {self._path.name} cannot be read: {error.strerror}") from error
        except (InvalidTag, ValidationError, ValueError):
            raise StoreError(
                f"device store: expected {self._path.name} as this device's key sealed it, got damaged data"
            ) from None

    def _write(self, stored: _Stored) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, stored.model_dump_json().encode(), _PURPOSE)
        write_atomically(self._path, sealed, mode=0o600)


class StoreError(RuntimeError):
    """The device's memory cannot be read."""


class _StoredRecord(Frozen):
    """A `TaskRecord` without defaults, like the whole file: a field that is missing would be a history forgotten."""

    last_round: int = Field(ge=0)
    participations: int = Field(ge=0)
    last_participation: int | None = None


class _Stored(Frozen):
    """The sealed contents of a store's file, in the newest version."""

    version: int
    tasks: dict[str, _StoredRecord]
    revocations: dict[str, int]
    round: str = Field(repr=False)
    """Hex of the round's state, secrets included."""


_Contents = dict[str, Any]
"""The JSON object that a file holds, of some version."""


def _from_0_to_1(contents: _Contents) -> _Contents:
    """Return the contents as they are: version 0 differs from version 1 only in having no field `version`."""
    return contents


_MIGRATIONS: tuple[Callable[[_Contents], _Contents], ...] = (_from_0_to_1,)
"""The function at place n makes contents of version n + 1 out of contents of version n.

Version 0 has no field `version`. To change the format, append a function and a golden file of the former version
(`tests/golden/device_memory/`); never change a function that was released, nor what a version's fields mean.
"""
VERSION = len(_MIGRATIONS)
"""The version of the contents that this code writes."""


def _migrated(contents: object, name: str) -> _Contents:
    """Return contents of any known version as contents of the newest.

    Raises:
        StoreError: when a newer version of this code wrote them.
        ValueError: when they are no JSON object, or their version is not a number.
    """
    if not isinstance(contents, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - damaged, like any other contents that are not whole
    version = contents.get("version", 0)
    if type(version) is not int or version < 0 or (version == 0 and "version" in contents):
        raise ValueError("expected a version")
    if version > VERSION:
        raise StoreError(
            f"device store: expected {name} up to version {VERSION}, got {version}: it was written by a newer version "
            "of havenfl; use that one"
        )
    for migrate in _MIGRATIONS[version:]:
        contents = migrate(contents)
    return {**contents, "version": VERSION}
