"""The table of entries as both databases have it, access to it, and bringing a store to this version's schema.

A migration runs inside the caller's transaction: an interrupted one changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, insert, inspect, select

from fl_server.ledger_store.errors import LedgerStoreError

entries_table = Table(
    "ledger_entries",
    MetaData(),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
)


class TableTransaction:
    """Access to the entries on a connection that holds the ledger's lock.

    Implements `privacy.ledger.ledger.LedgerTransaction`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def entries(self, start: int) -> Sequence[bytes]:
        """Return the entries from number `start` on."""
        seq = entries_table.c.seq
        rows = self._connection.execute(select(entries_table.c.entry).where(seq >= start).order_by(seq))
        return rows.scalars().all()

    def head(self) -> bytes | None:
        """Return the head stored with the last entry; None in an empty store."""
        last_first = entries_table.c.seq.desc()
        rows = self._connection.execute(select(entries_table.c.head).order_by(last_first).limit(1))
        return rows.scalar_one_or_none()

    def rows(self) -> Sequence[tuple[int, bytes, bytes]]:
        """Return every number, entry and head, in order."""
        rows = self._connection.execute(select(entries_table).order_by(entries_table.c.seq))
        return [(row.seq, row.entry, row.head) for row in rows]

    def append(self, seq: int, entry: bytes, head: bytes) -> None:
        """Add entry number `seq`, the next one, and the head after it."""
        self._connection.execute(insert(entries_table).values(seq=seq, entry=entry, head=head))


BASELINE = "0001"
"""The schema of the stores that were made before there were migrations."""

_one_at_a_time = Lock()
"""Alembic's `op` and `context` are global to the process."""


def migrate(connection: Connection) -> None:
    """Create the schema, or bring it to this version.

    Args:
        connection: in a transaction that excludes every other writer and in which DDL can be rolled back.

    Raises:
        LedgerStoreError: when the store was written by a newer version.
        SQLAlchemyError: when the database refuses.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None and current not in {known.revision for known in script.walk_revisions()}:
        raise LedgerStoreError(
            f"ledger: expected a schema up to {script.get_current_head()}, got {current}: it was written by a newer "
            "version of havenfl; use that one"
        )
    config.attributes["connection"] = connection
    with _one_at_a_time:
        if current is None and inspect(connection).has_table(entries_table.name):
            command.stamp(config, BASELINE)
        command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    location = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
