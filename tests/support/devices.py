"""A few devices of one population, and rounds over them, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_client.device import Device, Train
from fl_client.store import DeviceStore, MemoryStore
from privacy.randomness import Origin, Randomness
from privacy.secagg import Server, Stage
from privacy.secagg.client import Trust
from privacy.secagg.identity import enrol
from privacy.signing import Signer
from privacy.states import Total, Update
from privacy.task import AggregationPolicy, BoundedParticipation, Budget, DeviceMechanism, TaskSpec
from simulations.randomness import SeedTree
from tests.support.tasks import make_task

WEIGHTS = np.linspace(-1, 1, 8, dtype=np.float32)
STAGES = tuple(Stage)

Tap = Callable[[bytes], None]


def noiseless_task(max_participations: int = 100, **changes: object) -> TaskSpec:
    """Up to a third of the devices may drop out."""
    sections: dict[str, object] = {
        "mechanism": DeviceMechanism(clip=0.6, noise_multiplier=0),
        "participation": BoundedParticipation(cohort=6, max_participations=max_participations),
        "aggregation": AggregationPolicy(corrupt_share=0.0, dropout_share=0.34, min_survivors=2),
        "budget": Budget(delta=1e-5),
    }
    return make_task(WEIGHTS.size, **{**sections, **changes})


@dataclass
class Tapped:
    """Randomness that shows the test what it gave."""

    source: Randomness
    tap: Tap
    origin: Origin = "seeded"

    def token(self, size: int) -> bytes:
        drawn = self.source.token(size)
        self.tap(drawn)
        return drawn


@dataclass
class Fleet:
    """`size` devices; device i learns `deltas[i]`, unless `trains` says otherwise."""

    size: int = 6
    task: TaskSpec = field(default_factory=noiseless_task)
    trains: Mapping[int, Train] = field(default_factory=dict)
    stores: dict[int, DeviceStore] = field(default_factory=dict)
    tap: Tap = lambda _: None

    def __post_init__(self) -> None:
        self.seed = SeedTree.root(11)
        self.operator = Signer.from_seed(self.seed.child("operator").key())
        self.authority = Signer.from_seed(self.seed.child("authority").key())
        self.deltas = np.random.default_rng(0).normal(0, 0.3, (self.size, WEIGHTS.size)).astype(np.float32)
        for index in range(self.size):
            self.stores.setdefault(index, MemoryStore())
        self.devices = {index: self.device(index) for index in range(self.size)}
        self.failures: dict[tuple[int, Stage], Exception] = {}

    def device(self, index: int) -> Device:
        """Device `index` as it is after a restart: its memory is what its store has."""
        own = self.seed.child("device", index)
        identity = Signer.from_seed(own.child("identity").key())
        return Device(
            identity=identity,
            certificate=enrol(self.authority, self.task.population, identity.public),
            trust=Trust(self.operator.public, self.authority.public),
            store=self.stores[index],
            train=self.trains.get(index, lambda task, weights, rng: Update(self.deltas[index].copy())),  # noqa: ARG005
            randomness_for=lambda stage, request: Tapped(own.child(stage, request).stream(), self.tap),
        )

    def restart(self) -> None:
        self.devices = {index: self.device(index) for index in self.devices}

    def server(self, number: int) -> Server:
        return Server(
            task=self.task,
            operator=self.operator,
            authority_public=self.authority.public,
            round_number=number,
            weights=WEIGHTS,
            devices=range(self.size),
        )

    def run(self, number: int = 1, *, between: Callable[[], None] = lambda: None) -> Total:
        """A whole round; `between` is called before every message."""
        server = self.server(number)
        for stage in STAGES:
            self.exchange(server, stage, between)
        return server.total()

    def run_until(self, last: Stage, number: int = 1) -> Server:
        """A round up to but without `last`."""
        server = self.server(number)
        for stage in STAGES[: STAGES.index(last)]:
            self.exchange(server, stage)
        return server

    def exchange(self, server: Server, stage: Stage, between: Callable[[], None] = lambda: None) -> None:
        """One stage; a device that fails has dropped out."""
        for index, request in server.requests().items():
            between()
            try:
                server.receive(index, self.devices[index].handle(stage, request))
            except Exception as error:
                self.failures[index, stage] = error
        server.advance()

    def expected(self, survivors: list[int]) -> NDArray[np.float64]:
        """The oracle: the plain sum of the clipped updates."""
        deltas = self.deltas[survivors].astype(np.float64)
        norms = np.linalg.norm(deltas, axis=1, keepdims=True)
        return np.asarray((deltas * np.minimum(1, self.task.mechanism.clip / norms)).sum(0), np.float64)
