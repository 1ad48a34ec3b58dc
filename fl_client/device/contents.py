"""What a device's memory is written as: JSON with a version, and how every earlier version is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field
from pydantic_core import from_json

from fl_client.device.memory import Memory, NewerMemory, SeenList, TaskRecord
from privacy.base.canonical import Frozen
from privacy.secagg import Rounds


def encode(memory: Memory) -> bytes:
    """Return a memory in the newest version."""
    return _Stored.of(memory).model_dump_json().encode()


def decode(plain: bytes, name: str) -> Memory:
    """Read a memory of any known version.

    Args:
        plain: the JSON.
        name: of the file that it comes from, for the message of an error.

    Raises:
        NewerMemory: when a newer version of this code wrote it.
        ValueError: when it is not whole.
    """
    return _Stored.model_validate(_migrated(from_json(plain), name)).memory()


class _StoredRecord(Frozen):
    """A `TaskRecord` without defaults, like the whole file: a field that is missing would be a history forgotten."""

    floor: int = Field(ge=0)
    answered: list[int]
    participations: int = Field(ge=0)
    inputs: list[int]


class _StoredList(Frozen):
    """A `SeenList`, its digest in hex."""

    number: int = Field(ge=0)
    digest: str


class _Stored(Frozen):
    """The sealed contents of a store's file, in the newest version."""

    version: int
    tasks: dict[str, _StoredRecord]
    closed: list[str]
    participations_closed: int = Field(ge=0)
    participations_lost: int = Field(ge=0)
    revocations: dict[str, _StoredList]
    time: int = Field(ge=0)
    round: str = Field(repr=False)
    """Hex of what is kept of the round, others' secrets included."""

    @classmethod
    def of(cls, memory: Memory) -> _Stored:
        return cls(
            version=VERSION,
            tasks={
                task_id: _StoredRecord(
                    floor=record.rounds.floor,
                    answered=list(record.rounds.above),
                    participations=record.participations,
                    inputs=list(record.inputs),
                )
                for task_id, record in memory.tasks.items()
            },
            closed=sorted(memory.closed),
            participations_closed=memory.participations_closed,
            participations_lost=memory.participations_lost,
            revocations={
                population: _StoredList(number=seen.number, digest=seen.digest.hex())
                for population, seen in memory.revocations.items()
            },
            time=memory.time,
            round=memory.round.hex(),
        )

    def memory(self) -> Memory:
        """Return the contents as they are used.

        Raises:
            ValueError: when what should be hex is not.
        """
        return Memory(
            tasks={task_id: _record(record) for task_id, record in self.tasks.items()},
            closed=frozenset(self.closed),
            participations_closed=self.participations_closed,
            participations_lost=self.participations_lost,
            revocations={
                population: SeenList(seen.number, bytes.fromhex(seen.digest))
                for population, seen in self.revocations.items()
            },
            time=self.time,
            round=bytes.fromhex(self.round),
        )


def _record(stored: _StoredRecord) -> TaskRecord:
    rounds = Rounds(stored.floor, tuple(stored.answered))
    return TaskRecord(rounds, stored.participations, tuple(stored.inputs))


_Contents = dict[str, Any]
"""The JSON object that a file holds, of some version."""


def _from_0_to_1(contents: _Contents) -> _Contents:
    """Return the contents as they are: version 0 differs from version 1 only in having no field `version`."""
    return contents


class _RecordOf1(Frozen):
    """What version 1 has of a task."""

    last_round: int = Field(ge=0)
    participations: int = Field(ge=0)
    last_participation: int | None = None


class _Of1(Frozen):
    """Version 1: every round up to a task's last one counts as answered, and lists have a number alone."""

    version: int = 1
    tasks: dict[str, _RecordOf1]
    revocations: dict[str, int]
    round: str = Field(repr=False)


def _from_1_to_2(contents: _Contents) -> _Contents:
    """Return what was counted. The state of a round in progress goes: it has secrets that are no longer kept."""
    old = _Of1.model_validate(contents)
    tasks = {
        task_id: {
            "floor": record.last_round,
            "answered": [],
            "participations": record.participations,
            "inputs": [] if record.last_participation is None else [record.last_participation],
        }
        for task_id, record in old.tasks.items()
    }
    return {
        "tasks": tasks,
        "closed": [],
        "participations_closed": 0,
        "participations_lost": 0,
        "revocations": {name: {"number": number, "digest": ""} for name, number in old.revocations.items()},
        "time": 0,
        "round": "",
    }


_MIGRATIONS: tuple[Callable[[_Contents], _Contents], ...] = (_from_0_to_1, _from_1_to_2)
"""The function at place n makes contents of version n + 1 out of contents of version n.

Version 0 has no field `version`. To change the format, append a function and a golden file of the former version
(`tests/golden/device_memory/`); never change a function that was released, nor what a version's fields mean.
"""
VERSION = len(_MIGRATIONS)
"""The version of the contents that this code writes."""


def _migrated(contents: object, name: str) -> _Contents:
    """Return contents of any known version as contents of the newest.

    Raises:
        NewerMemory: when a newer version of this code wrote them.
        ValueError: when they are no JSON object, or their version is not a number.
    """
    if not isinstance(contents, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - damaged, like any other contents that are not whole
    version = contents.get("version", 0)
    if type(version) is not int or version < 0 or (version == 0 and "version" in contents):
        raise ValueError("expected a version")
    if version > VERSION:
        raise NewerMemory(
            f"device store: expected {name} up to version {VERSION}, got {version}: it was written by a newer version "
            "of havenfl; use that one"
        )
    for migrate in _MIGRATIONS[version:]:
        contents = migrate(contents)
    return {**contents, "version": VERSION}
