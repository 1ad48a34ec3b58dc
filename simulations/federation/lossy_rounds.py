"""Real rounds in which devices are lost as a scenario has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fl_server.training.round import Round, SecureRounds
from fl_server.training.transport import NodeId, Reply, Transport
from privacy.secagg import Request, Stage
from privacy.secagg.server.record import RoundRecord
from simulations.scenario import Scenario
from strategies.fedavg import ModelState


@dataclass(frozen=True)
class LossyRounds:
    """Rounds of the protocol that lose devices; implements `fl_server.training.round.Rounds`.

    Attributes:
        rounds: the rounds in which nobody is lost.
        scenario: which devices are lost to a round.
    """

    rounds: SecureRounds
    scenario: Scenario

    def nodes(self, moment: int) -> Sequence[NodeId]:
        """Return the devices that can be reached at a moment."""
        return self.scenario.within_reach(self.rounds.nodes(moment), moment)

    def wait(self) -> None:
        """Return at once: time is simulated."""

    def unheld(self, number: int, state: ModelState, *, previous: str, epsilon: float, aborted: str) -> RoundRecord:
        """Return the record of a round that was not held to its end; see `fl_server.training.round.Rounds.unheld`."""
        return self.rounds.unheld(number, state, previous=previous, epsilon=epsilon, aborted=aborted)

    def begin(self, number: int, state: ModelState, cohort: Sequence[NodeId], excluded: frozenset[bytes]) -> Round:
        """Return a round that is about to run, over a transport that loses devices.

        Args:
            number: of the round, from 1.
            state: the model and clip that it starts from.
            cohort: the devices that were drawn.
            excluded: identities that are left out.
        """
        lossy = _LossyTransport(self.rounds.transport, self.scenario, number)
        return replace(self.rounds, transport=lossy).begin(number, state, cohort, excluded)


@dataclass(frozen=True)
class _LossyTransport:
    """A transport of one round that loses requests and replies; implements `fl_server.training.transport.Transport`."""

    transport: Transport
    scenario: Scenario
    number: int

    def nodes(self) -> Sequence[NodeId]:
        return self.transport.nodes()

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:
        losses = {node: self.scenario.loss(node, self.number) for node in requests}
        lost = {node: loss for node, loss in losses.items() if loss and loss.stage == Stage(stage)}
        delivered = {node: request for node, request in requests.items() if node not in lost or lost[node].late}
        for reply in self.transport.exchange(stage, delivered, timeout):
            if reply.node not in lost:
                yield reply
