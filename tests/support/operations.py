"""A whole federation in this process, driven by operations: what a list of them leaves behind is checked after each.

Devices, protocol, coordinator, ledger and files are the real ones. Training is a known update, and what the mechanism
makes of it is overheard, so that every sum has an oracle.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from fl_client.device.device import Device
from fl_client.device.memory import TaskRecord
from fl_client.device.store import STORE_KEY_BYTES, FileStore
from fl_server.ledger_store import SqliteLedgerStore
from fl_server.training.begun import BegunFile
from fl_server.training.checkpoint import CheckpointFile, RecordLog
from fl_server.training.coordinator import INTERRUPTED, Coordinator, Ended, RoundReport
from fl_server.training.round import Round, RoundFacts, RoundOutcome, SecureRounds
from fl_server.training.transport import NodeId, Reply
from privacy.base.randomness import Randomness
from privacy.base.signing import Signer
from privacy.ledger.entries import Charged, Entry, LedgerState
from privacy.ledger.ledger import Ledger, Receipt, SignedHead, replay
from privacy.mechanism.mechanism import Mechanism
from privacy.secagg import Request, RoundAuthority, Stage
from privacy.secagg.membership.identity import DevicePolicy, EnrolmentRequest, Revocations, Trust, enrol
from privacy.secagg.membership.params import ParameterError, parameters
from privacy.secagg.primitives.keys import DeviceKeys
from privacy.secagg.server.blame import Blame
from privacy.secagg.server.record import RoundRecord
from privacy.task.states import Encoded, Update
from privacy.task.task import AggregationPolicy, BoundedParticipation, Budget, DeviceMechanism, TaskSpec
from privacy.verification.evidence import read_ledger
from privacy.verification.record_check import Evidence, check_log
from simulations.randomness import SeedTree
from strategies.fedavg import FedAvgM, ModelState
from tests.support.tasks import make_task

DIMENSION = 4
NOW, LATER = 1_800_000_000, 1_900_000_000
STORE_KEY = b"\x07" * STORE_KEY_BYTES


class Crash(BaseException):
    """The death of a process; nothing that catches errors may catch it."""


class Fault(StrEnum):
    """What can happen between the server and one device in one stage."""

    DROP = "the request never comes"
    LOSE = "the answer is lost"
    LATE = "the answer comes in the next stage"
    RESTART_BEFORE = "the device restarts before the request"
    RESTART_AFTER = "the device restarts after its answer"
    DIE = "the device dies while it trains, or once it has answered"
    REPLAY_REQUEST = "the request comes twice"
    REPLAY_ANSWER = "the answer comes twice"


_SECRET = frozenset({Stage.SHARE, Stage.INPUT})
"""The stages before which a device's own secrets of the round are in its process alone."""


def harmless(fault: Fault, stage: Stage) -> bool:
    """Whether nobody is lost by a fault in this stage."""
    match fault:
        case Fault.REPLAY_REQUEST | Fault.REPLAY_ANSWER:
            return True
        case Fault.RESTART_BEFORE:
            return stage not in _SECRET
        case Fault.RESTART_AFTER:
            return stage not in {Stage.ADVERTISE, Stage.SHARE}
    return False


Faults = Mapping[tuple[Stage, int], Fault]
"""By stage and the how manyth device that is asked in it."""


@dataclass
class Member:
    """A device, and what it really did.

    Attributes:
        invited: by task, the rounds in which it answered an invitation.
        took_part: by task, the rounds in which it gave an answer with an update in it.
        last: the request that its process answered last, which it answers again alike.
        dies: when it comes to train.
    """

    number: NodeId
    device: Device
    store: FileStore
    identity: bytes
    invited: dict[str, set[int]] = field(default_factory=dict)
    took_part: dict[str, list[int]] = field(default_factory=dict)
    last: bytes = b""
    dies: bool = False


@dataclass
class Training:
    """One task and what its server keeps."""

    task: TaskSpec
    checkpoints: CheckpointFile
    begun: BegunFile
    log: Path
    records: RecordLog


@dataclass
class KeptRound:
    """Remembers what came of a round."""

    inner: Round
    outcome: RoundOutcome | None = None

    @property
    def receipt(self) -> Receipt | None:
        return self.inner.receipt

    def run(self, charge: Callable[[str], Receipt]) -> RoundOutcome:
        self.outcome = self.inner.run(charge)
        return self.outcome

    def facts(self) -> RoundFacts:
        return self.inner.facts()

    def blame(self) -> Blame:
        return self.inner.blame()

    def record(self, previous: str, reachable: int, epsilon: float, aborted: str) -> RoundRecord:
        return self.inner.record(previous, reachable, epsilon, aborted)


@dataclass
class KeptRounds:
    """Remembers the round that was begun last."""

    inner: SecureRounds
    last: KeptRound | None = None

    def nodes(self, moment: int) -> Sequence[NodeId]:
        return self.inner.nodes(moment)

    def wait(self) -> None:
        self.inner.wait()

    def unheld(self, number: int, state: ModelState, *, previous: str, epsilon: float, aborted: str) -> RoundRecord:
        return self.inner.unheld(number, state, previous=previous, epsilon=epsilon, aborted=aborted)

    def begin(self, number: int, state: ModelState, cohort: Sequence[NodeId], excluded: frozenset[bytes]) -> KeptRound:
        self.last = KeptRound(self.inner.begin(number, state, cohort, excluded))
        return self.last


@dataclass
class Attempt:
    """A round as the test sees it, from outside."""

    task: TaskSpec
    charges_before: int
    faults: Faults
    dies: tuple[Stage, bool] | None
    """The server: at the beginning of that stage, or at its end."""
    inputs: dict[NodeId, NDArray[np.int64]] = field(default_factory=dict)
    willing: set[NodeId] = field(default_factory=set)
    """Whom nothing forbids to take part."""
    in_time: set[NodeId] = field(default_factory=set)
    """Who is in the sum, if there is one."""
    late: list[Reply] = field(default_factory=list)
    met: list[tuple[Fault, Stage]] = field(default_factory=list)
    unmasking: bool = False
    ended: Ended | None = None
    reports: list[RoundReport] = field(default_factory=list)

    def round_waits(self, number: int, reason: str) -> None:
        raise AssertionError(f"round {number} waits: {reason}")

    def round_ended(self, report: RoundReport, state: ModelState) -> None:  # noqa: ARG002
        """What became of the round; that an earlier one was cut off is told first."""
        if report.aborted != INTERRUPTED:
            self.reports.append(report)

    def extra_state(self) -> dict[str, NDArray[np.int64]]:
        return {}


class World:
    """Authority, operator, ledger, tasks and devices of one population.

    Args:
        directory: of the server and of all devices.
        budget: of the population; limited only where tasks have noise.
        lifetime: rounds that every device allows itself over all tasks.
    """

    def __init__(self, directory: Path, budget: Budget, lifetime: int) -> None:
        self.seed, self.directory, self.budget = SeedTree.root(5), directory, budget
        self.policy = DevicePolicy(
            min_noise_multiplier=0,
            min_survivors=2,
            min_corrupt_fraction=0,
            min_draw_bits=0,
            max_lifetime_participations=lifetime,
        )
        self.operator = Signer.from_seed(self.seed.child("operator").key())
        self.authority = Signer.from_seed(self.seed.child("authority").key())
        self.population = "machine"
        self.revoked: frozenset[bytes] = frozenset()
        self.revocations = self._list(1)
        self.members: dict[NodeId, Member] = {}
        self.trainings: list[Training] = []
        self.attempt: Attempt | None = None
        self.rounds: KeptRounds | None = None
        self.trains: NodeId | None = None
        self.entries: list[bytes] = []
        self.ledger = self._open_ledger()

    # Operations.

    def join(self) -> None:
        number = len(self.members)
        keys = DeviceKeys.from_seed(self.seed.child("device", number).key())
        store = FileStore.create(self.directory / f"memory-{number}", STORE_KEY)
        self.members[number] = Member(number, self._device(number, store), store, keys.identity.public)

    def restart_device(self, number: NodeId) -> None:
        """It is what its store says it is."""
        member = self.members[number]
        member.device, member.last = self._device(number, member.store), b""

    def revoke(self, number: NodeId) -> None:
        self.revoked |= {self.members[number].identity}
        self.revocations = self._list(self.revocations.number + 1)

    def new_task(self, cohort: int, most: int, separation: int) -> None:
        noise = 2.0 if self.budget.limited else 0.0
        task = make_task(
            DIMENSION,
            name=f"task {len(self.trainings)}",
            population=self.population,
            mechanism=DeviceMechanism(clip=0.5, noise_multiplier=noise),
            participation=BoundedParticipation(cohort=cohort, max_participations=most, min_separation=separation),
            aggregation=AggregationPolicy(corrupt_fraction=0.0, max_dropouts=1, min_survivors=2, modulus_bits=32),
            budget=self.budget,
            rounds=30,
        )
        self.trainings.append(self._training(len(self.trainings), task))

    def restart_server(self) -> None:
        self.ledger = self._open_ledger()
        self.trainings = [self._training(at, one.task) for at, one in enumerate(self.trainings)]

    def run_round(self, which: int, faults: Faults, dies: tuple[Stage, bool] | None = None) -> None:
        """One round of one task; the server that died in it is started again."""
        training = self.trainings[which]
        self.attempt = attempt = Attempt(training.task, len(self.charges()), faults, dies)
        secure = SecureRounds(training.task, self._round_authority, self, lambda: NOW, stage_timeout=1.0)
        self.rounds = KeptRounds(secure)
        coordinator = Coordinator(
            task=training.task,
            rounds=self.rounds,
            ledger=self.ledger,
            strategy=FedAvgM(1.0, 0.5, training.task.participation.expected_cohort),
            checkpoints=training.checkpoints,
            begun=training.begun,
            records=training.records,
            randomness_for=lambda number: self.seed.child("cohort", training.task.id, number).stream(),
            noise_for=lambda number: self.seed.child("noise", number).stream(),
            callbacks=attempt,
        )
        try:
            attempt.ended = coordinator.run(np.zeros(DIMENSION, np.float32), lambda: bool(attempt.reports)).ended
        except Crash:
            self.restart_server()
        self._check_attempt(attempt)

    # `fl_server.training.transport.Transport`.

    def nodes(self) -> Sequence[NodeId]:
        return sorted(self.members)

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:  # noqa: ARG002
        attempt, at = self.attempt, Stage(stage)
        assert attempt is not None
        if at is Stage.UNMASK:
            attempt.unmasking = True
            assert len(self.charges()) == attempt.charges_before + 1, "asked to unmask what is not charged"
        if attempt.dies == (at, False):
            raise Crash
        if at is Stage.ADVERTISE:
            seen = [node for node in requests if self._number() in self.members[node].invited.get(attempt.task.id, ())]
            assert not seen, "a number that devices have seen was used again"
            attempt.willing = {
                node
                for node, request in requests.items()
                if self._may_take_part(self.members[node], attempt.task, request.body)
            }
        yield from attempt.late
        attempt.late = []
        for place, (node, request) in enumerate(requests.items()):
            yield from self._one(attempt, at, self.members[node], request, attempt.faults.get((at, place)))
        if attempt.dies == (at, True):
            raise Crash

    def _one(
        self, attempt: Attempt, stage: Stage, member: Member, request: Request, fault: Fault | None
    ) -> Iterator[Reply]:
        attempt.met += [(fault, stage)] if fault else []
        if fault is Fault.DROP:
            return
        if fault is Fault.RESTART_BEFORE:
            self.restart_device(member.number)
        member.dies = fault is Fault.DIE
        reply = self._answer(attempt, stage, member, request)
        member.dies = False
        if fault is Fault.REPLAY_REQUEST:
            second = self._answer(attempt, stage, member, request)
            assert second is None or second.body is None or second == reply, "answered the same request otherwise"
        if fault in {Fault.RESTART_AFTER, Fault.DIE}:
            self.restart_device(member.number)
        if reply is None or fault in {Fault.LOSE, Fault.DIE}:
            return
        if fault is Fault.LATE:
            attempt.late.append(reply)
            return
        if stage is Stage.INPUT and reply.body is not None:
            attempt.in_time.add(member.number)
        yield reply
        if fault is Fault.REPLAY_ANSWER:
            yield reply

    def _answer(self, attempt: Attempt, stage: Stage, member: Member, request: Request) -> Reply | None:
        self.trains = member.number
        try:
            body = member.device.handle(stage, request.body)
        except Crash:
            return None
        except Exception as error:
            return Reply(member.number, None, str(error))
        member.last = request.body
        if stage is Stage.ADVERTISE:
            member.invited.setdefault(attempt.task.id, set()).add(self._number())
        rounds = member.took_part.setdefault(attempt.task.id, [])
        if stage is Stage.INPUT and self._number() not in rounds:
            rounds.append(self._number())
        return Reply(member.number, body)

    # What must hold.

    def overhear(self, encoded: Encoded) -> None:
        """What the mechanism has made of an update on the device that is training."""
        assert self.attempt is not None
        assert self.trains is not None
        assert self.trains not in self.attempt.inputs, "trained twice in one round"
        self.attempt.inputs[self.trains] = encoded.integers.copy()

    def charges(self) -> list[Charged]:
        """All in the ledger's file, read as a reviewer reads it."""
        bodies = [Entry.model_validate_json(raw).body for raw in read_ledger(self.directory / "ledger.db")[0]]
        return [body for body in bodies if isinstance(body, Charged)]

    def check(self) -> None:
        """After every operation."""
        state = self._check_ledger()
        for training in self.trainings:
            self._check_log(training, state)
        for member in self.members.values():
            self._check_limits(member)

    def _check_attempt(self, attempt: Attempt) -> None:
        """A charge for what could be known, none otherwise; of what is known, the exact sum."""
        charged = len(self.charges()) - attempt.charges_before
        assert charged == attempt.unmasking, f"{charged} charges for a round that unmasked: {attempt.unmasking}"
        kept = self.rounds.last if self.rounds else None
        if attempt.dies is None and kept is not None and all(itertools.starmap(harmless, attempt.met)):
            self._check_completes(attempt)
        if kept is None or kept.outcome is None:
            return
        [total], [shard] = kept.outcome.totals, kept.inner.server.shards.values()
        identities = {shard.cohort.adverts[place].identity for place in shard.survivors.places}
        assert identities == {self.members[node].identity for node in attempt.in_time}
        assert not identities & self.revoked, "a revoked device is in the sum"
        assert total.survivors == len(attempt.in_time)
        inputs = [attempt.inputs[node] for node in sorted(attempt.in_time)]
        np.testing.assert_array_equal(total.sums, np.sum(inputs, axis=0))
        if attempt.task.mechanism.noise_multiplier == 0:
            mechanism = Mechanism.for_cohort(attempt.task, total.cohort)
            plain = np.sum([_clipped(_update(node), 0.5) for node in attempt.in_time], axis=0)
            rounding = total.survivors * np.sqrt(DIMENSION) / mechanism.scale
            np.testing.assert_allclose(mechanism.decode(total), plain, atol=rounding)

    def _check_completes(self, attempt: Attempt) -> None:
        """Where nothing goes wrong, nobody is lost."""
        try:
            parameters(len(attempt.willing), attempt.task.aggregation)
        except ParameterError:
            assert not attempt.unmasking
            return
        if attempt.ended is Ended.BUDGET_EXHAUSTED:
            assert attempt.task.budget.limited
            return
        assert attempt.in_time == attempt.willing
        assert attempt.reports[0].release is not None, attempt.reports[0].aborted

    def _may_take_part(self, member: Member, task: TaskSpec, invitation: bytes) -> bool:
        plan, rounds, number = task.participation, member.took_part.get(task.id, []), self._number()
        assert isinstance(plan, BoundedParticipation)
        return (
            member.identity not in self.revoked
            and (number not in member.invited.get(task.id, ()) or member.last == invitation)
            and len(rounds) < plan.max_participations
            and sum(map(len, member.took_part.values())) < (self.policy.max_lifetime_participations or 1 << 30)
            and (not rounds or number - rounds[-1] >= plan.min_separation)
        )

    def _number(self) -> int:
        assert self.rounds is not None
        assert self.rounds.last is not None
        return self.rounds.last.inner.server.header.round

    def _check_ledger(self) -> LedgerState:
        entries, heads = read_ledger(self.directory / "ledger.db")
        assert entries[: len(self.entries)] == self.entries, "the ledger's past has changed"
        self.entries = entries
        return replay(entries, SignedHead.model_validate_json(heads[-1]), self.operator.public)

    def _check_log(self, training: Training, state: LedgerState) -> None:
        lines = training.log.read_bytes().split(b"\n")[:-1] if training.log.exists() else []
        charges = {name: account.charge for name, account in state.accounts.items()}
        released = {name: one.model_digest for name, one in state.accounts.items() if one.model_digest is not None}
        evidence = Evidence(training.task, self.operator.public, self.authority.public, charges, released)
        failed = [check for check in check_log(lines, evidence) if lines and check.passed is False]
        assert not failed, failed

    def _check_limits(self, member: Member) -> None:
        tasks = {training.task.id: training.task for training in self.trainings}
        remembered = member.store.load().tasks
        for name, rounds in member.took_part.items():
            plan = tasks[name].participation
            assert isinstance(plan, BoundedParticipation)
            assert len(rounds) <= plan.max_participations
            assert len(set(rounds)) == len(rounds), "one round, two inputs"
            apart = [after - before for before, after in pairwise(rounds)]
            assert all(distance >= plan.min_separation for distance in apart)
            assert remembered.get(name, TaskRecord()).participations == len(rounds)
        together = sum(map(len, member.took_part.values()))
        assert together <= (self.policy.max_lifetime_participations or together)

    # Parts.

    def _open_ledger(self) -> Ledger:
        store = SqliteLedgerStore(self.directory / "ledger.db")
        return Ledger(store, self.operator, self.population, self.budget, lambda: NOW)

    def _training(self, at: int, task: TaskSpec) -> Training:
        log = self.directory / f"rounds-{at}.jsonl"
        checkpoints = CheckpointFile(self.directory / f"checkpoint-{at}", task.id)
        begun = BegunFile(self.directory / f"begun-{at}", task.id)
        return Training(task, checkpoints, begun, log, RecordLog(log, self.operator))

    def _device(self, number: NodeId, store: FileStore) -> Device:
        own = self.seed.child("device", number)
        keys = DeviceKeys.from_seed(own.key())

        def train(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:  # noqa: ARG001
            if self.members[number].dies:
                raise Crash
            return Update(_update(number))

        return Device(
            keys=keys,
            certificate=enrol(self.authority, self.population, EnrolmentRequest.by(keys), LATER),
            trust=Trust(self.operator.public, self.authority.public, self.policy),
            store=store,
            train=train,
            randomness_for=lambda stage, request: own.child(stage, request).stream(),
            clock=lambda: NOW,
        )

    def _list(self, number: int) -> Revocations:
        return Revocations.signed(self.authority, self.population, number, LATER, self.revoked)

    def _round_authority(self) -> RoundAuthority:
        return RoundAuthority(self.operator, self.authority.public, self.revocations)


@contextmanager
def overhearing(world: World) -> Iterator[None]:
    """While it lasts, the world is told what the mechanism makes of updates."""
    encode = Mechanism.encode

    def overheard(*given: object, **named: object) -> Encoded:
        encoded = encode(*given, **named)  # type: ignore[arg-type]
        world.overhear(encoded)
        return encoded

    with mock.patch.object(Mechanism, "encode", overheard):
        yield


def _update(number: NodeId) -> NDArray[np.float32]:
    return np.random.default_rng(number).normal(0, 0.3, DIMENSION).astype(np.float32)


def _clipped(update: NDArray[np.float32], clip: float) -> NDArray[np.float64]:
    exact = update.astype(np.float64)
    return np.asarray(exact * min(1.0, clip / float(np.linalg.norm(exact))))
