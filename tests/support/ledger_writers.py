"""Processes that charge a ledger in a file, one round after the other, until they are killed."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

from fl_server.ledger_store import SqliteLedgerStore
from tests.support.ledger_rounds import charge_of, open_ledger

_CONTEXT = multiprocessing.get_context("forkserver")
"""Forks from a process that has imported all of this once: the imports take seconds."""
_CONTEXT.set_forkserver_preload([__name__])


class Writer:
    """Charges the rounds from `first` on, and hands over its receipts."""

    def __init__(self, path: Path, first: int) -> None:
        self._receipts, receipts = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_charge_rounds, args=(path, first, receipts), daemon=True)
        self._process.start()
        receipts.close()

    def receipts(self, count: int) -> list[str]:
        """Entry hashes of its next charges."""
        return [self._receipts.recv() for _ in range(count)]

    def kill(self) -> list[str]:
        """Kill it, at whatever it is doing; returns what else it had in hand."""
        self._process.kill()
        self._process.join()
        rest: list[str] = []
        while True:
            try:
                rest += self.receipts(1)
            except (EOFError, OSError):  # the latter in the middle of a receipt
                return rest


def _charge_rounds(path: Path, first: int, receipts: Connection) -> None:
    ledger = open_ledger(SqliteLedgerStore(path))
    for number in range(first, first + 10_000):
        receipts.send(ledger.reserve(charge_of(number)).entry_hash)
