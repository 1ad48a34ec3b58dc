"""Rounds in which secure aggregation is replaced by what it computes: the exact sum in the task's modulus.

The devices, their cohort, their training, clipping, rotation, rounding and noise, the charge and the release are those
of a real round, and the model is the same to the bit. What is left out is who could have seen what: nothing is signed,
so there is no log of rounds to verify. With a trusted aggregator (`simulations.federation.central`) the noise of the
sum is drawn at once, and the model is another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_server.training.round import RoundFacts, RoundOutcome
from fl_server.training.transport import NodeId
from privacy.base.canonical import sha256
from privacy.ledger.ledger import Receipt
from privacy.mechanism.mechanism import Mechanism, MechanismError
from privacy.secagg import Aborted, Stage
from privacy.secagg.membership.params import ParameterError, parameters
from privacy.secagg.messages import Header
from privacy.secagg.primitives.masking import pack, unpack
from privacy.secagg.server.blame import Blame
from privacy.task.states import Total, joint_transcript
from privacy.task.task import BoundedParticipation, TaskSpec
from simulations.federation import central
from simulations.federation.devices import Records
from simulations.federation.partial_sums import Job, PartialSum
from simulations.randomness import SeedTree
from simulations.scenario import Loss, Scenario
from strategies.fedavg import ModelState


class Executor(Protocol):
    """Trains devices, in this process or elsewhere."""

    def partial_sums(self, job: Job) -> Iterator[PartialSum]:
        """Do a job, and yield it in parts, each added up where it was done."""
        ...


@dataclass(frozen=True)
class IdealRounds:
    """Rounds of sums without a protocol; implements `fl_server.training.round.Rounds`.

    Attributes:
        task: what the devices are asked to do.
        seed: the run's.
        executor: trains the devices.
        records: what the devices remember.
        scenario: which devices are lost.
        central: whether a trusted aggregator adds the noise, as in `simulations.federation.central`.
    """

    task: TaskSpec
    seed: SeedTree
    executor: Executor
    records: Records
    scenario: Scenario
    central: bool = False

    def nodes(self, moment: int) -> Sequence[NodeId]:
        """Return the devices of the population that can be reached at a moment."""
        return self.scenario.within_reach(range(self.records.last_round.size), moment)

    def wait(self) -> None:
        """Return at once: time is simulated."""

    def unheld(self, number: int, state: ModelState, *, previous: str, epsilon: float, aborted: str) -> None:
        """Return no record for a reviewer: nobody signed anything.

        Args:
            number: not used.
            state: not used.
            previous: not used.
            epsilon: not used.
            aborted: not used.
        """

    def begin(self, number: int, state: ModelState, cohort: Sequence[NodeId], excluded: frozenset[bytes]) -> IdealRound:  # noqa: ARG002
        """Return a round that is about to run.

        Args:
            number: of the round, from 1.
            state: the model and clip that it starts from.
            cohort: the devices that were drawn.
            excluded: not used: without a protocol nobody breaks it.
        """
        return IdealRound(self, number, state, cohort)


@dataclass
class IdealRound:
    """A round in progress; implements `fl_server.training.round.RunningRound`.

    Attributes:
        rounds: what the round is of.
        number: the round's, from 1.
        state: the model and clip that it starts from.
        cohort: the devices that were drawn.
        receipt: the ledger's word that the round is paid for; None before.
    """

    rounds: IdealRounds = field(repr=False)
    number: int
    state: ModelState = field(repr=False)
    cohort: Sequence[NodeId] = field(repr=False)

    def __post_init__(self) -> None:
        self.receipt: Receipt | None = None
        self._lost: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._replies: Counter[str] = Counter()
        self._losses = {device: self.rounds.scenario.loss(device, self.number) for device in self.cohort}
        flat = sha256(self.state.weights.astype("<f4").tobytes())
        self._header = Header(bytes.fromhex(self.rounds.task.id), self.number, flat, self.state.clip)

    def run(self, charge: Callable[[str], Receipt]) -> RoundOutcome:
        """Add up what the cohort's devices contribute, and charge it before it is released.

        Args:
            charge: takes the transcript of the sums and returns once the ledger has it, durably.

        Raises:
            Aborted: when too few devices are left. If `receipt` is set by then, the charge stands.
            BudgetExhausted: from `charge`; nothing has been revealed.
        """
        sums = [shard_sum for shard in self._shards() if (shard_sum := self._sum(shard)) is not None]
        self._require(sums)
        transcripts = [shard_sum.total.transcript for shard_sum in sums]
        self.receipt = charge(joint_transcript(transcripts))
        unmasked = [
            shard_sum.total for shard_sum in sums if self._answered(Stage.UNMASK, shard_sum.living, shard_sum.threshold)
        ]
        self._require(unmasked)
        return RoundOutcome(unmasked, transcripts, self.receipt, self.facts())

    def facts(self) -> RoundFacts:
        """Return the counts so far, never who."""
        return RoundFacts(len(self.cohort), dict(self._replies), dict(self._lost))

    def blame(self) -> Blame:
        """Return nothing: without a protocol nobody breaks it."""
        return Blame()

    def record(self, previous: str, reachable: int, epsilon: float, aborted: str) -> None:
        """Return no record for a reviewer: nobody signed anything.

        Args:
            previous: not used.
            reachable: not used.
            epsilon: not used.
            aborted: not used.
        """

    def _require(self, left: Sequence[object]) -> None:
        if not left:
            raise Aborted("; ".join(sorted(self._ended)) or "no device was drawn")

    def _shards(self) -> list[list[int]]:
        """Split the devices that are present by lot, as the protocol does; all of them when there is one shard."""
        present = [device for device in self._staying(Stage.ADVERTISE, self.cohort) if self._may(device)]
        count = self.rounds.task.aggregation.shards
        if count == 1:
            return [present]
        source = np.random.default_rng(self.rounds.seed.child("shards", self.number).integer())
        lots = source.integers(count, size=len(present))
        return [[device for device, lot in zip(present, lots, strict=True) if lot == shard] for shard in range(count)]

    def _may(self, device: int) -> bool:
        """Return whether a device has not reached its limit; one that has refuses."""
        participation, count = self.rounds.task.participation, self.rounds.records.participations[device]
        if isinstance(participation, BoundedParticipation) and count >= participation.max_participations:
            reason = f"Refused: this device has taken part {count} times, its limit in this task"
            self._lost[f"{Stage.ADVERTISE}: {reason}"] += 1
            return False
        return True

    def _sum(self, shard: Sequence[int]) -> _ShardSum | None:
        """Return the sum of a shard; None when it ended early, which `_ended` then tells."""
        task = self.rounds.task
        try:
            limits = parameters(len(shard), task.aggregation)
            mechanism = Mechanism.for_cohort(task.with_clip(self.state.clip), len(shard))
        except (ParameterError, MechanismError) as error:
            self._ended.add(f"{Stage.ADVERTISE}: {error}")
            return None
        self.rounds.records.last_round[shard] = self.number
        if not (dealers := self._answered(Stage.SHARE, shard, limits.survivors_required)):
            return None
        sums, survivors = self._trained(shard, dealers)
        if not self._enough(Stage.INPUT, survivors, limits.survivors_required):
            return None
        if not (living := self._answered(Stage.CONSISTENCY, survivors, limits.quorum)):
            return None
        if self.rounds.central:
            seed = self.rounds.seed.child("central", self.number, shard[0])
            central.finish(mechanism, sums, len(survivors), seed)
            summed, rotation = sums, None
        else:
            bits = task.aggregation.modulus_bits
            summed, rotation = unpack(pack(sums, bits), bits, task.length), self._header.rotation
        transcript = sha256(b"havenfl/ideal/1", self._header.encode(), str(sorted(shard)).encode(), summed.tobytes())
        total = Total(summed, len(shard), len(survivors), rotation, transcript.hex())
        return _ShardSum(total, living, limits.threshold)

    def _trained(self, shard: Sequence[int], dealers: Sequence[int]) -> tuple[NDArray[np.int64], list[int]]:
        """Return int64[length], the sum of those that answered with a contribution, and who they are."""
        task, participations = self.rounds.task, self.rounds.records.participations
        devices = self._staying(Stage.INPUT, dealers)
        job = Job(
            self.number,
            self.state.weights,
            self.state.clip,
            self._header.rotation,
            len(shard),
            devices,
            central=self.rounds.central,
        )
        sums, survivors = np.zeros(task.length, np.int64), list[int]()
        for partial_sum in self.rounds.executor.partial_sums(job):
            sums += partial_sum.sums
            survivors += partial_sum.survivors
            self._lost.update({f"{Stage.INPUT}: {reason}": count for reason, count in partial_sum.lost.items()})
        in_vain = [device for device in dealers if self._losses[device] == Loss(Stage.INPUT, late=True)]
        participations[survivors + in_vain] += 1
        return sums, survivors

    def _answered(self, stage: Stage, devices: Sequence[int], need: int) -> list[int]:
        """Return those who answer in this stage; nobody when they are too few."""
        staying = self._staying(stage, devices)
        return staying if self._enough(stage, staying, need) else []

    def _enough(self, stage: Stage, devices: Sequence[int], need: int) -> bool:
        self._replies[stage] += len(devices)
        if len(devices) < need:
            self._ended.add(f"{stage}: expected at least {need} devices, got {len(devices)}")
        return len(devices) >= need

    def _staying(self, stage: Stage, devices: Sequence[int]) -> list[int]:
        """Return those of the devices that are not lost in this stage."""
        lost = {device for device in devices if (loss := self._losses[device]) and loss.stage is stage}
        if lost:
            self._lost[f"{stage}: no reply"] += len(lost)
        return [device for device in devices if device not in lost]


@dataclass(frozen=True)
class _ShardSum:
    """A shard about to be unmasked.

    Attributes:
        total: the sum of its devices' contributions.
        living: the survivors that can still be asked to unmask.
        threshold: how many of them have to answer.
    """

    total: Total
    living: Sequence[int] = field(repr=False)
    threshold: int
