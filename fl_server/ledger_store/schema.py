"""The table of entries, as both databases have it, and access to it inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, insert, select

entries_table = Table(
    "ledger_entries",
    MetaData(),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
)


class TableTransaction:
    """A `privacy.ledger.LedgerTransaction` on a connection that holds the ledger's lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def entries(self, start: int) -> Sequence[bytes]:
        """See `LedgerTransaction.entries`."""
        seq = entries_table.c.seq
        rows = self._connection.execute(select(entries_table.c.entry).where(seq >= start).order_by(seq))
        return rows.scalars().all()

    def head(self) -> bytes | None:
        """See `LedgerTransaction.head`."""
        last_first = entries_table.c.seq.desc()
        rows = self._connection.execute(select(entries_table.c.head).order_by(last_first).limit(1))
        return rows.scalar_one_or_none()

    def rows(self) -> Sequence[tuple[int, bytes, bytes]]:
        """Every number, entry and head, in order."""
        rows = self._connection.execute(select(entries_table).order_by(entries_table.c.seq))
        return [(row.seq, row.entry, row.head) for row in rows]

    def append(self, seq: int, entry: bytes, head: bytes) -> None:
        """See `LedgerTransaction.append`."""
        self._connection.execute(insert(entries_table).values(seq=seq, entry=entry, head=head))
