"""A write-ahead log that was torn or damaged: what is left is a ledger that verifies, as of an earlier moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fl_server.ledger_store import SqliteLedgerStore
from tests.support.ledger_rounds import Run, check, open_ledger, verified

_FRAME = 24 + 4096
"""A page of the log with its header (https://www.sqlite.org/fileformat2.html#walformat)."""


class Wreck:
    """The files of a ledger whose log holds several commits."""

    def __init__(self, path: Path) -> None:
        rounds = path / "rounds"
        rounds.mkdir()
        file = rounds / "ledger.db"
        open_ledger(SqliteLedgerStore(file))
        with _held_open(file):
            Run(str(file), rounds).all_rounds()
            self.database, self.log = file.read_bytes(), file.with_name("ledger.db-wal").read_bytes()
        self.entries = check(str(file), rounds)
        self._path = path

    def entries_with(self, log: bytes) -> tuple[bytes, ...]:
        """What a store finds that has this log instead: a disk that lost synced data keeps no promise."""
        image = self._path / "image"
        image.mkdir(exist_ok=True)
        for old in image.iterdir():
            old.unlink()
        (image / "ledger.db").write_bytes(self.database)
        (image / "ledger.db-wal").write_bytes(log)
        return verified(str(image / "ledger.db"))


@contextmanager
def _held_open(file: Path) -> Iterator[None]:
    """SQLite neither folds the log back nor removes it while somebody reads an old state."""
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM ledger_entries").fetchall()
        yield


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    return Wreck(tmp_path_factory.mktemp("wreck"))


def test_the_log_is_read_to_its_end(wreck: Wreck) -> None:
    assert wreck.entries_with(wreck.log) == wreck.entries
    assert len(wreck.entries_with(b"")) == 1


@pytest.mark.parametrize("offset", [-1, 0, 1, 24, 300])
def test_a_log_cut_off_anywhere_leaves_an_earlier_ledger(wreck: Wreck, offset: int) -> None:
    lengths = []
    for end in range(32, len(wreck.log) + 1, _FRAME):
        entries = wreck.entries_with(wreck.log[: max(0, end + offset)])
        assert entries == wreck.entries[: len(entries)]
        lengths.append(len(entries))
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 3


def test_a_log_with_a_flipped_bit_leaves_an_earlier_ledger(wreck: Wreck) -> None:
    """Checksums chain: nothing after the damage is believed."""
    for position in range(len(wreck.log) - 1, 32, -1237):
        damaged = bytearray(wreck.log)
        damaged[position] ^= 0x40
        entries = wreck.entries_with(bytes(damaged))
        assert entries == wreck.entries[: len(entries)]
    assert len(entries) < len(wreck.entries)
