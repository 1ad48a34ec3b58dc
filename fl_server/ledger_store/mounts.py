"""Which file system a path is on: SQLite's locks and shared memory hold on local ones only.

On a network file system two machines can both believe that they hold the ledger's lock, and an fsync may be a promise
only (https://www.sqlite.org/wal.html, https://www.sqlite.org/howtocorrupt.html, section 2.1): the budget could be
spent twice.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from fl_server.ledger_store.errors import LedgerStoreError

MOUNTINFO = Path("/proc/self/mountinfo")
"""Linux's list of mounts, proc(5)."""

_OF_A_SERVER = {"nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncp", "ncpfs", "afs", "coda", "davfs"}
_OF_THE_HOST = {"9p", "virtiofs", "vboxsf", "prl_fs", "vmhgfs", "drvfs"}
_OF_A_CLUSTER = {"ceph", "lustre", "glusterfs", "beegfs", "orangefs", "pvfs2", "gpfs", "ocfs2", "gfs2", "acfs", "panfs"}
_NETWORK = frozenset(_OF_A_SERVER | _OF_THE_HOST | _OF_A_CLUSTER)
"""Served by another machine, by the host of a virtual machine, or shared by the machines of a cluster."""

_LOCAL_FUSE = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.exfat"})
"""Known to be on a local disk; of any other FUSE file system (sshfs, s3fs, rclone, ...) the opposite is assumed."""

_ADVICE = "put the ledger on a local disk, or in PostgreSQL: postgresql://..."


def check_local(path: Path, mountinfo: str | None = None) -> None:
    """Refuse a path on a network file system.

    On systems other than Linux nothing tells, and the path is taken to be local: there it is for the operator to know.

    Args:
        path: need not exist yet; symbolic links are followed.
        mountinfo: in the format of proc(5); by default, what the kernel says.

    Raises:
        LedgerStoreError: naming path and file system; also when Linux does not say what the path is on.
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
    """The type of the mount with the longest prefix of the path; of several in one place, the last covers the rest."""
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
    r"""Blanks and backslashes are written as \040 and the like."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _is_network(kind: str) -> bool:
    return kind in _NETWORK or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)
