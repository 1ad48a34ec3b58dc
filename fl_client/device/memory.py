"""What a device remembers across restarts, so that no server can make it forget: rounds answered, times taken part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from privacy.secagg import Rounds

MOST_TASKS = 128
"""How many tasks a device tells apart; see `Memory.with_task`."""


class StoreError(RuntimeError):
    """The device's memory cannot be read or used."""


class NewerMemory(StoreError):
    """A newer version of this code wrote the memory, which is whole."""


@dataclass(frozen=True)
class TaskRecord:
    """One task's history on this device.

    Attributes:
        rounds: the rounds that this device answered.
        participations: how often this device sent an input.
        inputs: the rounds that it sent an input in, ascending: those above the floor of `rounds`, and the last below.
    """

    rounds: Rounds = field(default_factory=Rounds)
    participations: int = 0
    inputs: tuple[int, ...] = ()

    def answering(self, rounds: Rounds) -> TaskRecord:
        """Return the record of a device that has answered these rounds."""
        return replace(self, rounds=rounds, inputs=_needed(self.inputs, rounds.floor))

    def taking_part(self, number: int) -> TaskRecord:
        """Return the record of a device that has sent one input more, in round `number`."""
        inputs = _needed(tuple(sorted({*self.inputs, number})), self.rounds.floor)
        return replace(self, participations=self.participations + 1, inputs=inputs)

    def nearest_input(self, number: int) -> int | None:
        """Return the round with an input that is nearest to round `number`; None when there is none."""
        return min(self.inputs, key=lambda taken: abs(number - taken), default=None)


def _needed(inputs: tuple[int, ...], floor: int) -> tuple[int, ...]:
    """Leave out those that no round above the floor, which alone can come, is nearest to."""
    below = [number for number in inputs if number <= floor]
    return (*below[-1:], *(number for number in inputs if number > floor))


@dataclass(frozen=True)
class SeenList:
    """The newest revocation list of a population.

    Attributes:
        number: its number.
        digest: SHA-256 of what the authority signed; empty where only the number is known.
    """

    number: int
    digest: bytes = b""


@dataclass(frozen=True)
class Memory:
    """Everything that outlives a request.

    Attributes:
        tasks: by task id, the one answered longest ago first; at most `MOST_TASKS`.
        closed: the ids of older tasks that this device took part in, and takes part in no more.
        participations_closed: how often it took part in those.
        participations_lost: how often it took part, at most, before its memory was lost: in any task, for all it knows.
        revocations: the newest revocation list seen, by population.
        time: the latest Unix time, in seconds, at which it took an invitation.
        round: what is kept of the round in progress; empty when there is none.
    """

    tasks: Mapping[str, TaskRecord] = field(default_factory=lambda: MappingProxyType({}))
    closed: frozenset[str] = frozenset()
    participations_closed: int = 0
    participations_lost: int = 0
    revocations: Mapping[str, SeenList] = field(default_factory=lambda: MappingProxyType({}))
    time: int = 0
    round: bytes = field(default=b"", repr=False)

    @property
    def participations(self) -> int:
        """How often this device took part in its life, in all tasks; never too few."""
        known = sum(record.participations for record in self.tasks.values())
        return known + self.participations_closed + self.participations_lost

    def participations_in(self, task_id: str) -> int:
        """Return how often this device took part in one task; never too few."""
        return self.tasks.get(task_id, TaskRecord()).participations + self.participations_lost

    def record(self, task_id: str, number: int) -> TaskRecord:
        """Return the history of one task, when asked for round `number` of it.

        A device that lost its memory takes it that it sent an input in the round before.
        """
        first = TaskRecord(inputs=(number - 1,)) if self.participations_lost else TaskRecord()
        return self.tasks.get(task_id, first)

    def with_task(self, task_id: str, record: TaskRecord) -> Memory:
        """Return a copy in which `record` is the history of one task, which is now the latest.

        Of more than `MOST_TASKS` one is let go, the oldest without an input if there is one: nothing that it could
        answer again was ever masked. Otherwise the oldest is closed, for what it counted must not begin again at 0.
        """
        tasks = {**{name: kept for name, kept in self.tasks.items() if name != task_id}, task_id: record}
        if len(tasks) <= MOST_TASKS:
            return replace(self, tasks=tasks)
        earlier = list(tasks)[:-1]
        gone = next((name for name in earlier if not tasks[name].participations), earlier[0])
        count = tasks.pop(gone).participations
        closed = self.closed | {gone} if count else self.closed
        return replace(self, tasks=tasks, closed=closed, participations_closed=self.participations_closed + count)

    def with_list(self, population: str, seen: SeenList) -> Memory:
        """Return a copy in which `seen` is the newest revocation list of one population."""
        return replace(self, revocations={**self.revocations, population: seen})
