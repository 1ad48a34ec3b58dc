"""Rounds in which secure aggregation is replaced by what it computes: the exact sum in the task's modulus.

With a trusted aggregator (`simulations.central`), the noise of the sum is drawn at once.

The devices, their cohort, their training, clipping, rotation, rounding and noise, the charge and the release are those
of a real round, and the model is the same to the bit. What is left out is who could have seen what: nothing is signed,
so there is no log of rounds to verify.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fl_server.round import RoundFacts, RoundOutcome
from fl_server.transport import NodeId
from privacy.canonical import sha256
from privacy.ledger import Receipt
from privacy.mechanism import Mechanism, MechanismError
from privacy.secagg import Aborted
from privacy.secagg.messages import Header
from privacy.secagg.packing import pack, unpack
from privacy.secagg.params import ParameterError, parameters
from privacy.states import Total, joint_transcript
from privacy.task import BoundedParticipation, TaskSpec
from simulations import central
from simulations.host import Records
from simulations.randomness import SeedTree
from simulations.shares import Job, Share
from strategies.fedavg import ModelState

_STAGE = "input"


class Crew(Protocol):
    """Where devices are trained."""

    def shares(self, job: Job) -> Iterator[Share]:
        """The job in parts, each added up where it was done."""
        ...


@dataclass(frozen=True)
class IdealRounds:
    """Implements `fl_server.rounds.Rounds`."""

    task: TaskSpec
    seed: SeedTree
    crew: Crew
    records: Records
    central: bool = False

    def nodes(self) -> Sequence[NodeId]:
        return range(self.records.last_round.size)

    def begin(self, number: int, state: ModelState, cohort: Sequence[NodeId]) -> IdealRound:
        return IdealRound(self, number, state, cohort)


@dataclass
class IdealRound:
    """Implements `fl_server.rounds.RunningRound`."""

    rounds: IdealRounds = field(repr=False)
    number: int
    state: ModelState = field(repr=False)
    cohort: Sequence[NodeId] = field(repr=False)

    def __post_init__(self) -> None:
        self.receipt: Receipt | None = None
        self._lost: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._survivors = 0
        flat = sha256(self.state.weights.astype("<f4").tobytes())
        self._header = Header(bytes.fromhex(self.rounds.task.id), self.number, flat, self.state.clip)

    def run(self, charge: Callable[[str], Receipt]) -> RoundOutcome:
        """See `RunningRound.run`.

        Raises:
            Aborted: when too few devices are left.
            BudgetExhausted: from `charge`.
        """
        totals = [total for shard in self._shards() if (total := self._total(shard)) is not None]
        if not totals:
            raise Aborted("; ".join(sorted(self._ended)) or "no device was drawn")
        transcripts = [total.transcript for total in totals]
        self.receipt = charge(joint_transcript(transcripts))
        return RoundOutcome(totals, transcripts, self.receipt, self.facts())

    def facts(self) -> RoundFacts:
        return RoundFacts(len(self.cohort), {_STAGE: self._survivors}, dict(self._lost))

    def record(self, previous: str, epsilon: float, aborted: str) -> None:
        """Nobody signed anything."""

    def _shards(self) -> list[list[int]]:
        """By lot, as the protocol does it; of one shard, everybody is in it."""
        present = [device for device in self.cohort if self._may(device)]
        count = self.rounds.task.aggregation.shards
        if count == 1:
            return [present]
        source = np.random.default_rng(self.rounds.seed.child("shards", self.number).integer())
        lots = source.integers(count, size=len(present))
        return [[device for device, lot in zip(present, lots, strict=True) if lot == shard] for shard in range(count)]

    def _may(self, device: int) -> bool:
        """A device that has reached its limit refuses."""
        plan, taken = self.rounds.task.participation, self.rounds.records.participations[device]
        if isinstance(plan, BoundedParticipation) and taken >= plan.max_participations:
            self._lost[f"advertise: this device has taken part {taken} times, its limit in this task"] += 1
            return False
        return True

    def _total(self, shard: Sequence[int]) -> Total | None:
        """The shard's sum; None when it ended early, which `_ended` then tells."""
        task = self.rounds.task
        try:
            required = parameters(len(shard), task.aggregation).survivors_required
            mechanism = Mechanism.for_cohort(task.with_clip(self.state.clip), len(shard))
        except (ParameterError, MechanismError) as error:
            self._ended[f"advertise: {error}"] += 1
            return None
        self.rounds.records.last_round[shard] = self.number
        job = Job(
            self.number,
            self.state.weights,
            self.state.clip,
            self._header.rotation,
            len(shard),
            shard,
            central=self.rounds.central,
        )
        sums, survivors = np.zeros(task.length, np.int64), 0
        for share in self.rounds.crew.shares(job):
            sums += share.sums
            survivors += len(share.survivors)
            self._lost.update({f"{_STAGE}: {reason}": count for reason, count in share.lost.items()})
            self.rounds.records.participations[share.survivors] += 1
        self._survivors += survivors
        if survivors < required:
            self._ended[f"{_STAGE}: expected at least {required} devices, got {survivors}"] += 1
            return None
        if self.rounds.central:
            seed = self.rounds.seed.child("central", self.number, shard[0])
            sums = central.total(mechanism, sums, survivors, self._header.rotation, seed)
        bits = task.aggregation.modulus_bits
        reduced = unpack(pack(sums, bits), bits, task.length)
        transcript = sha256(b"havenfl/ideal/1", self._header.encode(), str(sorted(shard)).encode(), reduced.tobytes())
        return Total(reduced, len(shard), survivors, self._header.rotation, transcript.hex())
