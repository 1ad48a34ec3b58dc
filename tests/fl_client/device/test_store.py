from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings, strategies as st

from fl_client.device.contents import VERSION
from fl_client.device.memory import Memory, SeenList, StoreError, TaskRecord
from fl_client.device.store import FileStore
from privacy.secagg import Rounds
from tests.support.paths import ROOT

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
GOLDEN = ROOT / "tests" / "golden" / "device_memory"
UNVERSIONED, VERSION_1 = GOLDEN / "unversioned.bin", GOLDEN / "version-1.bin"
NAMES = st.sampled_from(["a", "b", "task-ß"])
COUNTS = st.integers(0, (1 << 53) - 1)
ROUNDS = st.builds(Rounds, COUNTS, st.lists(COUNTS, max_size=5).map(tuple))
RECORDS = st.builds(TaskRecord, ROUNDS, COUNTS, st.lists(COUNTS, max_size=5).map(tuple))
MEMORIES = st.builds(
    Memory,
    st.dictionaries(NAMES, RECORDS),
    st.frozensets(NAMES),
    COUNTS,
    COUNTS,
    st.dictionaries(NAMES, st.builds(SeenList, st.integers(0, 1 << 32), st.binary(max_size=32))),
    COUNTS,
    st.binary(max_size=200),
)
SECRET = b"a share of another device's mask key " * 3
OLD = Memory({"task": TaskRecord(Rounds(3), 1)}, revocations={"population": SeenList(5)}, round=SECRET)
NEW = Memory({"task": TaskRecord(Rounds(4), 2, (4,))}, revocations={"population": SeenList(6)})


def file_store(path: Path) -> FileStore:
    return FileStore(path, KEY)


PURPOSE = b"havenfl/device/store/1"


def sealed(path: Path, plain: bytes, *, key: bytes = KEY, purpose: bytes = PURPOSE) -> None:
    """A file that the right key opens, whatever is in it."""
    nonce = os.urandom(12)
    path.write_bytes(nonce + AESGCM(key).encrypt(nonce, plain, purpose))


def opened(path: Path) -> dict[str, Any]:
    """What a file holds."""
    data = path.read_bytes()
    contents: dict[str, Any] = json.loads(AESGCM(KEY).decrypt(data[:12], data[12:], PURPOSE))
    return contents


@settings(max_examples=30)
@given(st.lists(MEMORIES, min_size=1, max_size=5))
def test_what_was_saved_last_is_remembered(tmp_path_factory: pytest.TempPathFactory, saves: list[Memory]) -> None:
    path = tmp_path_factory.mktemp("store") / "device.bin"
    for memory in saves:
        file_store(path).save(memory)
    assert file_store(path).load() == saves[-1]


def test_a_memory_is_begun_once(tmp_path: Path) -> None:
    path = tmp_path / "device.bin"
    assert FileStore.create(path, KEY).load() == Memory()
    file_store(path).save(NEW)
    with pytest.raises(FileExistsError):
        FileStore.create(path, KEY)
    assert file_store(path).load() == NEW


def test_a_memory_that_is_missing_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    """Whoever deletes the file would otherwise set all that the device counted to 0."""
    with pytest.raises(StoreError, match=r"device\.bin is missing, .*fl-client recover"):
        file_store(tmp_path / "device.bin").load()
    assert not (tmp_path / "device.bin").exists()


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["encryption", "sync", "rename"])
def test_a_crash_in_the_middle_of_a_save_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = tmp_path / "device.bin"
    file_store(path).save(OLD)
    with monkeypatch.context() as patch:
        owner, name = {"encryption": (os, "urandom"), "sync": (os, "fsync"), "rename": (Path, "replace")}[place]
        patch.setattr(owner, name, _crash)
        with pytest.raises(KeyboardInterrupt):
            file_store(path).save(NEW)
    assert file_store(path).load() == OLD
    file_store(path).save(NEW)
    assert file_store(path).load() == NEW


@pytest.mark.parametrize("name", ["device.bin", "device.tmp", "device"])
def test_half_a_file_is_never_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever it is called, the file itself is not opened for writing."""
    path = tmp_path / name
    file_store(path).save(OLD)
    monkeypatch.setattr(os, "fsync", _crash)
    with pytest.raises(KeyboardInterrupt):
        file_store(path).save(NEW)
    assert file_store(path).load() == OLD


def test_contents_reach_the_disk_before_the_rename_and_the_rename_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, events = tmp_path / "device.bin", list[str]()
    sync, replace = os.fsync, Path.replace

    def recorded_sync(descriptor: int) -> None:
        events.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        sync(descriptor)

    def recorded_replace(source: Path, target: Path) -> Path:
        events.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    file_store(path).save(NEW)
    assert events == ["sync file", "rename", "sync directory"]


# At rest.


def test_the_file_shows_neither_secrets_nor_what_the_device_took_part_in(tmp_path: Path) -> None:
    path = tmp_path / "device.bin"
    task, population = "ab" * 32, "the devices of one hospital"
    file_store(path).save(Memory({task: TaskRecord(Rounds(3), 1)}, revocations={population: SeenList(5)}, round=SECRET))
    for file in tmp_path.iterdir():
        written = file.read_bytes()
        for plain in (SECRET, SECRET.hex().encode(), task.encode(), bytes.fromhex(task), population.encode(), KEY):
            assert plain not in written
            assert plain[:12] not in written
    assert repr(file_store(path)) == "FileStore(device.bin)"


def test_the_same_contents_are_never_sealed_alike(tmp_path: Path) -> None:
    """A nonce that came twice would give both contents away."""
    path, seen = tmp_path / "device.bin", set[bytes]()
    for _ in range(20):
        file_store(path).save(OLD)
        seen.add(path.read_bytes()[:12])
    assert len(seen) == 20


def test_another_key_reads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "device.bin"
    file_store(path).save(OLD)
    _is_refused(FileStore(path, OTHER_KEY), path)
    assert file_store(path).load() == OLD


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(ValueError, match=f"key: expected 32 bytes, got {len(key)}"):
        FileStore(tmp_path / "device.bin", key)


def test_every_flipped_bit_and_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "device.bin"
    file_store(path).save(OLD)
    whole = path.read_bytes()
    flips = [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
    for damaged in [*flips, *(whole[:length] for length in range(len(whole))), whole + b"\0"]:
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"expected device\.bin as this device's key sealed it, got damaged data"):
            file_store(path).load()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"tasks": {}, "revocations": {}}',
        b'{"tasks": {}, "round": ""}',
        b'{"revocations": {}, "round": ""}',
        b'{"tasks": {}, "revocations": {}, "round": "", "more": 1}',
        b'{"tasks": {"task": {"last_round": 3}}, "revocations": {}, "round": ""}',
        b'{"tasks": {"task": {"last_round": "3", "participations": 1}}, "revocations": {}, "round": ""}',
        b'{"tasks": {"task": {"last_round": 3, "participations": null}}, "revocations": {}, "round": ""}',
        b'{"tasks": {"task": {"last_round": 3, "participations": -1}}, "revocations": {}, "round": ""}',
        b'{"tasks": {"task": {"last_round": true, "participations": 1}}, "revocations": {}, "round": ""}',
        b'{"tasks": {}, "revocations": {"population": "5"}, "round": ""}',
        b'{"version": 1, "tasks": {}, "revocations": {}}',
        b'{"version": 1, "tasks": {}, "revocations": {}, "round": "", "more": 1}',
        b'{"version": 2, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": 2, "tasks": {}, "closed": [], "participations_closed": 0, "participations_lost": 0, '
        b'"revocations": {}, "time": 0, "round": "xy"}',
        b'{"version": 2, "tasks": {}, "closed": [], "participations_closed": -1, "participations_lost": 0, '
        b'"revocations": {}, "time": 0, "round": ""}',
        b'{"version": 0, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": -1, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": "2", "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": true, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": null, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": 1.0, "tasks": {}, "revocations": {}, "round": ""}',
    ],
)
def test_contents_that_are_not_whole_are_not_read(tmp_path: Path, content: bytes) -> None:
    """Also when the right key sealed them: a field that is missing is not a history that is empty."""
    path = tmp_path / "device.bin"
    sealed(path, content)
    _is_refused(file_store(path), path)


def test_a_file_that_was_sealed_for_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "device.bin"
    sealed(path, b'{"tasks": {}, "revocations": {}, "round": ""}')
    assert file_store(path).load() == Memory()
    sealed(path, b'{"tasks": {}, "revocations": {}, "round": ""}', purpose=b"another file of this host")
    _is_refused(file_store(path), path)


# Versions.


@pytest.mark.parametrize(("file", "version"), [(UNVERSIONED, None), (VERSION_1, 1)])
def test_a_memory_of_an_earlier_version_is_read_and_written_back_as_the_newest(
    tmp_path: Path, file: Path, version: int | None
) -> None:
    """What was counted stays. The round in progress goes: it had secrets that no disk keeps any more."""
    path = tmp_path / "device.bin"
    shutil.copyfile(file, path)
    assert opened(path).get("version") == version
    memory = Memory(
        {"ab" * 32: TaskRecord(Rounds(7), 3, (5,)), "cd" * 32: TaskRecord(Rounds(2))},
        revocations={"the devices of one hospital": SeenList(4)},
    )
    assert file_store(path).load() == memory
    assert path.read_bytes() == file.read_bytes(), "reading alone changes nothing"
    file_store(path).save(memory)
    assert opened(path)["version"] == VERSION == 2
    assert file_store(path).load() == memory


def test_a_memory_from_before_versions_that_was_damaged_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "device.bin", UNVERSIONED.read_bytes()
    for place in range(0, len(whole), 16):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        _is_refused(file_store(path), path)


@pytest.mark.parametrize("content", [{"version": 3, "tasks": {}, "revocations": {}, "round": ""}, {"version": 10**9}])
def test_a_memory_of_a_newer_version_is_refused_by_name(tmp_path: Path, content: dict[str, Any]) -> None:
    """A field that this version does not know may be just what the device did."""
    path = tmp_path / "device.bin"
    sealed(path, json.dumps(content).encode())
    _is_refused(
        file_store(path),
        path,
        rf"device\.bin up to version 2, got {content['version']}: .* by a newer version of havenfl",
    )


def _is_refused(store: FileStore, path: Path, message: str = "damaged data") -> None:
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message) as caught:
        store.load()
    assert caught.value.__cause__ is None
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_read_is_not_taken_for_an_absent_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        file_store(tmp_path).load()
    (tmp_path / "file").write_text("{}")
    with pytest.raises(StoreError, match=r"device\.bin cannot be read: Not a directory"):
        file_store(tmp_path / "file" / "device.bin").load()
    with pytest.raises(StoreError, match=r"device\.bin cannot be locked"):
        file_store(tmp_path / "file" / "device.bin").save(NEW)
