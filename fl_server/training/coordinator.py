"""All rounds of a task: draw a cohort, run the round, step the model, and leave every step recoverable.

The order within a round is what makes a crash harmless: its number is durable before any device hears of it; the charge
before anything is unmasked; the new model before the charge is marked as released or abandoned; and on the next start
an open charge is settled first. A round that a crash cut off is over, since devices refuse a number that they have
seen; unless they are simulated, and go back to the checkpoint with the server.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_server.training.begun import BegunFile
from fl_server.training.checkpoint import Checkpoint, CheckpointError, CheckpointFile, RecordLog
from fl_server.training.round import RoundFacts, Rounds, RunningRound
from fl_server.training.server_noise import noise_of_round
from fl_server.training.transport import NodeId
from privacy.accounting.pivotal import TooFewReachable, require_reachable
from privacy.accounting.sampling import draw_cohort, eligible_devices
from privacy.base.randomness import Randomness, require_origin
from privacy.base.signing import SignatureError
from privacy.ledger.ledger import BudgetExhausted, Charge, Ledger
from privacy.mechanism.mechanism import MechanismError
from privacy.release.files import model_digest
from privacy.release.release import Release, release
from privacy.secagg import Aborted
from privacy.secagg.server.blame import Blame
from privacy.task.task import PoissonParticipation, TaskSpec
from strategies.fedavg import FedAvgM, ModelState

MAX_FAILED_ROUNDS = 5
"""How many rounds in a row may end without a release until the run gives up."""
MAX_WAITS = 300
"""How often in a row a draw may be put off, for too few devices within reach, until the run gives up."""

INTERRUPTED = "the server ended in the middle of it"
"""Why a round that a crash cut off released nothing."""
_REASON_LENGTH = 1_000
"""How long a reason may be in the ledger."""


class Ended(StrEnum):
    """Why a run came to its end."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    BUDGET_EXHAUSTED = "budget exhausted"


class CoordinatorError(RuntimeError):
    """The run cannot go on; what was released so far stands."""


@dataclass(frozen=True)
class RoundReport:
    """One round, as its log may tell it.

    Attributes:
        round: the round's number.
        facts: counts, never who.
        epsilon: spent so far, device level, at the task's delta.
        sizes_are_secret: whether the claim rests on nobody knowing how many devices are in a released sum.
        release: the sum that was released; None when the round was aborted.
        aborted: why the round was aborted; empty when it was not.
    """

    round: int
    facts: RoundFacts
    epsilon: float
    sizes_are_secret: bool
    release: Release | None = None
    aborted: str = ""

    @property
    def told(self) -> RoundFacts | None:
        """What may be told of the round's size: nothing, where sizes are secret and there was a release."""
        return None if self.sizes_are_secret and self.release is not None else self.facts

    def line(self) -> dict[str, Any]:
        """Return the round as JSON; an unbounded epsilon is null.

        Counts and reasons, never who took part, but for devices at fault where they ended the round. A round of sampled
        cohorts has no counts, whether it was released or not, so that every line has the same keys.
        """
        release = self.release
        counts = {
            "invited": self.facts.invited,
            "cohort": release.cohort if release else 0,
            "survivors": release.survivors if release else 0,
            "refusals": dict(self.facts.refusals),
        }
        return {
            "round": self.round,
            **({} if self.sizes_are_secret else counts),
            "aborted": self.aborted or None,
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "noise_std": release.noise_std if release else 0.0,
            "noise_multiplier": release.noise_multiplier if release else None,
            "statistics": dict(release.statistics) if release else {},
            "statistics_noise_std": dict(release.statistics_noise_std) if release else {},
        }


class Callbacks(Protocol):
    """Calls into the host of a run, while a round waits and after the model has stepped, before that is durable."""

    def round_waits(self, number: int, reason: str) -> None:
        """Take note that a round's draw was put off: nobody was asked, nothing is charged, and no round is used up."""
        ...

    def round_ended(self, report: RoundReport, state: ModelState) -> None:
        """Take note of a round; if the process dies before it is durable, the same round is reported again."""
        ...

    def extra_state(self) -> dict[str, NDArray[np.int64]]:
        """Return the arrays to keep with the checkpoint, by name."""
        ...


@dataclass(frozen=True)
class Result:
    """Where a run stands at its end.

    Attributes:
        ended: why the run ended.
        round: the number of the last complete round.
        state: the model after it.
    """

    ended: Ended
    round: int
    state: ModelState = field(repr=False)


class Coordinator:
    """The rounds of one task."""

    def __init__(
        self,
        *,
        task: TaskSpec,
        rounds: Rounds,
        ledger: Ledger,
        strategy: FedAvgM,
        checkpoints: CheckpointFile,
        begun: BegunFile | None,
        records: RecordLog,
        randomness_for: Callable[[int], Randomness],
        noise_for: Callable[[int], Randomness],
        callbacks: Callbacks,
    ) -> None:
        """Put a run together; nothing is read or asked yet.

        Args:
            task: what is trained.
            rounds: where rounds come from.
            ledger: what each sum is charged to, before it is known.
            strategy: makes the next model of a release.
            checkpoints: where the last complete round is kept.
            begun: where the last round is kept that devices may have heard of; None where what they remember is in the
                checkpoint, so that a round cut off is run again and gives the same bytes.
            records: where what rounds leave for a reviewer is kept.
            randomness_for: a round's number to the randomness of its cohort.
            noise_for: a round's number to the randomness of the noise that the server adds.
            callbacks: told of every round.
        """
        self._task = task
        self._rounds = rounds
        self._ledger = ledger
        self._strategy = strategy
        self._checkpoints = checkpoints
        self._begun = begun
        self._records = records
        self._randomness_for = randomness_for
        self._noise_for = noise_for
        self._callbacks = callbacks

    def run(self, initial: NDArray[np.float32], should_stop: Callable[[], bool] = lambda: False) -> Result:
        """Run every round that is left, from the checkpoint if there is one.

        Args:
            initial: float32[d], the model before the first round.
            should_stop: asked between rounds.

        Returns:
            The last model, also when the run was stopped or the budget is exhausted.

        Raises:
            CoordinatorError: when several rounds in a row end without a release, one waits for devices for too long, or
                devices would refuse every round because the authority's revocation list is out of date. A round that
                ended because of devices which the next one leaves out is none of the first.
            CheckpointError: when the checkpoint cannot be read, or is older than rounds that were begun.
        """
        current = self._taken_up(initial)
        failures = waits = 0
        while current.round < self._task.rounds:
            if should_stop():
                return Result(Ended.STOPPED, current.round, current.state)
            reachable = self._reachable(current)
            try:
                require_reachable(self._task, len(reachable))
            except TooFewReachable as error:
                waits += 1
                current = self._wait(current, waits, str(error))
                continue
            waits = 0
            try:
                before, current = current, self._one_round(current, reachable)
            except BudgetExhausted:
                return Result(Ended.BUDGET_EXHAUSTED, current.round, current.state)
            if not current.aborted:
                failures = 0
            elif current.exclusions.identities <= before.exclusions.identities:
                failures += 1
            if failures == MAX_FAILED_ROUNDS:
                raise CoordinatorError(
                    f"{MAX_FAILED_ROUNDS} rounds in a row gave no release; the last: {current.aborted}"
                )
        return Result(Ended.COMPLETE, current.round, current.state)

    def _taken_up(self, initial: NDArray[np.float32]) -> Checkpoint:
        """Return where to go on: after the last complete round, and after one that a crash cut off."""
        last = self._checkpoints.load() or Checkpoint(0, ModelState.start(initial, self._task.mechanism.clip))
        begun = 0 if self._begun is None else self._begun.load()
        if begun > last.round + 1:
            raise CheckpointError(
                f"checkpoint: expected that of round {begun - 1}, since devices have seen round {begun}, got that of "
                f"round {last.round}; put the newer one back, or begin a new task"
            )
        self._settle(last)
        self._records.keep_to(last.round)
        if begun <= last.round:
            return last
        charged = self._ledger.unsettled(self._task.id, begun)
        _, memory = noise_of_round(self._task, begun, last.noise, self._noise_for)
        cut_off = replace(last, noise=memory, transcript=charged.charge.transcript if charged else "")
        return self._end_unheld(cut_off, INTERRUPTED)

    def _reachable(self, before: Checkpoint) -> Sequence[NodeId]:
        excluded, nodes = before.exclusions.nodes, self._rounds.nodes(before.round + 1 + before.waited)
        return [node for node in nodes if node not in excluded] if excluded else nodes

    def _wait(self, before: Checkpoint, times: int, reason: str) -> Checkpoint:
        """Put the draw of the next round off; its number stays the next.

        It is not made durable: a run that stops waits anew, and a simulated one ends up at the same moment.
        """
        number = before.round + 1
        if times > MAX_WAITS:
            raise CoordinatorError(f"round {number} was put off {MAX_WAITS} times; the last time: {reason}")
        self._callbacks.round_waits(number, reason)
        self._rounds.wait()
        return replace(before, waited=before.waited + 1)

    def _one_round(self, before: Checkpoint, reachable: Sequence[NodeId]) -> Checkpoint:
        number = before.round + 1
        running = self._begin(number, before, reachable)
        noise, memory = noise_of_round(self._task, number, before.noise, self._noise_for)
        try:
            outcome = running.run(
                lambda transcript: self._ledger.reserve(Charge.of(self._task, number, transcript, len(reachable)))
            )
            clipped = self._task.with_clip(before.state.clip)
            released = release(
                clipped, outcome.totals, outcome.charged, outcome.receipt, noise=noise, padding=self._noise_for(number)
            )
        except (Aborted, MechanismError) as error:
            ended = self._abort(before, running, len(reachable), str(error)[:_REASON_LENGTH])
        else:
            ended = self._step(before, running, len(reachable), released)
        exclusions = before.exclusions.after(number, running.blame())
        return self._commit(replace(ended, noise=memory, exclusions=exclusions, waited=before.waited))

    def _begin(self, number: int, before: Checkpoint, reachable: Sequence[NodeId]) -> RunningRound:
        cohort = self._draw(number, reachable)
        try:
            running = self._rounds.begin(number, before.state, cohort, before.exclusions.identities)
        except SignatureError as error:
            raise CoordinatorError(f"{error}; the last complete round is kept") from error
        if self._begun is not None:
            self._begun.save(number)
        return running

    def _draw(self, number: int, reachable: Sequence[NodeId]) -> list[NodeId]:
        participation = self._task.participation
        present = eligible_devices(participation, reachable, number)
        rng = self._randomness_for(number)
        require_origin(self._task.randomness, rng)
        return draw_cohort(participation, present, rng)

    def _end_unheld(self, before: Checkpoint, reason: str) -> Checkpoint:
        """End a round of which there is nothing, for a crash cut it off.

        Args:
            before: the last complete round, with the transcript of this one's charge if there is an open one.
            reason: why the round releases nothing.
        """
        number = before.round + 1
        report = self._report(number, RoundFacts(0, {}, {}), aborted=reason)
        self._callbacks.round_ended(report, before.state)
        record = self._rounds.unheld(
            number,
            before.state,
            previous=self._records.head,
            epsilon=report.epsilon,
            aborted=report.aborted,
        )
        if record:
            self._records.append(record)
        extra = self._callbacks.extra_state()
        exclusions = before.exclusions.after(number, Blame())
        return self._commit(replace(before, round=number, aborted=reason, extra=extra, exclusions=exclusions))

    def _step(self, before: Checkpoint, running: RunningRound, reachable: int, released: Release) -> Checkpoint:
        number, state = before.round + 1, self._strategy.step(before.state, released)
        if not np.isfinite(state.weights).all():
            raise CoordinatorError(f"the model of round {number} is not finite; lower the server's learning rate")
        report = self._report(number, running.facts(), released)
        self._tell(report, state, running, reachable)
        return Checkpoint(number, state, released.receipt.charge.transcript, extra=self._callbacks.extra_state())

    def _abort(self, before: Checkpoint, running: RunningRound, reachable: int, reason: str) -> Checkpoint:
        number, charged = before.round + 1, running.receipt.charge.transcript if running.receipt else ""
        report = self._report(number, running.facts(), aborted=reason)
        self._tell(report, before.state, running, reachable)
        return Checkpoint(number, before.state, charged, reason, self._callbacks.extra_state())

    def _report(
        self, number: int, facts: RoundFacts, released: Release | None = None, aborted: str = ""
    ) -> RoundReport:
        secret = isinstance(self._task.participation, PoissonParticipation)
        return RoundReport(number, facts, self._ledger.epsilon(), secret, released, aborted)

    def _tell(self, report: RoundReport, state: ModelState, running: RunningRound, reachable: int) -> None:
        self._callbacks.round_ended(report, state)
        if record := running.record(self._records.head, reachable, report.epsilon, report.aborted):
            self._records.append(record)

    def _commit(self, checkpoint: Checkpoint) -> Checkpoint:
        self._checkpoints.save(checkpoint)
        self._settle(checkpoint)
        return checkpoint

    def _settle(self, last: Checkpoint) -> None:
        """Mark the charge of a durable round as released or abandoned; again on start, in case a crash came first."""
        receipt = self._ledger.find(self._task.id, last.round, last.transcript) if last.transcript else None
        if receipt is None:
            return
        if last.aborted:
            self._ledger.abandoned(receipt, last.aborted)
        else:
            self._ledger.released(receipt, model_digest(last.state.weights))
