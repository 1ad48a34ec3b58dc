from __future__ import annotations

import itertools
import resource
import signal
import sqlite3
from pathlib import Path

import pytest

from fl_server.ledger_store import LedgerStoreError, SqliteLedgerStore, export_ledger
from privacy.ledger.ledger import Ledger, LedgerTransaction, verify
from tests.support.ledger_rounds import SIGNER, charge_of, open_ledger
from tests.support.ledger_writers import Writer


def ledger(path: Path) -> Ledger:
    return open_ledger(SqliteLedgerStore(path))


def check(path: Path) -> set[str]:
    """Leaf hashes of all charges of a ledger that verifies."""
    mine = ledger(path)
    entries = verify(mine.entries(), mine.head(), SIGNER.public)
    last = mine.reserve(entries[-1].body.charge)
    return {after.previous for after in entries[2:]} | {last.entry_hash}


def test_entries_outlive_the_store(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    first = ledger(path)
    receipt = first.reserve(charge_of(1))
    assert ledger(path).reserve(charge_of(1)) == receipt
    assert ledger(path).entries() == first.entries()
    assert ledger(path).head() == first.head()


def test_every_receipt_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    receipts: list[str] = []
    for attempt, count in enumerate((1, 20, 7)):
        writer = Writer(path, 1 + attempt * 10_000)
        receipts += writer.receipts(count) + writer.kill()
    assert set(receipts) <= check(path)


def test_two_processes_that_race_never_share_a_number(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    racers = [Writer(path, 1), Writer(path, 20_000)]
    receipts = [racer.receipts(count) for count in (1, 20) for racer in racers]
    receipts += [racer.kill() for racer in racers]
    assert set(itertools.chain(*receipts)) <= check(path)


def test_a_charge_neither_makes_nor_removes_the_log(tmp_path: Path) -> None:
    """Both cost more than the charge itself."""
    store = SqliteLedgerStore(tmp_path / "ledger.db")
    mine = open_ledger(store)
    log = tmp_path / "ledger.db-wal"
    before = log.stat().st_ino
    for number in (1, 2):
        mine.reserve(charge_of(number))
        assert log.stat().st_ino == before
    store.close()
    assert not log.exists()
    assert len(ledger(tmp_path / "ledger.db").entries()) == 3


def test_a_store_that_is_forgotten_is_closed(tmp_path: Path) -> None:
    """So that a copy of the one file is whole once a run has ended."""
    path = tmp_path / "ledger.db"
    ledger(path).reserve(charge_of(1))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ledger.db"]


def append_then_fail(transaction: LedgerTransaction) -> None:
    transaction.append(0, b"entry", b"head")
    raise RuntimeError("midway")


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteLedgerStore(tmp_path / "ledger.db")
    with pytest.raises(RuntimeError, match="midway"), store.transaction() as transaction:
        append_then_fail(transaction)
    with store.transaction() as transaction:
        assert transaction.entries(0) == []
        assert transaction.head() is None


def test_a_number_is_given_once(tmp_path: Path) -> None:
    store = SqliteLedgerStore(tmp_path / "ledger.db")
    with store.transaction() as transaction:
        transaction.append(0, b"entry", b"head")
    with pytest.raises(LedgerStoreError, match="only the next number can be added"), store.transaction() as transaction:
        transaction.append(0, b"another", b"head")


@pytest.mark.parametrize("statement", ["UPDATE ledger_entries SET entry = x'00'", "DELETE FROM ledger_entries"])
def test_entries_cannot_be_changed_by_accident(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "ledger.db"
    ledger(path)
    with sqlite3.connect(path) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)


def test_commits_are_synchronous(tmp_path: Path) -> None:
    store = SqliteLedgerStore(tmp_path / "ledger.db")
    with store._connected() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_an_unusable_path_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "ledger.db"
    with pytest.raises(LedgerStoreError, match=f"writable SQLite file .* at {missing}"):
        SqliteLedgerStore(missing)
    (tmp_path / "text.db").write_text("not a database, but long enough to look at" * 40)
    with pytest.raises(LedgerStoreError, match="not a database"):
        SqliteLedgerStore(tmp_path / "text.db")


def test_a_full_disk_loses_no_committed_entry(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    mine = ledger(path)
    mine.reserve(charge_of(1))
    before = mine.entries()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(LedgerStoreError, match="free space"):
            mine.reserve(charge_of(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert mine.entries() == before
    mine.reserve(charge_of(2))
    assert len(mine.entries()) == 3


def test_a_ledger_that_is_not_there_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(LedgerStoreError, match="there is none"):
        export_ledger(str(tmp_path / "leger.db"), tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []
