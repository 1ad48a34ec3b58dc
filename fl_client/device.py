"""A device: takes the five requests of a round, trains in the third, and answers with nothing but masked data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_client.store import DeviceStore, TaskRecord
from privacy.mechanism import Mechanism
from privacy.randomness import Randomness
from privacy.secagg import Client, Refused, Stage
from privacy.secagg.client import Trust
from privacy.secagg.identity import Certificate
from privacy.signing import Signer
from privacy.states import Update
from privacy.task import BoundedParticipation, TaskSpec


class Train(Protocol):
    """Local training on this device's own examples."""

    def __call__(self, task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:
        """From the global model, float32[d], to what this device would change about it."""
        ...


RandomnessFor = Callable[[str, bytes], Randomness]
"""A stage and its request to fresh randomness. Production ignores both and asks the operating system."""


class Device:
    """One device of one population. `handle` is all that a transport needs."""

    def __init__(
        self,
        *,
        identity: Signer,
        certificate: Certificate,
        trust: Trust,
        store: DeviceStore,
        train: Train,
        randomness_for: RandomnessFor,
    ) -> None:
        self._identity = identity
        self._certificate = certificate
        self._trust = trust
        self._store = store
        self._train = train
        self._randomness_for = randomness_for
        self._client = self._new_client()

    def handle(self, stage: str, request: bytes) -> bytes:
        """Answer one request.

        Whatever is raised, also by training or the store, the round's secrets are wiped first.

        Raises:
            Refused: when the request is not what an honest server would send, or a limit is reached.
        """
        try:
            return self._answer(Stage(stage), request, self._randomness_for(stage, request))
        except Exception:
            self._client.withdraw()
            raise

    def snapshot(self) -> bytes:
        """The round's state, secrets in the clear, for simulations whose every message runs in another process."""
        return self._client.snapshot()

    def resume(self, snapshot: bytes) -> None:
        """Take up a round where `snapshot` left it."""
        self._client.resume(snapshot)

    def _answer(self, stage: Stage, request: bytes, rng: Randomness) -> bytes:
        match stage:
            case Stage.ADVERTISE:
                return self._advertise(request, rng)
            case Stage.SHARE:
                return self._client.share(request, rng)
            case Stage.INPUT:
                return self._input(request, rng)
            case Stage.ECHO:
                return self._client.echo(request)
            case Stage.UNMASK:
                return self._client.unmask(request)

    def _advertise(self, request: bytes, rng: Randomness) -> bytes:
        """A new round; whatever was left of an earlier one is gone."""
        self._client.withdraw()
        self._client = self._new_client()
        task, round_number = self._client.open_invitation(request)
        record = self._store.load(task.id)
        limit = task.participation
        if isinstance(limit, BoundedParticipation) and record.participations >= limit.max_participations:
            raise Refused(f"this device has taken part {record.participations} times, its limit in this task")
        reply = self._client.advertise(request, record.last_round, rng)
        self._store.save(task.id, TaskRecord(round_number, record.participations))
        return reply

    def _input(self, request: bytes, rng: Randomness) -> bytes:
        weights = self._client.open_input(request)
        task, params = self._client.task, self._client.parameters
        update = self._train(task, weights, rng)
        mechanism = Mechanism.for_cohort(task, params.cohort)
        masked = self._client.masked_input(mechanism.encode(update, rng))
        record = self._store.load(task.id)
        # Counted before it is sent: a crash in between must not grant one participation more.
        self._store.save(task.id, TaskRecord(record.last_round, record.participations + 1))
        return masked

    def _new_client(self) -> Client:
        return Client(self._identity, self._certificate, self._trust)
