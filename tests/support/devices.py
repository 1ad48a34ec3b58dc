"""A few devices of one population, and rounds over them, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_client.device.device import Device, Train
from fl_client.device.store import DeviceStore
from privacy.base.randomness import Origin, Randomness
from privacy.base.signing import Signer
from privacy.mechanism.mechanism import Mechanism
from privacy.secagg import RoundAuthority, Server, Stage
from privacy.secagg.membership.identity import Certificate, DevicePolicy, EnrolmentRequest, Revocations, Trust, enrol
from privacy.secagg.primitives.keys import DeviceKeys
from privacy.task.states import Total, Update
from privacy.task.task import AggregationPolicy, BoundedParticipation, Budget, DeviceMechanism, TaskSpec
from simulations.randomness import SeedTree
from tests.support.stores import MemoryDeviceStore
from tests.support.tasks import make_task

WEIGHTS = np.zeros(8, np.float32)
STAGES = tuple(Stage)
NOW = 1_800_000_000
LATER = NOW + 1_000_000
ANY_TASK = DevicePolicy(min_noise_multiplier=0, min_survivors=2, min_corrupt_fraction=0, min_draw_bits=0)

Tap = Callable[[bytes], None]


def noiseless_task(max_participations: int = 100, **changes: object) -> TaskSpec:
    """Up to a third of the devices may drop out."""
    sections: dict[str, object] = {
        "mechanism": DeviceMechanism(clip=0.6, noise_multiplier=0),
        "participation": BoundedParticipation(cohort=6, max_participations=max_participations),
        "aggregation": AggregationPolicy(corrupt_fraction=0.0, max_dropouts=2, min_survivors=3, modulus_bits=32),
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
    """`size` devices; device i learns `deltas[i]`, unless `trains` says otherwise. Revocation lists can be replaced."""

    size: int = 6
    task: TaskSpec = field(default_factory=noiseless_task)
    trains: Mapping[int, Train] = field(default_factory=dict)
    stores: dict[int, DeviceStore] = field(default_factory=dict)
    tap: Tap = lambda _: None
    policy: DevicePolicy = ANY_TASK

    def __post_init__(self) -> None:
        self.seed = SeedTree.root(11)
        self.operator = Signer.from_seed(self.seed.child("operator").key())
        self.authority = Signer.from_seed(self.seed.child("authority").key())
        self.revocations = self.list_revoked(1)
        self.deltas = np.random.default_rng(0).normal(0, 0.3, (self.size, WEIGHTS.size)).astype(np.float32)
        for index in range(self.size):
            self.stores.setdefault(index, MemoryDeviceStore())
        self.devices = {index: self.device(index) for index in range(self.size)}
        self.failures: dict[tuple[int, Stage], Exception] = {}

    def device(self, index: int) -> Device:
        """Device `index` as it is after a restart: its memory is what its store has."""
        own = self.seed.child("device", index)
        return Device(
            keys=self.keys(index),
            certificate=self.certificate(index),
            trust=Trust(self.operator.public, self.authority.public, self.policy),
            store=self.stores[index],
            train=self.trains.get(index, lambda task, weights, rng: Update(self.deltas[index].copy())),  # noqa: ARG005
            randomness_for=lambda stage, request: Tapped(own.child(stage, request).stream(), self.tap),
            clock=lambda: NOW,
        )

    def keys(self, index: int) -> DeviceKeys:
        return DeviceKeys.from_seed(self.seed.child("device", index, "identity").key())

    def certificate(self, index: int) -> Certificate:
        return enrol(self.authority, self.task.population, EnrolmentRequest.by(self.keys(index)), LATER)

    def list_revoked(self, number: int, *indices: int) -> Revocations:
        revoked = frozenset(self.keys(index).identity.public for index in indices)
        return Revocations.signed(self.authority, self.task.population, number, LATER, revoked)

    def restart(self) -> None:
        self.devices = {index: self.device(index) for index in self.devices}

    def server(self, number: int) -> Server:
        return Server(
            task=self.task,
            round_authority=self.round_authority,
            clip=self.task.mechanism.clip,
            round_number=number,
            weights=WEIGHTS,
            devices=range(self.size),
            now=NOW,
        )

    @property
    def round_authority(self) -> RoundAuthority:
        return RoundAuthority(self.operator, self.authority.public, self.revocations)

    def shard(self, shard: int, number: int = 1) -> list[int]:
        """The devices whose lots put them there in round `number`."""
        header, shards = self.server(number).header, self.task.aggregation.shards
        return [device for device in self.devices if header.shard_of(self.certificate(device), shards) == shard]

    def run(self, number: int = 1, *, between: Callable[[], None] = lambda: None) -> Total:
        """A whole round of one shard; `between` is called before every message."""
        server = self.server(number)
        for stage in STAGES:
            self.exchange(server, stage, between)
        [total] = server.totals()
        return total

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
                server.receive(index, self.devices[index].handle(stage, request.body))
            except Exception as error:
                self.failures[index, stage] = error
        server.advance()

    def decoded(self, total: Total) -> NDArray[np.float64]:
        return Mechanism.for_cohort(self.task, total.cohort).decode(total)

    def rounding(self, total: Total) -> float:
        """How far from the plain sum a coordinate may be: each survivor rounds each of `length` rotated ones."""
        scale = Mechanism.for_cohort(self.task, total.cohort).scale
        return float(total.survivors * np.sqrt(self.task.length) / scale)

    def expected(self, survivors: list[int]) -> NDArray[np.float64]:
        """The oracle: the plain sum of the clipped updates."""
        deltas = self.deltas[survivors].astype(np.float64)
        norms = np.linalg.norm(deltas, axis=1, keepdims=True)
        return np.asarray((deltas * np.minimum(1, self.task.mechanism.clip / norms)).sum(0), np.float64)
