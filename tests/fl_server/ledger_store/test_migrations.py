from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine

from fl_server.ledger_store import LedgerStoreError, SqliteLedgerStore, open_ledger_store
from tests.support.ledger_rounds import Run, check, check_finished, open_ledger
from tests.support.postgres import Cluster
from tests.support.stores import MemoryStore

BEFORE_ALEMBIC = """
CREATE TABLE ledger_entries (
\tseq INTEGER NOT NULL,
\tentry BLOB NOT NULL,
\thead BLOB NOT NULL,
\tPRIMARY KEY (seq)
);
CREATE TRIGGER ledger_no_UPDATE BEFORE UPDATE ON ledger_entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_no_DELETE BEFORE DELETE ON ledger_entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""  # noqa: E501 (as it was)
"""What this project's first version wrote."""


def old_file(path: Path) -> tuple[bytes, ...]:
    """A ledger with one entry, as the first version left it, and its entries."""
    memory = MemoryStore()
    entries = open_ledger(memory).entries()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(BEFORE_ALEMBIC)
        connection.execute("INSERT INTO ledger_entries VALUES (0, ?, ?)", memory.rows[0])
    return entries


def schema(path: Path) -> set[str]:
    """Names of all tables and triggers, and the version."""
    with closing(sqlite3.connect(path)) as connection:
        names = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type <> 'index'")}
        if "alembic_version" in names:
            names |= {f"version {row[0]}" for row in connection.execute("SELECT version_num FROM alembic_version")}
    return names


OLD = {"ledger_entries", "ledger_no_UPDATE", "ledger_no_DELETE"}
NEW = OLD | {"alembic_version", "ledger_next_only", "version 0002"}


def test_an_old_file_is_taken_over_with_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    entries = old_file(path)
    assert schema(path) == OLD
    Run(str(path), tmp_path).all_rounds()
    assert schema(path) == NEW
    check_finished(str(path), tmp_path, entries)


def test_a_new_file_has_the_same_schema(tmp_path: Path) -> None:
    SqliteLedgerStore(tmp_path / "ledger.db")
    assert schema(tmp_path / "ledger.db") == NEW


class PowerLoss(Exception):
    pass


@pytest.fixture
def fail_at() -> Iterator[list[int]]:
    """Counts down statements to the one that fails; a number below zero never comes up."""
    countdown = [-1]

    def before(**_: object) -> None:
        countdown[0] -= 1
        if countdown[0] == 0:
            raise PowerLoss

    event.listen(Engine, "before_cursor_execute", before, named=True)
    yield countdown
    event.remove(Engine, "before_cursor_execute", before)


def interrupted(where: str, statement: int, countdown: list[int]) -> bool:
    """Whether opening got as far as this statement."""
    countdown[0] = statement
    try:
        open_ledger_store(where)
    except PowerLoss:
        return True
    finally:
        countdown[0] = -1
    return False


def test_an_interrupted_migration_leaves_the_old_schema(tmp_path: Path, fail_at: list[int]) -> None:
    path = tmp_path / "ledger.db"
    entries = old_file(path)
    statement = 1
    while interrupted(str(path), statement, fail_at):
        assert schema(path) == OLD
        statement += 1
    assert statement > 5
    assert check(str(path), tmp_path) == entries


def test_an_interrupted_migration_leaves_nothing_in_postgres(
    postgres: Cluster, database: str, fail_at: list[int]
) -> None:
    name = database.partition("@/")[2].partition("?")[0]
    statement = 1
    while interrupted(database, statement, fail_at):
        assert postgres.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name) == []
        statement += 1
    assert statement > 5
    assert postgres.sql("SELECT version_num FROM alembic_version", name) == [("0002",)]


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    SqliteLedgerStore(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    before = path.read_bytes()
    with pytest.raises(LedgerStoreError, match=r"expected a schema up to 0002, got 0099: .* newer version of havenfl"):
        SqliteLedgerStore(path)
    assert path.read_bytes() == before


def test_a_newer_database_is_refused(database: str) -> None:
    open_ledger_store(database)
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'")
    engine.dispose()
    with pytest.raises(LedgerStoreError, match="newer version of havenfl"):
        open_ledger_store(database)
