"""What a device remembers across restarts, so that no server can make it forget: rounds answered, times taken part."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol


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
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump({name: asdict(value) for name, value in records.items()}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def _read(self) -> dict[str, TaskRecord]:
        if not self._path.exists():
            return {}
        try:
            return {name: TaskRecord(**value) for name, value in json.loads(self._path.read_text()).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"device store: expected JSON records in {self._path.name}, got damaged data") from error


class StoreError(RuntimeError):
    """The device's memory cannot be read."""
