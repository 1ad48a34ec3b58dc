from __future__ import annotations

from pathlib import Path

import pytest

from fl_server.ledger_store import LedgerStoreError, SqliteLedgerStore, sqlite as mounts
from fl_server.ledger_store.sqlite import check_local

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


def mount(point: str, kind: str) -> str:
    return f"40 22 0:50 / {point} rw,relatime shared:2 master:1 - {kind} source rw,vers=4.2"


@pytest.mark.parametrize(
    "kind",
    [
        "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "lustre", "glusterfs", "beegfs", "ocfs2", "afs",
        "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs", "fuse.ceph-fuse", "fuse.unheard-of", "fuse",
    ],
)  # fmt: skip
def test_network_file_systems_are_refused(kind: str) -> None:
    expected = rf"at /srv/fl/ledger\.db, got {kind}; put the ledger on a local disk, or in PostgreSQL"
    with pytest.raises(LedgerStoreError, match=expected):
        check_local(Path("/srv/fl/ledger.db"), f"{ROOT}\n{mount('/srv/fl', kind)}\n")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "fuse.fuse-overlayfs"])
def test_local_ones_are_not(kind: str) -> None:
    check_local(Path("/srv/fl/ledger.db"), f"{ROOT}\n{mount('/srv', kind)}\n")


@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        ([ROOT, mount("/srv", "nfs4"), mount("/srv/fl", "xfs")], False),
        ([ROOT, mount("/srv/fl", "nfs4"), mount("/srv", "xfs")], True),
        ([ROOT, mount("/srv/f", "nfs4")], False),
        ([mount("/", "nfs4")], True),
        ([ROOT, mount("/srv/fl", "autofs"), mount("/srv/fl", "nfs4")], True),
        ([ROOT, mount("/srv/fl", "nfs4"), mount("/srv/fl", "xfs")], False),
    ],
    ids=["deeper wins", "order does not", "no prefix of names", "the root", "mounted over", "mounted over by a disk"],
)
def test_the_longest_prefix_decides(lines: list[str], refused: bool) -> None:
    if not refused:
        check_local(Path("/srv/fl/ledger.db"), "\n".join(lines))
        return
    with pytest.raises(LedgerStoreError, match="got nfs4"):
        check_local(Path("/srv/fl/ledger.db"), "\n".join(lines))


def test_blanks_in_names() -> None:
    line = mount(r"/mnt/my\040share", "cifs")
    with pytest.raises(LedgerStoreError, match="got cifs"):
        check_local(Path("/mnt/my share/ledger.db"), f"{ROOT}\n{line}")


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near.db").symlink_to(tmp_path / "far" / "ledger.db")
    with pytest.raises(LedgerStoreError, match="got nfs"):
        check_local(tmp_path / "near.db", f"{ROOT}\n{mount(str(tmp_path / 'far'), 'nfs')}")


def test_a_store_asks_before_it_touches_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "mountinfo"
    fake.write_text(f"{ROOT}\n{mount(str(tmp_path), 'nfs4')}\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", fake)
    with pytest.raises(LedgerStoreError, match="got nfs4"):
        SqliteLedgerStore(tmp_path / "ledger.db")
    assert not (tmp_path / "ledger.db").exists()


def test_linux_must_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "missing")
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(LedgerStoreError, match="to say which file system"):
        check_local(tmp_path / "ledger.db")
    with pytest.raises(LedgerStoreError, match="got none listed"):
        check_local(tmp_path / "ledger.db", "")


def test_elsewhere_the_operator_must_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "missing")
    monkeypatch.setattr("sys.platform", "darwin")
    check_local(tmp_path / "ledger.db")
