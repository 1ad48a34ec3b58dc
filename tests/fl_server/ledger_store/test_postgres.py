"""The ledger in a real PostgreSQL server, and what both stores promise to coordinators that share one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from fl_server.cli import app
from fl_server.ledger_store import LedgerStoreError, export_ledger, open_ledger_store, postgres as store_module, sqlite
from privacy.accounting.accountant import spend
from privacy.accounting.events import BoundedGaussian
from privacy.ledger.entries import Charged
from privacy.ledger.ledger import BudgetExhausted, Charge, Ledger, LedgerTransaction, verify
from privacy.task.task import Budget
from privacy.verification.evidence import read_ledger
from tests.support.eventually import eventually
from tests.support.ledger_rounds import SIGNER, TASK, charge_of, open_ledger, verified
from tests.support.postgres import PASSWORD, Cluster

LAST = 6


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger of either kind."""
    return str(request.getfixturevalue("database")) if request.param == "postgresql" else str(tmp_path / "ledger.db")


def costly(number: int, attempt: int) -> Charge:
    """A round that costs as much as every other."""
    event = BoundedGaussian(task=TASK, noise_multiplier=4.0, max_participations=1000)
    return charge_of(number, attempt).model_copy(update={"event": event})


def exact_budget(charges: int) -> Budget:
    """Enough for so many costly rounds and not for one more."""
    return Budget(epsilon=spend([costly(1, 0).event] * charges, 1e-6).epsilon, delta=1e-6)


def spend_all(ledger: Ledger, attempt: int, won: list[str], start: threading.Barrier) -> None:
    start.wait(30)
    for number in range(1, LAST + 1):
        charge = costly(number, attempt)
        try:
            ledger.reserve(charge)
        except BudgetExhausted:
            return
        won.append(charge.transcript)


def test_coordinators_that_race_for_the_last_bit_cannot_both_win(where: str) -> None:
    budget, start = exact_budget(LAST), threading.Barrier(3)
    wins: list[list[str]] = [[], [], []]
    ledgers = [open_ledger(open_ledger_store(where), budget) for _ in wins]
    racers = [
        threading.Thread(target=spend_all, args=(ledger, attempt, won, start))
        for attempt, (ledger, won) in enumerate(zip(ledgers, wins, strict=True))
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert sum(map(len, wins)) == LAST
    parsed = verify(ledgers[0].entries(), ledgers[0].head(), SIGNER.public)
    charged = [entry.body.charge.transcript for entry in parsed if isinstance(entry.body, Charged)]
    assert sorted(charged) == sorted(itertools.chain(*wins))
    for ledger in ledgers:
        with pytest.raises(BudgetExhausted):
            ledger.reserve(costly(99, 99))


def test_what_one_store_commits_the_other_one_reads(where: str) -> None:
    first, second = (open_ledger(open_ledger_store(where)) for _ in range(2))
    receipt = first.reserve(charge_of(1))
    assert second.find(TASK, 1, charge_of(1).transcript) == receipt
    assert second.entries() == first.entries()


def update(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE ledger_entries SET entry = 'x'")


def replace_last(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO ledger_entries VALUES (7, 'x', 'x')")


def truncate(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE ledger_entries")


@pytest.mark.parametrize("change", [update, replace_last, truncate])
def test_entries_cannot_be_changed_by_accident(database: str, change: Callable[[str], None]) -> None:
    open_ledger(open_ledger_store(database))
    before = verified(database)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        change(database)
    assert verified(database) == before


def test_a_server_that_was_restarted_is_found_again(postgres: Cluster, database: str) -> None:
    ledger = open_ledger(open_ledger_store(database))
    ledger.reserve(charge_of(1))
    postgres.crash_and_restart()
    ledger.reserve(charge_of(2))
    assert len(verified(database)) == 3


def append_and_crash(transaction: LedgerTransaction, postgres: Cluster) -> None:
    transaction.append(1, b"entry", b"head")
    postgres.crash_and_restart()


def test_a_server_that_restarts_within_a_transaction_keeps_nothing_of_it(postgres: Cluster, database: str) -> None:
    store = open_ledger_store(database)
    ledger = open_ledger(store)
    with pytest.raises(LedgerStoreError, match="expected a writable PostgreSQL"), store.transaction() as transaction:
        append_and_crash(transaction, postgres)
    ledger.reserve(charge_of(1))
    assert len(verified(database)) == 2


def test_a_server_that_is_down_is_an_error_and_no_charge(postgres: Cluster, database: str) -> None:
    ledger = open_ledger(open_ledger_store(database))
    postgres.stop()
    try:
        with pytest.raises(LedgerStoreError, match="expected a writable PostgreSQL at"):
            ledger.reserve(charge_of(1))
    finally:
        postgres.start()
    assert ledger.find(TASK, 1, charge_of(1).transcript) is None


def test_a_server_that_does_not_write_to_disk_is_refused(postgres: Cluster, database: str) -> None:
    postgres.sql("ALTER SYSTEM SET fsync = off")
    postgres.sql("SELECT pg_reload_conf()")
    try:
        eventually(lambda: postgres.sql("SHOW fsync") == [("off",)])
        with pytest.raises(LedgerStoreError, match="expected fsync to be on"):
            open_ledger_store(database)
    finally:
        postgres.sql("ALTER SYSTEM RESET fsync")
        postgres.sql("SELECT pg_reload_conf()")


def everything(error: BaseException) -> str:
    """Its text and that of every error behind it."""
    text, seen = "", error
    while seen is not None:
        text, seen = f"{text}\n{seen!r}\n{seen}", seen.__cause__ or seen.__context__  # type: ignore[assignment]
    return text


@pytest.mark.parametrize("password", ["wrong-but-secret", PASSWORD])
def test_a_password_is_never_shown(postgres: Cluster, password: str) -> None:
    """A wrong one, and the right one for a database that does not exist."""
    with pytest.raises(LedgerStoreError) as caught:
        open_ledger_store(postgres.url("missing", password))
    assert password not in everything(caught.value)
    result = CliRunner().invoke(app, ["export-ledger", postgres.url("missing", password), "--out", "/nowhere/ledger"])
    assert result.exit_code == 2
    assert password not in result.output


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://", "got no database"),
        ("postgresql://user:pa@ss@host/ledger", "written as %40"),
        ("postgresql://host:port/ledger", "expected postgresql://user:password@host:port/database"),
        ("mysql://host/ledger", r"got mysql://\.\.\."),
    ],
)
def test_unusable_urls(url: str, message: str) -> None:
    with pytest.raises(LedgerStoreError, match=message):
        open_ledger_store(url)


def test_a_ledger_that_somebody_keeps_locked_is_an_error(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(store_module._SETTINGS, "lock_timeout", "200ms")
    monkeypatch.setattr(sqlite, "_LOCK_TIMEOUT_MS", 200)
    first, second = open_ledger_store(where), open_ledger(open_ledger_store(where))
    with first.transaction(), pytest.raises(LedgerStoreError, match="lock"):
        second.reserve(charge_of(1))
    second.reserve(charge_of(1))


def test_a_copy_for_reviewers_has_the_same_bytes(where: str, tmp_path: Path) -> None:
    ledger = open_ledger(open_ledger_store(where))
    for number in (1, 2):
        ledger.reserve(charge_of(number))
    assert export_ledger(where, tmp_path / "copy.db") == 3
    entries, heads = read_ledger(tmp_path / "copy.db")
    assert tuple(entries) == tuple(ledger.entries())
    assert heads[-1] == ledger.head().canonical()
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]
    with pytest.raises(LedgerStoreError, match="expected a new path for the copy"):
        export_ledger(where, tmp_path / "copy.db")
