"""The ledger in SQLite: what a transaction has committed survives a kill or a power cut at any moment."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from fl_server.ledger_store.errors import LedgerStoreError
from fl_server.ledger_store.migrate import migrate
from fl_server.ledger_store.mounts import check_local
from fl_server.ledger_store.schema import TableTransaction

_WAIT_MS = 30_000
"""How long to wait for another process's transaction."""


class SqliteLedgerStore:
    """One ledger in one file, shared by any number of processes on one machine.

    Implements `privacy.ledger.LedgerStore`: BEGIN IMMEDIATE makes each transaction exclusive, WAL with synchronous
    FULL makes its commit durable (https://www.sqlite.org/pragma.html#pragma_synchronous). One connection is kept: the
    last one to close a database folds its log back and removes it, which costs more than a charge. So while a store is
    open a copy needs the log beside the file: `export_ledger` makes one.
    """

    def __init__(self, path: Path) -> None:
        """Open, create or migrate the file.

        Raises:
            LedgerStoreError: when it cannot be opened or written, is no SQLite database, is of a newer version or lies
                on a network file system.
        """
        check_local(path)
        self._path = path
        url = URL.create("sqlite", database=str(path))
        self._engine = create_engine(
            url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=_WAIT_MS / 1000, hide_parameters=True
        )
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin_immediate)
        self._closed = weakref.finalize(self, self._engine.dispose)
        try:
            with self._connected() as connection:
                migrate(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Fold the log back into the file, if nobody else has it open; also done when the store is forgotten."""
        self._closed()

    @contextmanager
    def transaction(self) -> Iterator[TableTransaction]:
        """See `LedgerStore.transaction`.

        Raises:
            LedgerStoreError: when the file cannot be read or written, or another process keeps it for 30 s.
        """
        with self._connected() as connection:
            yield TableTransaction(connection)

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


def _configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # sqlite3 must not begin transactions of its own
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={_WAIT_MS}", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
