"""A server's ledger, read as a reviewer would."""

from __future__ import annotations

from fl_server.ledger_store import SqliteLedgerStore
from fl_server.service import ServerDirectory
from privacy.ledger.entries import Entry
from privacy.ledger.ledger import Ledger, verify


def read_ledger(server: ServerDirectory) -> Ledger:
    task = server.read_task()
    return Ledger(
        SqliteLedgerStore(server.ledger), server.read_operator(), task.population, task.budget, lambda: 1_767_225_600
    )


def verified_entries(server: ServerDirectory) -> tuple[Entry, ...]:
    """Raises `LedgerInvalid` when the entries are not what the signed head says."""
    ledger = read_ledger(server)
    return verify(ledger.entries(), ledger.head(), server.read_operator().public)


def kinds(entries: tuple[Entry, ...]) -> list[str]:
    """What happened after the ledger was opened."""
    return [entry.body.kind for entry in entries if entry.body.kind != "opened"]
