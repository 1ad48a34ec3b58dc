"""A ledger in SQLite, read without writing anything: its rows, and whatever else lies in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from privacy.verification.errors import EvidenceError

_SCHEMA = {
    ("table", "alembic_version"): (
        "CREATE TABLE alembic_version ( version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num) )"
    ),
    ("index", "sqlite_autoindex_alembic_version_1"): "",
    ("table", "ledger_entries"): (
        "CREATE TABLE ledger_entries ( seq INTEGER NOT NULL, entry BLOB NOT NULL, head BLOB NOT NULL, "
        "PRIMARY KEY (seq) )"
    ),
    ("trigger", "ledger_no_UPDATE"): (
        "CREATE TRIGGER ledger_no_UPDATE BEFORE UPDATE ON ledger_entries "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    ),
    ("trigger", "ledger_no_DELETE"): (
        "CREATE TRIGGER ledger_no_DELETE BEFORE DELETE ON ledger_entries "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    ),
    ("trigger", "ledger_next_only"): (
        "CREATE TRIGGER ledger_next_only BEFORE INSERT ON ledger_entries "
        "WHEN NEW.seq <> (SELECT coalesce(max(seq) + 1, 0) FROM ledger_entries) "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: only the next number can be added'); END"
    ),
}
"""Everything that a ledger's database may define, with single blanks for any white space."""
_REVISIONS = ("0001", "0002")
_UNUSED = ("user_version", "application_id", "freelist_count")
"""Numbers in a ledger's database that are 0."""


@dataclass(frozen=True)
class LedgerFile:
    """What lies in a ledger's file.

    Attributes:
        entries: the ledger's entries, in order.
        heads: the signed head that is stored with each of them.
        strays: what else is in the file, in words.
        pending: whether a write-ahead log lies beside it, which is read with it.
    """

    entries: list[bytes]
    heads: list[bytes]
    strays: tuple[str, ...]
    pending: bool


def read_ledger_file(path: Path) -> LedgerFile:
    """Read a ledger's database.

    Raises:
        EvidenceError: when there is no ledger.
    """
    if not path.is_file():
        raise EvidenceError(f"--ledger: no file {path}")
    pending = path.with_name(f"{path.name}-wal").exists()
    try:
        with closing(sqlite3.connect(_read_only(path.resolve(), pending=pending), uri=True)) as connection:
            rows = connection.execute("SELECT seq, entry, head FROM ledger_entries ORDER BY seq").fetchall()
            strays = [*_undefined(connection), *_unnumbered([seq for seq, _, _ in rows])]
            strays += [] if pending else _beyond(connection, path.stat().st_size)
    except sqlite3.Error as error:
        raise EvidenceError(f"--ledger: expected a ledger in SQLite at {path}: {error}") from error
    if not all(isinstance(entry, bytes) and isinstance(head, bytes) for _, entry, head in rows):
        raise EvidenceError(f"--ledger: expected rows of bytes in {path}")
    return LedgerFile([entry for _, entry, _ in rows], [head for _, _, head in rows], tuple(strays), pending)


def _read_only(path: Path, *, pending: bool) -> str:
    """Return the URI that opens a ledger without ever writing it, so that a reviewer cannot change the evidence.

    Without a write-ahead log beside it, SQLite would make one, and fail where it may not: unless the file is said to be
    immutable (https://www.sqlite.org/wal.html#read_only_databases).
    """
    return f"{path.as_uri()}?mode=ro{'' if pending else '&immutable=1'}"


def _undefined(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what is defined besides the ledger's tables and triggers, and what is stored besides its rows."""
    versions = False
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
        expected = _SCHEMA.get((kind, name))
        if expected is None:
            yield f"a {kind} {name!r}"
        elif " ".join((sql or "").split()) != expected:
            yield f"another definition of {kind} {name!r}"
        versions = versions or name == "alembic_version"
    if versions:
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if len(rows) != 1 or rows[0][0] not in _REVISIONS:
            yield "something else than a revision in table 'alembic_version'"
    for pragma in _UNUSED:
        if value := connection.execute(f"PRAGMA {pragma}").fetchone()[0]:
            yield f"a {pragma} of {value}"


def _unnumbered(numbers: list[int]) -> Iterator[str]:
    if numbers != list(range(len(numbers))):
        yield "rows whose numbers are not those of their entries"


def _beyond(connection: sqlite3.Connection, size: int) -> Iterator[str]:
    pages, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if size != pages * page:
        yield f"{size} bytes in a file of {pages} pages of {page}"
    if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        yield f"damage: {found}"
