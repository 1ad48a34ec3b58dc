"""What a device remembers across restarts, so that no server can make it forget: rounds answered, times taken part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field, ValidationError

from privacy.base.canonical import Frozen
from privacy.base.files import write_atomically

STORE_KEY_BYTES = 32
_NONCE_BYTES = 12
_PURPOSE = b"havenfl/device/store/1"


@dataclass(frozen=True)
class TaskRecord:
    """One task's history on this device."""

    last_round: int = 0
    participations: int = 0
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
        return replace(self, tasks={**self.tasks, task_id: record})

    def with_revocations(self, population: str, number: int) -> Memory:
        return replace(self, revocations={**self.revocations, population: number})


class DeviceStore(Protocol):
    """Durable memory of one device."""

    def load(self) -> Memory:
        """What was saved last."""
        ...

    def save(self, memory: Memory) -> None:
        """Returns once the memory will survive a crash."""
        ...

    def load_round(self) -> bytes:
        """The state of the round in progress; empty when there is none."""
        ...

    def save_round(self, state: Callable[[], bytes]) -> None:
        """Returns once the state will survive a crash; stores that forget it anyway need not ask for it."""
        ...


class MemoryStore:
    """For tests: forgets with the process."""

    def __init__(self) -> None:
        self._memory = Memory()
        self._round = b""

    def load(self) -> Memory:
        return self._memory

    def save(self, memory: Memory) -> None:
        self._memory = memory

    def load_round(self) -> bytes:
        return self._round

    def save_round(self, state: Callable[[], bytes]) -> None:
        self._round = state()


class FileStore:
    """One file, encrypted by AES-256-GCM (SP 800-38D) under a key of the host's, and replaced atomically.

    An older copy of the file, put back by whoever controls the disk, is not noticed: a host that has a monotonic
    counter should keep the file under it.

    Raises:
        StoreError: on reading, when the file is damaged or was written under another key: a device that cannot tell
            what it did must not go on.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        """Raises ValueError when the key is not 32 bytes long."""
        if len(key) != STORE_KEY_BYTES:
            raise ValueError(f"key: expected {STORE_KEY_BYTES} bytes, got {len(key)}")
        self._path = path
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return f"FileStore({self._path.name})"

    def load(self) -> Memory:
        stored = self._read()
        tasks = {
            name: TaskRecord(one.last_round, one.participations, one.last_participation)
            for name, one in stored.tasks.items()
        }
        return Memory(tasks, stored.revocations)

    def save(self, memory: Memory) -> None:
        tasks = {
            name: _Record(
                last_round=one.last_round,
                participations=one.participations,
                last_participation=one.last_participation,
            )
            for name, one in memory.tasks.items()
        }
        self._write(self._read().model_copy(update={"tasks": tasks, "revocations": dict(memory.revocations)}))

    def load_round(self) -> bytes:
        return bytes.fromhex(self._read().round)

    def save_round(self, state: Callable[[], bytes]) -> None:
        self._write(self._read().model_copy(update={"round": state().hex()}))

    def _read(self) -> _Stored:
        try:
            sealed = self._path.read_bytes()
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _PURPOSE)
            return _Stored.model_validate_json(plain)
        except FileNotFoundError:
            return _Stored(tasks={}, revocations={}, round="")
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


class _Record(Frozen):
    """Without defaults, like the whole file: a field that is missing would be a history forgotten."""

    last_round: int = Field(ge=0)
    participations: int = Field(ge=0)
    last_participation: int | None = None


class _Stored(Frozen):
    tasks: dict[str, _Record]
    revocations: dict[str, int]
    round: str = Field(repr=False)
    """Hex of the round's state, secrets included."""
