"""Rounds of the real coordinator, with what was shown of each on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fl_server.ledger_store import SqliteLedgerStore
from fl_server.training.checkpoint import Checkpoint, CheckpointFile, write_atomically
from fl_server.training.coordinator import Ended
from fl_server.training.transport import NodeId, Reply
from privacy.ledger.entries import Account, LedgerState
from privacy.ledger.ledger import SignedHead, replay
from privacy.release.files import model_digest
from privacy.secagg import Request, Stage
from strategies.fedavg import ModelState
from tests.support.bench import Bench, FaultyTransport
from tests.support.devices import Fleet, noiseless_task

ROUNDS = 3
START = np.zeros(8, np.float32)


@dataclass
class UnmaskingNoted(FaultyTransport):
    """Leaves a file when devices are asked to unmask: from then on the sum may be known."""

    directory: Path = Path()
    attempt: int = 0

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:
        if stage == Stage.UNMASK:
            write_atomically(self.directory / f"unmask-{_done(self.directory).round + 1}-{self.attempt}", b"")
        return super().exchange(stage, requests, timeout)


def run_rounds(directory: Path, attempt: int) -> None:
    """All that are left. Attempts lose different devices, so that none sums what another does."""

    def lose(stage: str, node: NodeId) -> None:
        if attempt and stage == Stage.INPUT and node == attempt:
            raise ConnectionError("gone")

    bench = Bench(directory, _fleet())
    transport = UnmaskingNoted(bench.fleet, lose, directory=directory, attempt=attempt)
    coordinator = bench.coordinator(transport=transport)
    assert coordinator.run(START).ended is Ended.COMPLETE


def check(directory: Path) -> tuple[bytes, ...]:
    """The entries, when they verify, paid for all that was shown, and say of models what the checkpoint does."""
    entries, ledger_state = _verified(directory)
    accounts, last = list(ledger_state.accounts.values()), _done(directory)
    charged = Counter(account.charge.round for account in accounts)
    shown = Counter(int(path.name.split("-")[1]) for path in directory.glob("unmask-*"))
    assert shown <= charged, "a sum was unmasked and not paid for"
    released = {account.charge.round: account for account in accounts if account.model_digest is not None}
    assert len(released) == sum(account.model_digest is not None for account in accounts), "a round was released twice"
    assert set(released) in ({*range(1, last.round)}, {*range(1, last.round + 1)})
    _check_last(released, last)
    return entries


def check_finished(directory: Path, before: tuple[bytes, ...]) -> None:
    """Every round has one model and one line in the log, and nothing was rewritten on the way."""
    assert check(directory)[: len(before)] == before
    assert _done(directory).round == ROUNDS
    ledger_state = _verified(directory)[1]
    released = [account.charge.round for account in ledger_state.accounts.values() if account.model_digest]
    assert sorted(released) == [*range(1, ROUNDS + 1)]
    assert [record.round for record in Bench(directory, _fleet()).log()] == [*range(1, ROUNDS + 1)]


def _check_last(released: Mapping[int, Account], last: Checkpoint) -> None:
    if last.round in released:
        assert released[last.round].model_digest == model_digest(last.state.weights)


def _fleet() -> Fleet:
    return Fleet(task=noiseless_task(rounds=ROUNDS))


def _done(directory: Path) -> Checkpoint:
    task = _fleet().task
    last = CheckpointFile(directory / "checkpoint", task.id).load()
    return last or Checkpoint(0, ModelState.start(START, task.mechanism.clip))


def _verified(directory: Path) -> tuple[tuple[bytes, ...], LedgerState]:
    with SqliteLedgerStore(directory / "ledger.db").transaction() as transaction:
        entries, head = tuple(transaction.entries(0)), transaction.head()
    if head is None:
        assert not entries
        return (), LedgerState()
    return entries, replay(entries, SignedHead.model_validate_json(head), _fleet().operator.public)
