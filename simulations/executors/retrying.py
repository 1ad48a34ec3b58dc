"""Rounds over workers that may die: what a dead one was to do, others do.

Every part that comes back unfinished is halved, and the halves go to whoever is free, whatever the reason: after a
crash they spread over the others, and for want of memory they become smaller, down to single devices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from privacy.task.task import TaskSpec
from simulations.executors.results import Answer, Unfinished
from simulations.federation.partial_sums import Job, PartialSum
from simulations.processes.workers import WorkerDied

_TRIALS = 3
"""How often one device alone is tried, so that workers killed for reasons of their own do not end a run."""

W = TypeVar("W", bound=Hashable)


class Workers(Protocol[W]):
    """Workers in other processes, each with at most one part at a time."""

    def open(self, job: Job) -> None:
        """Keep the job that parts are of from now on; its devices do not matter."""
        ...

    def start_workers(self) -> None:
        """Replace who died, take in who joined, and wait until somebody can work.

        Raises:
            WorkerDied: when nobody can.
        """
        ...

    def idle(self) -> Sequence[W]:
        """Return who has no part, in an order that changes only when workers come and go."""
        ...

    def submit(self, worker: W, devices: Sequence[int]) -> None:
        """Let a worker do the job for these devices; if it is dead by now, its answer says so."""
        ...

    def results(self) -> Iterable[tuple[W, Answer]]:
        """Wait until at least one part is answered, and yield what is; who died with a part is idle no more."""
        ...


@dataclass(frozen=True)
class _Part:
    devices: Sequence[int] = field(repr=False)
    trials: int = 0

    def again(self, reason: str) -> list[_Part]:
        """Return the parts to do instead of this one, which came back unfinished."""
        middle = len(self.devices) // 2
        if middle:
            return [_Part(self.devices[:middle]), _Part(self.devices[middle:])]
        if self.trials + 1 < _TRIALS:
            return [_Part(self.devices, self.trials + 1)]
        raise WorkerDied(
            f"device {self.devices[0]}: {reason}, {_TRIALS} times with this device alone; "
            "give workers more memory (fewer --workers, larger nodes), lower training.buckets, or leave its data out"
        )


class RetryingExecutor(Generic[W]):
    """An executor whose workers may die; implements `simulations.federation.ideal.Executor`.

    `tell` is told, in a line, of every part that is given to others.
    """

    def __init__(self, workers: Workers[W], task: TaskSpec, tell: Callable[[str], None]) -> None:
        self._workers = workers
        self._task = task
        self._tell = tell

    def partial_sums(self, job: Job) -> Iterator[PartialSum]:
        """Do a job on all workers, and yield its parts as they are done.

        Raises:
            WorkerDied: when nobody is left and nobody can be replaced, or a device can be trained nowhere.
            ValueError: from a worker, when the mechanism refuses the task or the cohort.
        """
        self._workers.open(job)
        self._workers.start_workers()
        todo = deque(_Part(devices) for devices in allot(job.devices, len(self._workers.idle())))
        busy: dict[W, _Part] = {}
        while todo or busy:
            self._hand_out(todo, busy)
            for worker, answer in self._workers.results():
                part = busy.pop(worker)
                if isinstance(answer, Exception):
                    raise answer
                if isinstance(answer, Unfinished):
                    self._tell(f"{answer.reason}; its {len(part.devices)} devices are given to others")
                    todo.extend(part.again(answer.reason))
                else:
                    yield answer.open(self._task)

    def _hand_out(self, todo: deque[_Part], busy: dict[W, _Part]) -> None:
        if not busy and not self._workers.idle():
            self._workers.start_workers()
        for worker in self._workers.idle():
            if todo:
                busy[worker] = todo.popleft()
                self._workers.submit(worker, busy[worker].devices)


def allot(devices: Sequence[int], workers: int) -> list[list[int]]:
    """Split the devices of a round in equal parts, one a worker, each if possible with those that it had before.

    A worker keeps what it computed from a device's examples, so a device is best off where it was; but the round takes
    as long as its largest part.

    Returns:
        The parts that are not empty, in the order of the workers.
    """
    most = -(-len(devices) // workers)
    parts = [[device for device in devices if device % workers == place] for place in range(workers)]
    spare = [device for part in parts for device in part[most:]]
    kept = [part[:most] for part in parts]
    for part in kept:
        part.extend(spare.pop() for _ in range(min(len(spare), most - len(part))))
    return [part for part in kept if part]
