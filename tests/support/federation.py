"""A round on the public state machines, with a server that the test can make lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.base.signing import Signer
from privacy.secagg import Client, Refused, Rejected, RoundAuthority, Rounds, Seen, Server, Stage
from privacy.secagg.membership.identity import DevicePolicy, EnrolmentRequest, Revocations, Trust, enrol
from privacy.secagg.primitives.keys import Agreements, DeviceKeys
from privacy.task.states import Encoded
from privacy.task.task import TaskSpec
from simulations.randomness import SeedTree
from tests.support.tasks import make_task, usual_policy

NOW = 1_800_000_000
FOREVER = 4_000_000_000
OPEN_POLICY = DevicePolicy(min_noise_multiplier=0, min_survivors=2, min_corrupt_fraction=0, min_draw_bits=0)
_UNTOLD = make_task()
Tamper = Callable[[Stage, int, bytes], bytes | None]


def honest(stage: Stage, device: int, message: bytes) -> bytes:  # noqa: ARG001
    return message


@dataclass
class Federation:
    """n enrolled devices with random inputs, and one round to run over them."""

    devices: int
    task: TaskSpec = _UNTOLD
    """By default one under which three of ten devices may drop out."""
    seed: SeedTree = field(default_factory=lambda: SeedTree.root(7))
    number: int = 1
    clip: float | None = None
    """Announced by the server; the task's own by default."""
    revoked: frozenset[int] = frozenset()
    policy: DevicePolicy = OPEN_POLICY

    def __post_init__(self) -> None:
        if self.task is _UNTOLD:
            self.task = make_task(aggregation=usual_policy(self.devices))
        self.operator = Signer.from_seed(self.seed.child("operator").key())
        self.authority = Signer.from_seed(self.seed.child("authority").key())
        self.trust = Trust(self.operator.public, self.authority.public, self.policy)
        self.revocations = self.list_revoked(1, self.revoked)
        self.clients = [self.client(device) for device in range(self.devices)]
        self.inputs = [self._input(device) for device in range(self.devices)]
        self.server = self.new_server(range(self.devices))
        self.refusals: dict[int, str] = {}
        self.rejections: dict[int, str] = {}

    def keys(self, device: int) -> DeviceKeys:
        return DeviceKeys.from_seed(self.seed.child("device", device).key())

    def client(self, device: int) -> Client:
        keys = self.keys(device)
        certificate = enrol(self.authority, self.task.population, EnrolmentRequest.by(keys), FOREVER)
        return Client(keys, certificate, self.trust, Agreements(keys.agreement))

    def list_revoked(self, number: int, devices: frozenset[int]) -> Revocations:
        identities = frozenset(self.keys(device).identity.public for device in devices)
        return Revocations.signed(self.authority, self.task.population, number, FOREVER, identities)

    def new_server(self, devices: Sequence[int]) -> Server:
        return Server(
            task=self.task,
            round_authority=RoundAuthority(self.operator, self.authority.public, self.revocations),
            clip=self.task.mechanism.clip if self.clip is None else self.clip,
            round_number=self.number,
            weights=np.zeros(self.task.model.dimension, np.float32),
            devices=devices,
            now=NOW,
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
            delivered = requests(stage, device, request.body)
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
                return client.advertise(request, Seen(Rounds(self.number - 1)), NOW, rng)[0]
            case Stage.SHARE:
                return client.share(request, rng)
            case Stage.INPUT:
                client.open_input(request)
                return client.masked_input(Encoded(self.inputs[device]))
            case Stage.CONSISTENCY:
                return client.check_consistency(request)
            case Stage.UNMASK:
                return client.unmask(request)

    def expected(self, survivors: Sequence[int]) -> NDArray[np.int64]:
        """The oracle: a plain sum."""
        return np.sum([self.inputs[device] for device in survivors], axis=0)

    def _receive(self, device: int, body: bytes) -> None:
        try:
            self.server.receive(device, body)
        except Rejected as error:
            self.rejections[device] = str(error)

    def _input(self, device: int) -> NDArray[np.int64]:
        """As large as this many of them may be without leaving the modulus."""
        raw = self.seed.child("input", device).stream().token(4 * self.task.length)
        largest = (1 << (self.task.aggregation.modulus_bits - 1)) // self.devices
        return np.frombuffer(raw, np.uint32).astype(np.int64) % (2 * largest) - largest
