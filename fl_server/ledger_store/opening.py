"""A ledger's store by its address, and a copy of it for reviewers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from fl_server.ledger_store.errors import LedgerStoreError
from fl_server.ledger_store.postgres import PostgresLedgerStore
from fl_server.ledger_store.sqlite import SqliteLedgerStore

_SQLITE, _POSTGRES = "sqlite:///", "postgresql://"


def open_ledger_store(where: str | Path) -> SqliteLedgerStore | PostgresLedgerStore:
    """Open, create or migrate the ledger's store, to write to it; reviewers read the file instead.

    Args:
        where: a path, `sqlite:///path` (an absolute path has a fourth slash) or
            `postgresql://user@host:port/database?sslmode=verify-full`, with libpq's parameters
            (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS).

    Raises:
        LedgerStoreError: when it cannot be opened, is of a newer version, or lies on a network file system.
    """
    if (file := _file(where)) is not None:
        return SqliteLedgerStore(file)
    url = str(where)
    if not url.startswith(_POSTGRES):
        scheme = url.partition("://")[0]
        raise LedgerStoreError(f"ledger: expected a path, {_SQLITE}... or {_POSTGRES}..., got {scheme}://...")
    return PostgresLedgerStore(url)


def _file(where: str | Path) -> Path | None:
    """Return the path of a SQLite file; None for another scheme."""
    if isinstance(where, Path) or "://" not in where:
        return Path(where)
    return Path(where.removeprefix(_SQLITE)) if where.startswith(_SQLITE) else None


def export_ledger(where: str | Path, out: Path) -> int:
    """Copy a ledger, byte by byte, to a new SQLite file for reviewers.

    Args:
        where: the ledger, as `open_ledger_store` takes it.
        out: the path of the copy.

    Returns:
        The number of entries.

    Raises:
        LedgerStoreError: when there is no ledger, `out` exists, or either of them cannot be used; nothing is then made.
    """
    if (file := _file(where)) is not None and not file.exists():
        raise LedgerStoreError(f"ledger: expected the file of a ledger, there is none at {file}")
    if out.exists():
        raise LedgerStoreError(f"out: expected a new path for the copy, {out} exists")
    with open_ledger_store(where).transaction() as transaction:
        rows = transaction.rows()
    partial = out.with_name(f"{out.name}.partial")
    partial.unlink(missing_ok=True)
    with closing(SqliteLedgerStore(partial)) as copy, copy.transaction() as transaction:
        for seq, entry, head in rows:
            transaction.append(seq, entry, head)
    partial.replace(out)
    return len(rows)
