"""The ledger in PostgreSQL, for coordinators on several machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from fl_server.ledger_store.errors import LedgerStoreError
from fl_server.ledger_store.schema import TableTransaction, migrate

_CONNECT_TIMEOUT_S = 5
"""How long to wait for each of the server's addresses to take a connection, where the URL has no `connect_timeout`."""
_LOCK_TIMEOUT_S = 30
"""How long to wait for another process's transaction."""

_SETTINGS = {
    "synchronous_commit": "on",
    "lock_timeout": f"{_LOCK_TIMEOUT_S}s",
    # A coordinator that lost its power must not hold the lock for the two hours of TCP's default.
    "tcp_keepalives_idle": f"{_LOCK_TIMEOUT_S}s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
}

# The lock is of the session and taken before BEGIN: a statement inside would fix a serialisable transaction's snapshot
# before its wait for the lock, and so show the ledger without the entries that it waited for.
_LOCK = text("SELECT pg_advisory_lock(hashtextextended('havenfl/ledger:' || current_schema(), 0))")


class PostgresLedgerStore:
    """One ledger in one schema of a database (the first of the search path), shared by any number of machines.

    Implements `privacy.ledger.LedgerStore`: an advisory lock makes each transaction exclusive, isolation level
    SERIALIZABLE catches whoever writes without the lock, synchronous_commit makes the commit durable
    (https://www.postgresql.org/docs/current/wal-async-commit.html). Each transaction connects anew, so that a server
    that was restarted is found again; a proxy between must not spread one connection over several sessions.
    """

    def __init__(self, url: str) -> None:
        """Connect, and create or migrate the schema.

        Args:
            url: `postgresql://user:password@host:port/database?parameters`; TLS is chosen by libpq's `sslmode` and
                `sslrootcert`. The password may come from PGPASSWORD or ~/.pgpass instead.

        Raises:
            LedgerStoreError: when the server cannot be used, does not answer within `connect_timeout`, does not write
                to disk, or the schema is of a newer version; it never shows the password.
        """
        parsed = _parsed(url)
        self._where = f"{parsed.host or 'the local socket'}, database {parsed.database}"
        self._engine = create_engine(parsed, poolclass=NullPool, hide_parameters=True)
        with self._connected() as connection:
            if connection.execute(text("SHOW fsync")).scalar_one() != "on":
                raise LedgerStoreError(f"ledger: expected fsync to be on at {self._where}: no charge would be durable")
            migrate(connection)

    @contextmanager
    def transaction(self) -> Iterator[TableTransaction]:
        """Hold the ledger exclusively until the end of the block, which commits; an exception undoes all of it.

        Raises:
            LedgerStoreError: when the server is not there, the connection is lost, somebody wrote without the lock, or
                another process keeps the lock for 30 s.
        """
        with self._connected() as connection:
            yield TableTransaction(connection)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(_LOCK)
                connection.commit()
                connection.execution_options(isolation_level="SERIALIZABLE")
                with connection.begin():
                    yield connection
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip()
            raise LedgerStoreError(f"ledger: expected a writable PostgreSQL at {self._where}, got: {cause}") from error


def _parsed(url: str) -> URL:
    """Parse a URL for SQLAlchemy, and put this store's settings behind the user's own `options`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # its text may hold the password
        raise LedgerStoreError("ledger: expected postgresql://user:password@host:port/database, got no URL") from None
    if not parsed.database:
        raise LedgerStoreError("ledger: expected postgresql://host/database, got no database")
    if "@" in (parsed.host or ""):
        raise LedgerStoreError("ledger: expected a password with @ written as %40 in the URL, got a bare one")
    settings = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
    own = parsed.query.get("options", "")
    options = f"{own if isinstance(own, str) else ' '.join(own)} {settings}".strip()
    timed = {"connect_timeout": str(_CONNECT_TIMEOUT_S)} | dict(parsed.query)
    return parsed.set(drivername="postgresql+psycopg", query=timed | {"options": options})
