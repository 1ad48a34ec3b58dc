"""Secure aggregation against Flower's SecAgg+, its own keystream, and the figures it was built to reach.

    python benchmarks/secagg.py                    # a table; about ten minutes
    python benchmarks/secagg.py --json             # one object
    python benchmarks/secagg.py --rows vectors     # one group of rows: vectors, neighbour, noise, large
    python benchmarks/secagg.py --against DIR      # whole rounds against another build of the same benchmark

Whole rounds on the public state machines: every device in a process of its own with the others, the server alone in
this one. CPU seconds on one core. Flower's server is measured on eight of its masks and one secret of each kind, and
extrapolated; its drop-outs and modulus are ours. `ratio` is ours over the peer's: below 1 is better. Devices check
every certificate and signature anew, except where a row says warm: there certificates and static agreements are known
from an earlier round. The cost of a neighbour is the difference between 100 and 50 devices; its handshake is all that
comes before the consistency check, and what it adds to that check all from there on. Memory is Linux's count of the
peak.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from flower_secagg import device_seconds, masks_to_remove, server_seconds
from keystream_floor import keystream_seconds
from measure import Measure, Row, compare, cpu, run_chosen
from processes import most_resident, resident_from_now_on

from privacy.base.canonical import sha256
from privacy.base.randomness import SystemRandomness
from privacy.base.signing import Signer
from privacy.mechanism import discrete_gaussian as dgauss
from privacy.secagg import Client, RoundAuthority, Seen, Server, Stage
from privacy.secagg.cohort import admit
from privacy.secagg.membership.identity import DevicePolicy, EnrolmentRequest, Revocations, Trust, enrol, verify_once
from privacy.secagg.membership.params import parameters
from privacy.secagg.messages import Roster
from privacy.secagg.primitives.keys import Agreements, DeviceKeys
from privacy.secagg.primitives.masking import add_masks, word_count, word_type
from privacy.secagg.server import shard
from privacy.task.states import Encoded
from privacy.task.task import (
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    FeatureSpec,
    InitialModel,
    LocalTraining,
    ModelSpec,
    ParameterSpec,
    ServerOptimiser,
    TaskSpec,
    open_task,
)

NOW, FOREVER = 1, 2**40
OPERATOR, AUTHORITY = Signer.from_seed(b"operator".ljust(32)), Signer.from_seed(b"authority".ljust(32))
MEGABYTE = 1 << 20
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Setting:
    """One round to measure; every tenth device sends no input."""

    devices: int
    dimension: int
    bits: int

    @property
    def dropouts(self) -> int:
        return self.devices // 10

    @property
    def name(self) -> str:
        return f"n={self.devices} d={self.dimension:.0e} {self.bits} bits"

    @property
    def quorum(self) -> int:
        """Signatures of the survivor set that a device verifies."""
        return parameters(self.devices, self.task.aggregation).quorum

    @property
    def task(self) -> TaskSpec:
        return TaskSpec(
            name="benchmark",
            population="benchmark",
            model=ModelSpec(architecture="none", parameters=(ParameterSpec(name="w", shape=(self.dimension,)),)),
            initial=InitialModel(digest=sha256(bytes(4 * self.dimension)).hex()),
            features=FeatureSpec(),
            training=LocalTraining(
                steps=1, sampling_rate=1.0, expected_batch=8.0, learning_rate=1.0, message_clip=1.0, message_noise=0.0
            ),
            mechanism=DeviceMechanism(clip=1.0, noise_multiplier=1.0),
            optimiser=ServerOptimiser(learning_rate=1.0, momentum=0.9),
            participation=BoundedParticipation(cohort=self.devices, max_participations=10),
            aggregation=AggregationPolicy(
                max_dropouts=self.devices // 10, min_survivors=self.devices // 2, modulus_bits=self.bits
            ),
            budget=Budget(delta=1e-6),
            rounds=10,
        )


DEFAULT_MODEL, LARGEST_COHORT = Setting(100, 16_385, 16), Setting(1_000, 2_000, 16)


@dataclass
class Spent:
    """CPU seconds and bytes of one round."""

    device: float = 0.0
    """Median over the survivors of the whole round, encoding of the update excluded."""
    handshake: float = 0.0
    """Median over the survivors of what comes before the consistency check."""
    server: float = 0.0
    unmask: float = 0.0
    masks: int = 0
    agreements: int = 0
    upload: int = 0
    """Bytes that a device sends in all stages but the masked vector."""
    vector: int = 0
    growth: int = 0
    """Bytes by which the server's memory grew at its peak."""


@dataclass
class Cohort:
    """Every device of a round, in the process of the caller."""

    setting: Setting
    warm: bool
    clients: list[Client] = field(default_factory=list)
    seconds: defaultdict[Stage, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        policy = DevicePolicy(min_noise_multiplier=0, min_survivors=2, min_corrupt_fraction=0, min_draw_bits=0)
        trust = Trust(OPERATOR.public, AUTHORITY.public, policy)
        for _ in range(self.setting.devices):
            keys = DeviceKeys.from_seed(os.urandom(32))
            certificate = enrol(AUTHORITY, "benchmark", EnrolmentRequest.by(keys), FOREVER)
            self.clients.append(Client(keys, certificate, trust, Agreements(keys.agreement)))
        if self.warm:
            self._meet()

    def answer(self, stage: Stage, device: int, request: bytes) -> bytes:
        # What one device has checked, another has not.
        Roster.decode.cache_clear()
        admit.cache_clear()
        if not self.warm:
            open_task.cache_clear()
        if not self.warm or stage is Stage.UNMASK:  # when no certificate is looked at any more
            verify_once.cache_clear()
        spent, reply = cpu(lambda: self._reply(stage, self.clients[device], request))
        self.seconds[stage][device] = spent
        return reply

    def _reply(self, stage: Stage, client: Client, request: bytes) -> bytes:
        match stage:
            case Stage.ADVERTISE:
                return client.advertise(request, Seen(), NOW, SystemRandomness())[0]
            case Stage.SHARE:
                return client.share(request, SystemRandomness())
            case Stage.INPUT:
                client.open_input(request)
                return client.masked_input(Encoded(np.zeros(self.setting.dimension, np.int64)))
            case Stage.CONSISTENCY:
                return client.check_consistency(request)
            case Stage.UNMASK:
                return client.unmask(request)

    def _meet(self) -> None:
        """Do what an earlier round with the same devices leaves behind: agree on secrets, and verify certificates."""
        for client in self.clients:
            for other in self.clients:
                if client is not other:
                    client._agreements.shared_secret(other._certificate.agreement)
            client._certificate.check("benchmark", AUTHORITY.public, NOW)


def measure_round(setting: Setting, *, warm: bool = False) -> Spent:
    """One whole round; the sum is checked."""
    spent = Spent()
    with _cohort_elsewhere(setting, warm) as cohort:
        nobody = Revocations.signed(AUTHORITY, "benchmark", 1, FOREVER, frozenset())
        round_authority, weights = (
            RoundAuthority(OPERATOR, AUTHORITY.public, nobody),
            np.zeros(setting.dimension, np.float32),
        )
        before = resident_from_now_on()
        spent.server, server = cpu(
            lambda: Server(
                task=setting.task, round_authority=round_authority, round_number=1, weights=weights,
                clip=setting.task.mechanism.clip, devices=range(setting.devices), now=NOW,
            )
        )  # fmt: skip
        for stage in Stage:
            _exchange(server, stage, cohort, spent)
        cohort.send(None)
        seconds: dict[Stage, dict[int, float]] = cohort.recv()
    _unmask(server, spent)
    spent.growth = most_resident() - before
    survivors = seconds[Stage.UNMASK]
    spent.device = statistics.median(sum(seconds[stage][device] for stage in Stage) for device in survivors)
    handshake = [Stage.ADVERTISE, Stage.SHARE, Stage.INPUT]
    spent.handshake = statistics.median(sum(seconds[stage][device] for stage in handshake) for device in survivors)
    return spent


def _exchange(server: Server, stage: Stage, cohort: Connection, spent: Spent) -> None:
    seconds, requests = cpu(server.requests)
    spent.server += seconds
    sent = []
    for member, request in requests.items():
        if stage is Stage.INPUT and member % 10 == 0:
            continue
        cohort.send((stage, member, request))
        reply = cohort.recv()
        seconds, _ = cpu(lambda member=member, reply=reply: server.receive(member, reply))  # type: ignore[misc]
        spent.server += seconds
        sent.append(len(reply))
    if stage is Stage.INPUT:
        spent.vector = int(statistics.median(sent))
    else:
        spent.upload += int(statistics.median(sent))
    seconds, _ = cpu(server.advance)
    spent.server += seconds


def _unmask(server: Server, spent: Spent) -> None:
    with patch.object(shard, "add_masks", wraps=add_masks) as added:
        spent.unmask, totals = cpu(server.totals)
    spent.server += spent.unmask
    if totals[0].sums.any():
        raise RuntimeError("the sum of zeros is not zero")
    _, plus, minus = added.call_args.args
    spent.masks = len(plus) + len(minus)
    spent.agreements = spent.masks - totals[0].survivors  # every other mask is one between two devices


@contextmanager
def _cohort_elsewhere(setting: Setting, warm: bool) -> Iterator[Connection]:
    """Put the devices in a process of their own, so that the server's memory is its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(theirs, setting, warm), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def _serve(connection: Connection, setting: Setting, warm: bool) -> None:
    cohort = Cohort(setting, warm)
    while (message := connection.recv()) is not None:
        stage, device, request = message
        connection.send(cohort.answer(stage, device, request.body))
    connection.send({stage: dict(seconds) for stage, seconds in cohort.seconds.items()})


def masking_seconds(setting: Setting) -> float:
    words = np.zeros(word_count(setting.bits, setting.dimension), word_type(setting.bits))
    seeds = [os.urandom(48) for _ in range(setting.devices)]
    return cpu(lambda: add_masks(words, seeds[::2], seeds[1::2]))[0]


def vector_bytes(setting: Setting) -> int:
    return word_count(setting.bits, setting.dimension) * word_type(setting.bits).itemsize


def agreement_seconds(count: int) -> float:
    """CPU seconds of so many X25519 agreements, nothing else."""
    key, other = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    return cpu(lambda: [key.exchange(other) for _ in range(count)])[0]


def verification_seconds(count: int) -> float:
    """CPU seconds to verify so many Ed25519 signatures, nothing else."""
    key, message = Ed25519PrivateKey.generate(), bytes(32)
    public, signature = key.public_key(), key.sign(message)
    return cpu(lambda: [public.verify(signature, message) for _ in range(count)])[0]


def noise_seconds(sigma: int, size: int = 1_000_000) -> float:
    rng = SystemRandomness()
    dgauss.sample(sigma**2, 1, rng)  # computes the table
    return cpu(lambda: dgauss.sample(sigma**2, size, rng))[0] / size


def against_flower(setting: Setting, runs: int) -> list[Row]:
    ours = [measure_round(setting) for _ in range(runs)]
    sizes = {"clients": setting.devices, "dimension": setting.dimension, "bits": setting.bits}
    devices = [device_seconds(**sizes) for _ in range(runs)]
    servers = [server_seconds(**sizes, dropouts=setting.dropouts, masks_measured=8) for _ in range(runs)]
    masks = masks_to_remove(clients=setting.devices, dropouts=setting.dropouts)
    floors = [keystream_seconds(spent.masks * vector_bytes(setting)) for spent in ours]
    with_keys = [floor + agreement_seconds(spent.agreements) for floor, spent in zip(floors, ours, strict=True)]
    device, server, unmask = zip(*((spent.device, spent.server, spent.unmask) for spent in ours), strict=True)
    name, extrapolated = setting.name, f"Flower SecAgg+ (8 of {masks} masks measured)"
    return [
        compare(f"device, {name}", device, devices, against="Flower SecAgg+"),
        compare(f"server, {name}", server, servers, against=extrapolated),
        compare(f"unmasking, {name}", unmask, floors, against="AES-256-CTR alone"),
        compare(f"unmasking, {name}", unmask, with_keys, against="AES-256-CTR and X25519 alone"),
    ]


def large(setting: Setting, target: float | None) -> list[Row]:
    # In a fresh process: the memory that earlier rounds took would hide this one's.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        spent = fresh.submit(measure_round, setting).result()
    floor = keystream_seconds(spent.masks * vector_bytes(setting))
    rows = [compare(f"unmasking, {setting.name}", [spent.unmask], [floor], against="AES-256-CTR alone")]
    masks = keystream_seconds(setting.devices * vector_bytes(setting))
    rows.append(compare(f"device, {setting.name}", [spent.device], [masks], against="AES-256-CTR of a complete graph"))
    rows.append(compare(f"server, {setting.name}", [spent.server], [target or floor], against=_goal(target)))
    growth, vectors = spent.growth / MEGABYTE, 64.0 if target else 10 * vector_bytes(setting) / MEGABYTE
    against = "the goal" if target else "ten masked vectors"
    rows.append(compare(f"server's memory, {setting.name}", [growth], [vectors], against=against, unit="MiB"))
    return rows


def _goal(target: float | None) -> str:
    return "the goal" if target else "AES-256-CTR alone"


def per_neighbour(runs: int) -> list[Row]:
    """What one more device in the cohort costs each of the others."""
    fifty, hundred = Setting(50, 64, 16), Setting(100, 64, 16)
    pairs = [(measure_round(fifty, warm=True), measure_round(hundred, warm=True)) for _ in range(runs)]
    micro = [(more.handshake - less.handshake) / 50 * 1e6 for less, more in pairs]
    whole = [(more.device - less.device) / 50 * 1e6 for less, more in pairs]
    sent = [(more.upload - less.upload) / 50 for less, more in pairs]
    floors = [agreement_seconds(1_000) * 1e3 for _ in range(runs)]
    quorums = [Setting(size, 64, 16).quorum for size in (50, 100)]
    verified = [(quorums[1] - quorums[0]) / 50 * verification_seconds(1_000) * 1e3 for _ in range(runs)]
    checks = [all_stages - handshake for all_stages, handshake in zip(whole, micro, strict=True)]
    return [
        compare("handshake a neighbour, warm", micro, [60.0] * runs, against="the goal", unit="us"),
        compare("handshake a neighbour, warm", micro, floors, against="one X25519 agreement", unit="us"),
        compare("consistency a neighbour, warm", checks, verified, against="Ed25519 of a quorum alone", unit="us"),
        compare("upload a neighbour", sent, [160.0] * runs, against="the goal", unit="B"),
    ]


def whole_vectors(runs: int) -> list[Row]:
    """A million coordinates: rounds against Flower's, and masks against their keystream."""
    rows: list[Row] = []
    for setting in (Setting(100, 1_000_000, 16), Setting(100, 1_000_000, 32)):
        rows += against_flower(setting, runs)
        masks, floors = [], []
        for _ in range(runs):
            masks.append(masking_seconds(setting))
            floors.append(keystream_seconds(setting.devices * vector_bytes(setting)))
        rows.append(compare(f"masking, {setting.name}", masks, floors, against="AES-256-CTR alone"))
    wide = Setting(100, 1_000_000, 16)
    exact = [wide.bits * wide.dimension / 8]
    return [*rows, compare("masked vector", [vector_bytes(wide)], exact, against="bits x d", unit="B")]


def noise(runs: int) -> list[Row]:
    """What a sample of discrete Gaussian noise costs."""
    rows = []
    for sigma in (10, 1_000):
        nano = [noise_seconds(sigma) * 1e9 for _ in range(runs)]
        rows.append(compare(f"noise, sigma {sigma}", nano, [10.0] * runs, against="the goal", unit="ns"))
    return rows


def largest(_: int) -> list[Row]:
    """The largest cohort and a vector of ten million coordinates, once each."""
    return large(Setting(1_000, 1_000_000, 16), 6.0) + large(Setting(100, 10_000_000, 16), None)


def against_build(checkout: Path, runs: int) -> list[Row]:
    """Whole rounds of the default model and of the largest cohort, in turn here and by a checkout's own benchmark."""
    rows: list[Row] = []
    against = f"the build in {checkout}"
    for setting, figures in ((DEFAULT_MODEL, ("device", "server", "upload")), (LARGEST_COHORT, ("device",))):
        pairs = [(_round_of(ROOT, setting), _round_of(checkout, setting)) for _ in range(runs)]
        for figure in figures:
            ours, theirs = ([spent[figure] for spent in side] for side in zip(*pairs, strict=True))
            name, unit = ("handshake bytes", "B") if figure == "upload" else (figure, "s")
            rows.append(compare(f"{name}, {setting.name}", ours, theirs, against=against, unit=unit))
    return rows


def _round_of(checkout: Path, setting: Setting) -> dict[str, float]:
    """Return what a round spends in a fresh process that has nothing but the build in a checkout."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), str(checkout / "benchmarks")])}
    command = [sys.executable, "-c", _ONE_ROUND, *map(str, (setting.devices, setting.dimension, setting.bits))]
    done = subprocess.run(command, env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE)  # noqa: S603
    spent: dict[str, float] = json.loads(done.stdout)
    return spent


_ONE_ROUND = """
import dataclasses, json, sys
import secagg

if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(secagg.measure_round(secagg.Setting(*map(int, sys.argv[1:]))))))
"""

GROUPS: dict[str, Measure] = {"vectors": whole_vectors, "neighbour": per_neighbour, "noise": noise, "large": largest}

if __name__ == "__main__":
    run_chosen(__doc__ or "", GROUPS, default=list(GROUPS), against_build=against_build)
