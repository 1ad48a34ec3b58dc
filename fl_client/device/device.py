"""A device: takes the five requests of a round, trains in the third, and answers with nothing but masked data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_client.device.memory import Memory, SeenList, TaskRecord
from fl_client.device.store import DeviceStore
from privacy.base.canonical import sha256
from privacy.base.randomness import Randomness
from privacy.secagg import Client, Refused, Seen, Stage
from privacy.secagg.errors import WireError
from privacy.secagg.membership.identity import Certificate, Trust
from privacy.secagg.primitives.keys import Agreements, DeviceKeys
from privacy.task.states import Update
from privacy.task.task import BoundedParticipation, TaskError, TaskSpec


class Train(Protocol):
    """Local training on this device's own examples."""

    def __call__(self, task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:
        """Return what this device would change about the global model, and the task's statistics.

        Args:
            task: the task that the operator signed.
            weights: float32[d], the global model.
            rng: the randomness of this training.
        """
        ...


RandomnessFor = Callable[[str, bytes], Randomness]
"""A function from a stage and its request to fresh randomness; production asks the operating system whatever they are.
"""
_SHOWN = 32
"""How much is said of a stage that there is none of, in characters."""


@dataclass(frozen=True)
class _Answered:
    """A request that was answered, and how: whoever asks the same again is told the same."""

    stage: str
    digest: bytes
    reply: bytes = field(repr=False)


class Device:
    """One device of one population; `handle` is all that a transport needs.

    A device that is restarted after it sent its input goes on where its store says it was. Before, the round's own
    secrets are in this object alone, and a restart ends the round for this device: see decision 0031.
    """

    def __init__(
        self,
        *,
        keys: DeviceKeys,
        certificate: Certificate,
        trust: Trust,
        store: DeviceStore,
        train: Train,
        randomness_for: RandomnessFor,
        clock: Callable[[], int],
    ) -> None:
        """Take up the round that the store remembers, if there is one.

        Args:
            keys: this device's own secret keys.
            certificate: the enrolment authority's word on their public halves.
            trust: whose tasks, and under which policy, this device answers.
            store: what outlives this object.
            train: the local training of the third stage.
            randomness_for: where each request's randomness comes from.
            clock: Unix time in seconds, for certificates and revocation lists.

        Raises:
            StoreError: when the device cannot tell what it did before.
        """
        self._keys = keys
        self._certificate = certificate
        self._trust = trust
        self._store = store
        self._train = train
        self._randomness_for = randomness_for
        self._clock = clock
        self._agreements = Agreements(keys.agreement)
        self._client = self._new_client()
        self._mutex = Lock()
        self._answered: _Answered | None = None
        self._kept = b""
        self._take_up()

    def handle(self, stage: str, request: bytes) -> bytes:
        """Answer one request of a round, one at a time whoever asks: other threads, and other processes, wait.

        What the device will remember is durable before the answer is returned. The request that was answered last is
        answered alike when it comes again. A request that is not of the round's next stage, and an invitation that is
        not accepted, leave the round as it is; whatever else is raised, also by training or the store, the round's
        secrets are wiped first.

        Args:
            stage: the value of a `Stage`.
            request: the server's message, its own part and then the one for all devices.

        Returns:
            The message to send back.

        Raises:
            Refused: when the request is not what an honest server would send, or a limit is reached.
            StoreError: when the device cannot tell what it did before.
        """
        with self._mutex, self._store.exclusive():
            memory, digest = self._take_up(), sha256(request)
            if self._answered and (self._answered.stage, self._answered.digest) == (stage, digest):
                return self._answered.reply
            if stage == Stage.ADVERTISE:
                reply = self._advertise(request, memory)
            else:
                self._require_next(stage)
                reply = self._go_on(Stage(stage), request, memory)
            self._answered = _Answered(stage, digest, reply)
            return reply

    def snapshot(self) -> bytes:
        """Return the round's state, secrets in the clear.

        For simulations whose every message runs in another process; `resume` takes it.
        """
        return self._client.snapshot()

    def resume(self, snapshot: bytes) -> None:
        """Take up a round where `snapshot` left it; one that this device cannot read is over."""
        self._answered = None
        self._client.withdraw()
        self._client = self._new_client()
        try:
            self._client.resume(snapshot)
        except (WireError, TaskError):
            self._client.withdraw()

    def _take_up(self) -> Memory:
        """Return the memory; where another process has gone on with it, its round counts, and not the one here."""
        try:
            memory = self._store.load()
        except Exception:
            self._client.withdraw()
            raise
        if memory.round != self._kept:
            self.resume(memory.round)
            self._kept = memory.round
        return memory

    def _keep(self, memory: Memory, client: Client) -> None:
        """Make a memory durable together with the state of the client's round: both are true, or neither."""
        kept = replace(memory, round=client.durable())
        self._store.save(kept)
        self._kept = kept.round

    def _require_next(self, stage: str) -> None:
        expected = self._client.expects
        if stage not in set(Stage):
            raise Refused(f"a stage that there is none of: {stage[:_SHOWN]!r}")
        if expected is None:
            raise Refused("this round is over, or has not begun, for this device")
        if stage != expected:
            raise Refused(f"a request of stage {stage} at stage {expected}")

    def _advertise(self, request: bytes, memory: Memory) -> bytes:
        """Begin a new round, for which whatever is left of an earlier one is given up."""
        rng, client = self._randomness_for(Stage.ADVERTISE, request), self._new_client()
        task = client.open_task(request)
        self._check_limits(task, memory)
        seen = self._seen(task, memory)
        reply, now_seen = client.advertise(request, seen, self._clock(), rng)
        record = memory.record(task.id, client.round)
        remembered = memory.with_task(task.id, record)
        try:
            self._check_separation(task, record, client.round)
        except Refused:
            self._store.save(remembered)  # of a task that is met for the first time, what is taken to have been
            raise
        remembered = remembered.with_task(task.id, record.answering(now_seen.rounds))
        remembered = remembered.with_list(task.population, SeenList(now_seen.list_number, now_seen.list_digest))
        self._keep(replace(remembered, time=now_seen.time), client)
        self._client.withdraw()
        self._client = client
        return reply

    def _seen(self, task: TaskSpec, memory: Memory) -> Seen:
        newest = memory.revocations.get(task.population, SeenList(0))
        rounds = memory.tasks.get(task.id, TaskRecord()).rounds
        return Seen(rounds, newest.number, newest.digest, memory.time)

    def _check_limits(self, task: TaskSpec, memory: Memory) -> None:
        if task.id in memory.closed:
            raise Refused("a task that this device has put away, after many others")
        policy, in_task = self._trust.policy, memory.participations_in(task.id)
        limits = [policy.max_participations]
        if isinstance(task.participation, BoundedParticipation):
            limits.append(task.participation.max_participations)
        if any(limit is not None and in_task >= limit for limit in limits):
            raise Refused(f"this device has taken part {in_task} times, its limit in this task")
        in_all, limit = memory.participations, policy.max_lifetime_participations
        if limit is not None and in_all >= limit:
            raise Refused(f"this device has taken part {in_all} times in all tasks, its limit for life")

    def _check_separation(self, task: TaskSpec, record: TaskRecord, number: int) -> None:
        nearest, plan = record.nearest_input(number), task.participation
        if not isinstance(plan, BoundedParticipation) or nearest is None:
            return
        if abs(number - nearest) < plan.min_separation:
            raise Refused(f"this device took part in round {nearest}, {plan.min_separation} rounds must lie between")

    def _go_on(self, stage: Stage, request: bytes, memory: Memory) -> bytes:
        """Answer the next stage of the round in progress; when that fails, the round is over."""
        try:
            reply, remembered = self._answer(stage, request, memory)
            self._keep(remembered, self._client)
        except Exception:
            self._answered = None
            self._client.withdraw()
            self._keep(memory, self._client)
            raise
        return reply

    def _answer(self, stage: Stage, request: bytes, memory: Memory) -> tuple[bytes, Memory]:
        match stage:
            case Stage.SHARE:
                return self._client.share(request, self._randomness_for(stage, request)), memory
            case Stage.INPUT:
                return self._input(request, memory)
            case Stage.CONSISTENCY:
                return self._client.check_consistency(request), memory
            case _:
                return self._client.unmask(request), memory

    def _input(self, request: bytes, memory: Memory) -> tuple[bytes, Memory]:
        """Train and mask; the participation is counted before it is sent."""
        rng, weights = self._randomness_for(Stage.INPUT, request), self._client.open_input(request)
        task, mechanism, number = self._client.task, self._client.mechanism, self._client.round
        update = self._train(task, weights, rng)
        masked = self._client.masked_input(mechanism.encode(update, self._client.rotation, rng))
        return masked, memory.with_task(task.id, memory.record(task.id, number).taking_part(number))

    def _new_client(self) -> Client:
        return Client(self._keys, self._certificate, self._trust, self._agreements)
