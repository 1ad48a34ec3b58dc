"""A device: takes the five requests of a round, trains in the third, and answers with nothing but masked data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_client.device.store import DeviceStore, Memory, TaskRecord
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


class Device:
    """One device of one population; `handle` is all that a transport needs.

    A device that is restarted in the middle of a round goes on where its store says it was.
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
        self.resume(store.load_round())

    def handle(self, stage: str, request: bytes) -> bytes:
        """Answer one request of a round.

        What the device will remember is durable before the answer is returned. Whatever is raised, also by training or
        the store, the round's secrets are wiped first.

        Args:
            stage: the value of a `Stage`.
            request: the server's message, its own part and then the one for all devices.

        Returns:
            The message to send back.

        Raises:
            Refused: when the request is not what an honest server would send, or a limit is reached.
        """
        try:
            answer = self._answer(Stage(stage), request, self._randomness_for(stage, request))
            self._store.save_round(self._client.snapshot)
        except Exception:
            self._client.withdraw()
            self._store.save_round(self._client.snapshot)
            raise
        return answer

    def snapshot(self) -> bytes:
        """Return the round's state, secrets in the clear.

        For simulations whose every message runs in another process; `resume` takes it.
        """
        return self._client.snapshot()

    def resume(self, snapshot: bytes) -> None:
        """Take up a round where `snapshot` left it; one that this device cannot read is over."""
        try:
            self._client.resume(snapshot)
        except (WireError, TaskError):
            self._client.withdraw()

    def _answer(self, stage: Stage, request: bytes, rng: Randomness) -> bytes:
        match stage:
            case Stage.ADVERTISE:
                return self._advertise(request, rng)
            case Stage.SHARE:
                return self._client.share(request, rng)
            case Stage.INPUT:
                return self._input(request, rng)
            case Stage.CONSISTENCY:
                return self._client.check_consistency(request)
            case Stage.UNMASK:
                return self._client.unmask(request)

    def _advertise(self, request: bytes, rng: Randomness) -> bytes:
        """Begin a new round; whatever was left of an earlier one is gone."""
        self._client.withdraw()
        self._client = self._new_client()
        memory, now = self._store.load(), self._clock()
        task = self._client.open_task(request)
        record = memory.tasks.get(task.id, TaskRecord())
        self._check_limits(task, memory)
        seen = Seen(record.last_round, memory.revocations.get(task.population, 0))
        reply, seen = self._client.advertise(request, seen, now, rng)
        self._check_separation(task, record, seen.last_round)
        remembered = memory.with_task(task.id, replace(record, last_round=seen.last_round))
        self._store.save(remembered.with_revocations(task.population, seen.revocations))
        return reply

    def _check_limits(self, task: TaskSpec, memory: Memory) -> None:
        policy, in_task = self._trust.policy, memory.tasks.get(task.id, TaskRecord()).participations
        limits = [policy.max_participations]
        if isinstance(task.participation, BoundedParticipation):
            limits.append(task.participation.max_participations)
        if any(limit is not None and in_task >= limit for limit in limits):
            raise Refused(f"this device has taken part {in_task} times, its limit in this task")
        in_all = sum(record.participations for record in memory.tasks.values())
        limit = policy.max_lifetime_participations
        if limit is not None and in_all >= limit:
            raise Refused(f"this device has taken part {in_all} times in all tasks, its limit for life")

    def _check_separation(self, task: TaskSpec, record: TaskRecord, number: int) -> None:
        last, plan = record.last_participation, task.participation
        if last is not None and isinstance(plan, BoundedParticipation) and number - last < plan.min_separation:
            raise Refused(f"this device took part in round {last}, {plan.min_separation} rounds must lie between")

    def _input(self, request: bytes, rng: Randomness) -> bytes:
        weights = self._client.open_input(request)
        task, mechanism = self._client.task, self._client.mechanism
        update = self._train(task, weights, rng)
        masked = self._client.masked_input(mechanism.encode(update, self._client.rotation, rng))
        memory = self._store.load()
        record = memory.tasks.get(task.id, TaskRecord())
        # Counted before it is sent: a crash in between must not grant one participation more.
        counted = replace(record, participations=record.participations + 1, last_participation=record.last_round)
        self._store.save(memory.with_task(task.id, counted))
        return masked

    def _new_client(self) -> Client:
        return Client(self._keys, self._certificate, self._trust, self._agreements)
