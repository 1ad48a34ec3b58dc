"""The ledger in SQLite: what a transaction has committed survives a kill or a power cut at any moment.

SQLite's locks and shared memory hold on local file systems only. On a network file system two machines can both believe
that they hold the ledger's lock, and an fsync may be a promise only (https://www.sqlite.org/wal.html,
https://www.sqlite.org/howtocorrupt.html, section 2.1): the budget could be spent twice. Such a path is refused.
"""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from fl_server.ledger_store.errors import LedgerStoreError
from fl_server.ledger_store.schema import TableTransaction, migrate

MOUNTINFO = Path("/proc/self/mountinfo")
"""Linux's list of mounts, proc(5)."""

_OF_A_SERVER = {"nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncp", "ncpfs", "afs", "coda", "davfs"}
_OF_THE_HOST = {"9p", "virtiofs", "vboxsf", "prl_fs", "vmhgfs", "drvfs"}
_OF_A_CLUSTER = {"ceph", "lustre", "glusterfs", "beegfs", "orangefs", "pvfs2", "gpfs", "ocfs2", "gfs2", "acfs", "panfs"}
_NETWORK = frozenset(_OF_A_SERVER | _OF_THE_HOST | _OF_A_CLUSTER)
"""File systems served by another machine, by a virtual machine's host, or to all machines of a cluster."""

_LOCAL_FUSE = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.exfat"})
"""FUSE file systems on a local disk; of any other (sshfs, s3fs, rclone, ...) the opposite is assumed."""

_ADVICE = "put the ledger on a local disk, or in PostgreSQL: postgresql://..."


def check_local(path: Path, mountinfo: str | None = None) -> None:
    """Check that a path is on no network file system.

    On systems other than Linux nothing tells, and the path is taken to be local: there it is for the operator to know.

    Args:
        path: need not exist yet; symbolic links are followed.
        mountinfo: in the format of proc(5); by default, what the kernel says.

    Raises:
        LedgerStoreError: when it is, naming path and file system; also when Linux does not say what the path is on.
    """
    if mountinfo is None:
        if sys.platform != "linux":
            return
        mountinfo = _read_mountinfo(path)
    resolved = path.resolve()
    kind = _file_system(resolved, mountinfo)
    if kind is None:
        raise LedgerStoreError(f"ledger: expected a mount that holds {resolved}, got none listed; {_ADVICE}")
    if _is_network(kind):
        raise LedgerStoreError(f"ledger: expected a local file system at {resolved}, got {kind}; {_ADVICE}")


def _read_mountinfo(path: Path) -> str:
    try:
        return MOUNTINFO.read_text(errors="surrogateescape")
    except OSError as error:
        raise LedgerStoreError(
            f"ledger: expected {MOUNTINFO} to say which file system {path} is on, got {error}; {_ADVICE}"
        ) from error


def _file_system(path: Path, mountinfo: str) -> str | None:
    """Return the type of the mount with the longest prefix of the path; of several in one place, the last one's."""
    best, depth = None, 0
    for line in mountinfo.splitlines():
        mount, separator, rest = line.partition(" - ")
        if not separator:
            continue
        point = Path(_unescaped(mount.split(" ")[4]))
        if path.is_relative_to(point) and len(point.parts) >= depth:
            best, depth = rest.split(" ")[0], len(point.parts)
    return best


def _unescaped(field: str) -> str:
    r"""Decode the blanks and backslashes that are written as \040 and the like."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _is_network(kind: str) -> bool:
    return kind in _NETWORK or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)


_LOCK_TIMEOUT_MS = 30_000
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
            url,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=_LOCK_TIMEOUT_MS / 1000,
            hide_parameters=True,
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
        """Hold the ledger exclusively until the end of the block, which commits; an exception undoes all of it.

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
    for pragma in (f"busy_timeout={_LOCK_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
