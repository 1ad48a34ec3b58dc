"""What a device remembers across restarts, so that no server can make it forget: rounds answered, times taken part."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field, TypeAdapter, ValidationError

from privacy.canonical import Frozen


@dataclass(frozen=True)
class TaskRecord:
    """One task's history on this device."""

    last_round: int = 0
    participations: int = 0


class DeviceStore(Protocol):
    """Durable memory of one device."""

    def load(self, task_id: str) -> TaskRecord:
        """The record of a task; an unknown task has the empty one."""
        ...

    def save(self, task_id: str, record: TaskRecord) -> None:
        """Returns once the record will survive a crash."""
        ...


class MemoryStore:
    """For tests and simulations: forgets with the process."""

    def __init__(self) -> None:
        self._records: dict[str, TaskRecord] = {}

    def load(self, task_id: str) -> TaskRecord:
        return self._records.get(task_id, TaskRecord())

    def save(self, task_id: str, record: TaskRecord) -> None:
        self._records[task_id] = record


class FileStore:
    """One JSON file, replaced atomically.

    Raises:
        StoreError: on reading, when the file is damaged: a device that cannot tell what it did must not go on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, task_id: str) -> TaskRecord:
        return self._read().get(task_id, TaskRecord())

    def save(self, task_id: str, record: TaskRecord) -> None:
        records = {**self._read(), task_id: record}
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        with temporary.open("w") as file:
            json.dump({name: asdict(value) for name, value in records.items()}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        if os.name == "posix":
            _sync_directory(self._path.parent)

    def _read(self) -> dict[str, TaskRecord]:
        try:
            stored = _RECORDS.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"device store: {self._path.name} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise StoreError(f"device store: expected JSON records in {self._path.name}, got damaged data") from error
        return {name: TaskRecord(record.last_round, record.participations) for name, record in stored.items()}


class StoreError(RuntimeError):
    """The device's memory cannot be read."""


class _Stored(Frozen):
    """A record in the file. Without defaults: a field that is missing would be a history forgotten."""

    last_round: int = Field(ge=0)
    participations: int = Field(ge=0)


_RECORDS = TypeAdapter(dict[str, _Stored])


def _sync_directory(directory: Path) -> None:
    """A rename is kept in the directory, which reaches the disk on its own."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
