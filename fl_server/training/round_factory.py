"""Where a coordinator's rounds come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fl_server.training.round import Round, RoundFacts, RoundOutcome
from fl_server.training.transport import NodeId, Transport
from privacy.ledger.ledger import Receipt
from privacy.secagg import Convener, Server
from privacy.secagg.server.record import RoundRecord
from privacy.task.task import TaskSpec
from strategies.fedavg import ModelState


class RunningRound(Protocol):
    """One round; see `fl_server.training.round.Round`."""

    receipt: Receipt | None

    def run(self, charge: Callable[[str], Receipt]) -> RoundOutcome:
        """To its end, charging before anything is known of the sum."""
        ...

    def facts(self) -> RoundFacts:
        """Counts so far, never who."""
        ...

    def record(self, previous: str, epsilon: float, aborted: str) -> RoundRecord | None:
        """What it leaves for a reviewer; None where there is nothing that anybody signed."""
        ...


class Rounds(Protocol):
    """Makes rounds."""

    def nodes(self) -> Sequence[NodeId]:
        """Whom a cohort can be drawn from, in ascending order."""
        ...

    def begin(self, number: int, state: ModelState, cohort: Sequence[NodeId]) -> RunningRound:
        """Round `number` of these devices, on this model.

        Raises:
            SignatureError: when no device would answer, because the authority's revocation list is out of date.
        """
        ...


@dataclass(frozen=True)
class SecureRounds:
    """Rounds of secure aggregation over a transport.

    Attributes:
        convener: asked in every round, since revocation lists are replaced while a task runs.
        clock: Unix time in seconds, for certificates.
        stage_timeout: seconds that devices have for each stage.
    """

    task: TaskSpec
    convener: Callable[[], Convener]
    transport: Transport
    clock: Callable[[], int]
    stage_timeout: float

    def nodes(self) -> Sequence[NodeId]:
        return self.transport.nodes()

    def begin(self, number: int, state: ModelState, cohort: Sequence[NodeId]) -> Round:
        server = Server(
            task=self.task,
            convener=self.convener(),
            round_number=number,
            weights=state.weights,
            clip=state.clip,
            devices=cohort,
            now=self.clock(),
        )
        return Round(server, self.transport, self.stage_timeout)
