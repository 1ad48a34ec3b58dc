"""A round on the public state machines, with a server that the test can make lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.secagg import Client, Refused, Rejected, Server, Stage
from privacy.secagg.client import Trust
from privacy.secagg.identity import enrol
from privacy.signing import Signer
from privacy.states import Encoded
from privacy.task import TaskSpec
from simulations.randomness import SeedTree
from tests.support.tasks import make_task

Tamper = Callable[[Stage, int, bytes], bytes | None]


def honest(stage: Stage, device: int, message: bytes) -> bytes:  # noqa: ARG001
    return message


@dataclass
class Federation:
    """n enrolled devices with random inputs, and one round to run over them."""

    devices: int
    task: TaskSpec = field(default_factory=make_task)
    seed: SeedTree = field(default_factory=lambda: SeedTree.root(7))
    number: int = 1

    def __post_init__(self) -> None:
        self.operator = Signer.from_seed(self.seed.child("operator").key())
        self.authority = Signer.from_seed(self.seed.child("authority").key())
        self.trust = Trust(self.operator.public, self.authority.public)
        self.clients = [self.client(device) for device in range(self.devices)]
        self.inputs = [self._input(device) for device in range(self.devices)]
        self.server = self.new_server(range(self.devices))
        self.refusals: dict[int, str] = {}
        self.rejections: dict[int, str] = {}

    def client(self, device: int) -> Client:
        identity = Signer.from_seed(self.seed.child("device", device).key())
        return Client(identity, enrol(self.authority, self.task.population, identity.public), self.trust)

    def new_server(self, devices: Sequence[int]) -> Server:
        return Server(
            task=self.task,
            operator=self.operator,
            authority_public=self.authority.public,
            round_number=self.number,
            weights=np.zeros(self.task.model.dimension, np.float32),
            devices=devices,
        )

    def run(self, *, requests: Tamper = honest, replies: Tamper = honest, until: Stage = Stage.UNMASK) -> None:
        """All stages up to `until`; a tampered message of None is never delivered."""
        for stage in Stage:
            self.exchange(stage, requests, replies)
            self.server.advance()
            if stage is until:
                return

    def exchange(self, stage: Stage, requests: Tamper = honest, replies: Tamper = honest) -> None:
        for device, request in self.server.requests().items():
            delivered = requests(stage, device, request)
            reply = None if delivered is None else self.answer(stage, device, delivered)
            returned = None if reply is None else replies(stage, device, reply)
            if returned is not None:
                self._receive(device, returned)

    def answer(self, stage: Stage, device: int, request: bytes) -> bytes | None:
        try:
            return self.step(stage, device, request)
        except Refused as error:
            self.refusals[device] = str(error)
            return None

    def step(self, stage: Stage, device: int, request: bytes) -> bytes:
        client, rng = self.clients[device], self.seed.child("rng", stage, device).stream()
        match stage:
            case Stage.ADVERTISE:
                return client.advertise(request, self.number - 1, rng)
            case Stage.SHARE:
                return client.share(request, rng)
            case Stage.INPUT:
                client.open_input(request)
                return client.masked_input(Encoded(self.inputs[device]))
            case Stage.ECHO:
                return client.echo(request)
            case Stage.UNMASK:
                return client.unmask(request)

    def expected(self, survivors: Sequence[int]) -> NDArray[np.uint32]:
        """The oracle: a plain sum in Z_{2^32}."""
        return np.sum([self.inputs[device] for device in survivors], axis=0, dtype=np.uint32)

    def _receive(self, device: int, body: bytes) -> None:
        try:
            self.server.receive(device, body)
        except Rejected as error:
            self.rejections[device] = str(error)

    def _input(self, device: int) -> NDArray[np.uint32]:
        raw = self.seed.child("input", device).stream().token(4 * self.task.model.dimension)
        return np.frombuffer(raw, np.uint32)
