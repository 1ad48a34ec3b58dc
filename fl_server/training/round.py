"""One round over a transport, charged before anything is unmasked; and where a coordinator's rounds come from."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fl_server.training.transport import NodeId, Transport
from privacy.ledger.ledger import Receipt
from privacy.release.files import model_digest
from privacy.secagg import Rejected, RoundAuthority, Server, Stage
from privacy.secagg.server.blame import Blame
from privacy.secagg.server.record import RoundRecord, ShardRecord, charged_shards, complaints, culprits
from privacy.task.states import Total, joint_transcript
from privacy.task.task import TaskSpec
from strategies.fedavg import ModelState

_REASON_LENGTH = 200
"""How much is kept of what a device gives as its reason: it may be anything."""


@dataclass(frozen=True)
class RoundFacts:
    """What a round's log may say: counts, never who.

    Attributes:
        invited: how many devices were sent an invitation.
        replies: how many replies were taken, by stage.
        refusals: how often devices or the server gave each reason, or `no reply`, by stage and reason.
    """

    invited: int
    replies: Mapping[str, int]
    refusals: Mapping[str, int]


@dataclass(frozen=True)
class RoundOutcome:
    """Sums that were charged.

    Attributes:
        totals: the sums, one a shard.
        charged: the transcripts of all shards that were charged, in order.
        receipt: the ledger's word that they were.
        facts: counts of the round.
    """

    totals: Sequence[Total]
    charged: Sequence[str]
    receipt: Receipt
    facts: RoundFacts


@dataclass
class Round:
    """A round in progress; `facts()` holds also after it was aborted.

    Attributes:
        server: the protocol's state.
        transport: the way to the devices.
        stage_timeout: seconds that devices have for each stage.
        shards: what the record says of the shards, once they are charged.
        charged: the transcripts of the shards that were charged.
        receipt: the ledger's word that they were; None before.
    """

    server: Server
    transport: Transport
    stage_timeout: float

    def __post_init__(self) -> None:
        self._replies: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._invited = len(self.server.requests())
        self.shards: tuple[ShardRecord, ...] = ()
        self.charged: list[str] = []
        self.receipt: Receipt | None = None

    def run(self, charge: Callable[[str], Receipt]) -> RoundOutcome:
        """Run all five stages.

        Args:
            charge: takes the transcript of the masked sums and returns once the ledger has it, durably.

        Raises:
            Aborted: when too few devices are left. If `receipt` is set by then, the charge stands.
            BudgetExhausted: from `charge`; nothing has been revealed.
        """
        for stage in Stage:
            if stage is Stage.UNMASK:
                self.charged, self.shards = self.server.transcripts, charged_shards(self.server)
                self.receipt = charge(joint_transcript(self.charged))
            self._exchange(stage)
            self.server.advance()
        if self.receipt is None:
            raise RuntimeError("a round was unmasked without a charge")
        return RoundOutcome(self.server.totals(), self.charged, self.receipt, self.facts())

    def facts(self) -> RoundFacts:
        """Return the counts so far, never who."""
        return RoundFacts(self._invited, dict(self._replies), dict(self._refusals))

    def blame(self) -> Blame:
        """Return what the round has shown of its devices so far."""
        return self.server.blame

    def record(self, previous: str, reachable: int, epsilon: float, aborted: str) -> RoundRecord:
        """Return what this round leaves for a reviewer.

        Args:
            previous: the digest of the record before.
            reachable: devices that the cohort was drawn from.
            epsilon: spent so far, device level.
            aborted: why the round was aborted; empty when it was not.
        """
        header = self.server.header
        return RoundRecord(
            previous=previous,
            task=header.task_id.hex(),
            round=header.round,
            model=header.model_digest.hex(),
            reachable=reachable,
            invited=self._invited,
            lost=dict(self._refusals),
            culprits=culprits(self.server),
            complaints=complaints(self.server),
            ended={str(number): reason for number, reason in self.server.ended.items()},
            shards=self.shards,
            transcript=self.receipt.charge.transcript if self.receipt else None,
            entry=self.receipt.entry_hash if self.receipt else None,
            aborted=aborted,
            epsilon=epsilon if math.isfinite(epsilon) else None,
        )

    def _exchange(self, stage: Stage) -> None:
        requests = self.server.requests()
        silent = len(requests)
        for reply in self.transport.exchange(stage, requests, self.stage_timeout):
            silent -= 1
            if reply.body is None:
                self._refusals[f"{stage}: {reply.error[:_REASON_LENGTH]}"] += 1
            else:
                self._take(stage, reply.node, reply.body)
        if silent:
            self._refusals[f"{stage}: no reply"] += silent

    def _take(self, stage: Stage, node: int, body: bytes) -> None:
        try:
            self.server.receive(node, body)
            self._replies[str(stage)] += 1
        except Rejected as error:
            self._refusals[f"{stage}: {error}"] += 1


class RunningRound(Protocol):
    """One round, such as `fl_server.training.round.Round`.

    Attributes:
        receipt: the ledger's word that the sum was charged; None before.
    """

    receipt: Receipt | None

    def run(self, charge: Callable[[str], Receipt]) -> RoundOutcome:
        """Run the round to its end, and charge before anything is known of the sum."""
        ...

    def facts(self) -> RoundFacts:
        """Return the counts so far, never who."""
        ...

    def blame(self) -> Blame:
        """Return what the round has shown of its devices so far."""
        ...

    def record(self, previous: str, reachable: int, epsilon: float, aborted: str) -> RoundRecord | None:
        """Return what the round leaves for a reviewer; None where there is nothing that anybody signed.

        Args:
            previous: the digest of the record before.
            reachable: devices that the cohort was drawn from.
            epsilon: spent so far, device level.
            aborted: why the round was aborted; empty when it was not.
        """
        ...


class Rounds(Protocol):
    """The rounds that a coordinator runs."""

    def nodes(self, moment: int) -> Sequence[NodeId]:
        """Return whom a cohort can be drawn from, in ascending order: those within reach.

        Args:
            moment: the round's number, and one more for each time that a draw was put off before: a simulation's time.
        """
        ...

    def wait(self) -> None:
        """Let time pass until the next moment, after a draw was put off."""
        ...

    def unheld(
        self, number: int, state: ModelState, *, previous: str, epsilon: float, aborted: str
    ) -> RoundRecord | None:
        """Return the record of a round that a crash cut off.

        Args:
            number: of the round.
            state: the model that it would have begun with.
            previous: the digest of the record before.
            epsilon: spent so far, device level.
            aborted: why it released nothing.

        Returns:
            The record; None where rounds leave none.
        """
        ...

    def begin(
        self, number: int, state: ModelState, cohort: Sequence[NodeId], excluded: frozenset[bytes]
    ) -> RunningRound:
        """Begin a round: nothing is sent yet.

        Args:
            number: of the round.
            state: the model that devices train from.
            cohort: who is invited.
            excluded: identities that are left out, whoever presents them.

        Raises:
            SignatureError: when no device would answer, because the authority's revocation list is out of date.
        """
        ...


@dataclass(frozen=True)
class SecureRounds:
    """Rounds of secure aggregation over a transport.

    Attributes:
        task: what devices are asked to train.
        round_authority: asked in every round, since revocation lists are replaced while a task runs.
        transport: the way to the devices.
        clock: Unix time in seconds, for certificates.
        stage_timeout: seconds that devices have for each stage.
    """

    task: TaskSpec
    round_authority: Callable[[], RoundAuthority]
    transport: Transport
    clock: Callable[[], int]
    stage_timeout: float

    def nodes(self, moment: int) -> Sequence[NodeId]:  # noqa: ARG002
        """Return the devices that can be reached now, in ascending order.

        Args:
            moment: not used.
        """
        return self.transport.nodes()

    def wait(self) -> None:
        """Sleep for as long as a stage takes at most."""
        time.sleep(self.stage_timeout)

    def unheld(self, number: int, state: ModelState, *, previous: str, epsilon: float, aborted: str) -> RoundRecord:
        """Return the record of a round that was not held to its end; see `Rounds.unheld`."""
        return RoundRecord(
            previous=previous,
            task=self.task.id,
            round=number,
            model=model_digest(state.weights),
            reachable=0,
            invited=0,
            lost={},
            culprits=(),
            complaints=(),
            ended={},
            shards=(),
            transcript=None,
            entry=None,
            aborted=aborted,
            epsilon=epsilon if math.isfinite(epsilon) else None,
        )

    def begin(self, number: int, state: ModelState, cohort: Sequence[NodeId], excluded: frozenset[bytes]) -> Round:
        """Begin a round of secure aggregation; see `Rounds.begin`."""
        server = Server(
            task=self.task,
            round_authority=self.round_authority(),
            round_number=number,
            weights=state.weights,
            clip=state.clip,
            devices=cohort,
            now=self.clock(),
            excluded=excluded,
        )
        return Round(server, self.transport, self.stage_timeout)
