"""The privacy ledger in SQLite: what a transaction has committed survives a kill or a power cut at any moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from privacy.ledger import LedgerTransaction

_WAIT_MS = 30_000
"""How long to wait for another process's transaction."""

_metadata = MetaData()
_entries = Table(
    "ledger_entries",
    _metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
)
_APPEND_ONLY = tuple(
    f"CREATE TRIGGER IF NOT EXISTS ledger_no_{verb} BEFORE {verb} ON ledger_entries "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    for verb in ("UPDATE", "DELETE")
)


class LedgerStoreError(RuntimeError):
    """The ledger cannot be read or written; nothing of the failed transaction was kept."""


class SqliteLedgerStore:
    """One ledger in one file, shared by any number of processes on one machine.

    Implements `privacy.ledger.LedgerStore`: BEGIN IMMEDIATE makes each transaction exclusive, WAL with synchronous
    FULL makes its commit durable (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            LedgerStoreError: when it cannot be opened, written or is no SQLite database.
        """
        self._path = path
        self._engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin_immediate)
        with self._connected() as connection:
            _metadata.create_all(connection)
            for trigger in _APPEND_ONLY:
                connection.exec_driver_sql(trigger)

    @contextmanager
    def transaction(self) -> Iterator[LedgerTransaction]:
        """See `LedgerStore.transaction`.

        Raises:
            LedgerStoreError: when the file cannot be read or written, or another process keeps it for 30 s.
        """
        with self._connected() as connection:
            yield _Transaction(connection)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise LedgerStoreError(
                f"ledger: expected a writable SQLite file with free space at {self._path}, got: {cause}"
            ) from error


class _Transaction:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def entries(self, start: int) -> Sequence[bytes]:
        rows = self._connection.execute(
            select(_entries.c.entry).where(_entries.c.seq >= start).order_by(_entries.c.seq)
        )
        return rows.scalars().all()

    def head(self) -> bytes | None:
        rows = self._connection.execute(select(_entries.c.head).order_by(_entries.c.seq.desc()).limit(1))
        return rows.scalar_one_or_none()

    def append(self, seq: int, entry: bytes, head: bytes) -> None:
        self._connection.execute(insert(_entries).values(seq=seq, entry=entry, head=head))


def _configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # sqlite3 must not begin transactions of its own
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={_WAIT_MS}", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
