"""Workers as actors of a Ray cluster, one a CPU: each keeps its engine and its users' data from round to round.

A round moves the model to every node once, and one vector back from every actor.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from simulations.executors.cluster import silence_of
from simulations.executors.results import Answer, Unfinished, answer
from simulations.federation.partial_sums import Job, Worker
from simulations.processes.workers import WorkerDied, one_thread

FIRST_WORKER_TIMEOUT_S = 60.0
"""Seconds until a worker has to be there."""
LATE_WORKER_GRACE_S = 10.0
"""Seconds that the first round waits for other workers, once one is there; who is later joins the next round."""
HEAD_SILENCE_LIMIT_S = 30.0
"""Seconds that the head of the cluster may be away; after 60, Ray ends this process."""
_ALIKE = ("havenfl", "numpy", "torch")
"""Packages whose version decides about the bits of a model."""


class RemoteWorker:
    """The part of an actor that runs on its node."""

    def __init__(self, worker: Worker) -> None:
        one_thread()
        self._worker = worker

    def versions(self) -> dict[str, str]:
        """Return what this actor computes with, which says as well that it is there."""
        return _versions()

    def answer(self, job: Job, devices: NDArray[np.int64]) -> Answer:
        """Do a job for these devices, int64[devices]."""
        return answer(self._worker, replace(job, devices=devices.tolist()))


@dataclass(eq=False)
class Actor:
    """An actor as this side sees it.

    Attributes:
        handle: Ray's handle of the actor.
        node: where it is, as Ray names it.
        ready: pending until the actor is there, then None.
        part: pending while it works, else None.
    """

    handle: Any = field(repr=False)
    node: str
    ready: Any = field(repr=False)
    part: Any = field(default=None, repr=False)


class RayWorkers:
    """An actor for every CPU, also of nodes that join later; implements `simulations.executors.retrying.Workers`.

    There are `most` at most, if it is not None. `tell` is told, in a line, how many there are and who is left out.
    """

    _job: Any

    def __init__(self, worker: Worker, most: int | None, tell: Callable[[str], None]) -> None:
        self._worker = ray.put(worker)
        self._class = ray.remote(num_cpus=1)(RemoteWorker)
        self._most = most
        self._tell = tell
        self._actors: list[Actor] = []
        self._refused: dict[str, str] = {}
        """Nodes on which no worker can start, and why: by the node's name."""
        self._told = 0
        self._head = ray.get_runtime_context().gcs_address

    def open(self, job: Job) -> None:
        """Send every node the job that devices are submitted for from now on."""
        self._job = ray.put(replace(job, devices=()))

    def start_workers(self) -> None:
        """Start an actor for every CPU that has none, and wait until one is ready.

        Raises:
            WorkerDied: when the head of the cluster does not answer, or no actor can start.
        """
        if silence := silence_of(self._head, HEAD_SILENCE_LIMIT_S, retry=True):
            raise WorkerDied(f"the head of the Ray cluster at {self._head} does not answer ({silence})")
        self._start_missing()
        self._admit_ready(0.0)
        if not self.idle():
            self._await_first()
            self._admit_ready(LATE_WORKER_GRACE_S, everybody=True)
        nodes = [actor.node for actor in self.idle()]
        if len(nodes) != self._told:
            self._told = len(nodes)
            self._tell(f"Ray: workers {self._told}, nodes {len(set(nodes))}")

    def _await_first(self) -> None:
        deadline = time.monotonic() + FIRST_WORKER_TIMEOUT_S
        while not self.idle():
            left = deadline - time.monotonic()
            if left <= 0 or not self._actors:
                raise WorkerDied(f"no worker could start on the Ray cluster: {self._why_nobody()}")
            self._admit_ready(left)

    def idle(self) -> Sequence[Actor]:
        """Return the actors that are ready and have no part of the round."""
        return [actor for actor in self._actors if actor.ready is None and actor.part is None]

    def submit(self, worker: Actor, devices: Sequence[int]) -> None:
        """Let an actor do the job for these devices."""
        worker.part = worker.handle.answer.remote(self._job, np.array(devices, np.int64))

    def results(self) -> Iterator[tuple[Actor, Answer]]:
        """Wait for an answer and yield it; an actor that is gone has left its part unfinished."""
        busy = {actor.part: actor for actor in self._actors if actor.part is not None}
        done, _ = ray.wait(list(busy))
        for part in done:
            actor = busy[part]
            actor.part = None
            yield actor, self._answer(actor, part)

    def _answer(self, actor: Actor, part: Any) -> Answer:
        try:
            answered: Answer = ray.get(part)
        except RayTaskError as error:
            return WorkerDied(f"a Ray worker failed: {_line(error)}")
        except RayError as error:
            self._dismiss(actor)
            return Unfinished(f"a Ray worker is gone ({type(error).__name__})")
        return answered

    def _start_missing(self) -> None:
        """Start actors for CPUs that have none."""
        taken = Counter(actor.node for actor in self._actors)
        for node, cpus in _nodes().items():
            if node not in self._refused:
                for _ in range(cpus - taken[node]):
                    self._start(node)

    def _start(self, node: str) -> None:
        if self._most is not None and len(self._actors) >= self._most:
            return
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        handle: Any = self._class.options(scheduling_strategy=here).remote(self._worker)
        self._actors.append(Actor(handle, node, handle.versions.remote()))

    def _admit_ready(self, timeout: float, *, everybody: bool = False) -> None:
        """Look who is ready, for `timeout` seconds at most: until somebody is, or `everybody`."""
        starting = {actor.ready: actor for actor in self._actors if actor.ready is not None}
        if not starting:
            return
        done, _ = ray.wait(list(starting), num_returns=len(starting) if everybody else 1, timeout=timeout)
        for ready in done:
            self._admit(starting[ready])

    def _admit(self, actor: Actor) -> None:
        """Take in an actor that is ready and computes as this process does, or leave its node out."""
        try:
            versions = ray.get(actor.ready)
        except RayError as error:
            self._refuse(actor, f"a worker did not start: {_line(error)}")
            return
        actor.ready = None
        if versions != _versions():
            self._refuse(actor, f"expected {_versions()}, got {versions}")

    def _refuse(self, actor: Actor, reason: str) -> None:
        self._dismiss(actor)
        if actor.node not in self._refused and actor.node in _nodes():
            self._refused[actor.node] = reason
            self._tell(f"Ray: node {actor.node[:8]} is left out: {reason}")

    def _dismiss(self, actor: Actor) -> None:
        self._actors.remove(actor)
        ray.kill(actor.handle)

    def _why_nobody(self) -> str:
        if self._refused:
            return "; ".join(self._refused.values())
        if not self._actors:
            return "none of its machines is left"
        return f"none of its CPUs was free within {FIRST_WORKER_TIMEOUT_S:.0f} s"


def _nodes() -> dict[str, int]:
    """Return the nodes that Ray takes for alive, and their CPUs."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _ALIKE}


def _line(error: BaseException) -> str:
    """Return the line of Ray's long texts that says what happened, the last."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"
