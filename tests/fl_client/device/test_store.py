from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings, strategies as st

from fl_client.device.store import VERSION, DeviceStore, FileStore, Memory, StoreError, TaskRecord
from tests.support.paths import ROOT
from tests.support.stores import MemoryDeviceStore

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
UNVERSIONED = ROOT / "tests" / "golden" / "device_memory" / "unversioned.bin"
NAMES = st.sampled_from(["a", "b", "task-ß"])
COUNTS = st.integers(0, (1 << 53) - 1)
RECORDS = st.builds(TaskRecord, COUNTS, COUNTS)
MEMORIES = st.builds(Memory, st.dictionaries(NAMES, RECORDS), st.dictionaries(NAMES, st.integers(0, 1 << 32)))
OLD = Memory({"task": TaskRecord(3, 1)}, {"population": 5})
NEW = Memory({"task": TaskRecord(4, 2, 4)}, {"population": 6})
SECRET = b"the mask key of this round " * 3


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
@given(st.lists(st.one_of(MEMORIES, st.binary(max_size=200)), max_size=5))
def test_what_was_saved_last_is_remembered(
    tmp_path_factory: pytest.TempPathFactory, saves: list[Memory | bytes]
) -> None:
    """Memory and round apart: saving the one leaves the other as it was."""
    path, memory, state = tmp_path_factory.mktemp("store") / "device.bin", Memory(), b""
    in_process = MemoryDeviceStore()
    for save in saves:
        for store in (file_store(path), in_process):
            if isinstance(save, Memory):
                memory = save
                store.save(save)
            else:
                state = save
                store.save_round(partial(bytes, save))
    for store in (file_store(path), in_process):
        assert (store.load(), store.load_round()) == (memory, state)


@pytest.mark.parametrize("make", [file_store, lambda _: MemoryDeviceStore()])
def test_a_new_store_is_empty(tmp_path: Path, make: Callable[[Path], DeviceStore]) -> None:
    store = make(tmp_path / "device.bin")
    assert (store.load(), store.load_round()) == (Memory({}, {}), b"")
    assert not (tmp_path / "device.bin").exists()


def test_one_change_of_a_memory_leaves_the_rest() -> None:
    changed = OLD.with_task("other", TaskRecord(1, 1)).with_revocations("elsewhere", 2)
    assert changed.tasks == {"task": TaskRecord(3, 1), "other": TaskRecord(1, 1)}
    assert changed.revocations == {"population": 5, "elsewhere": 2}
    assert OLD.with_task("task", TaskRecord(4, 2, 4)).with_revocations("population", 6) == NEW
    assert OLD.tasks == {"task": TaskRecord(3, 1)}


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["encryption", "sync", "rename"])
def test_a_crash_in_the_middle_of_a_save_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = tmp_path / "device.bin"
    file_store(path).save(OLD)
    file_store(path).save_round(lambda: SECRET)
    with monkeypatch.context() as patch:
        owner, name = {"encryption": (os, "urandom"), "sync": (os, "fsync"), "rename": (Path, "replace")}[place]
        patch.setattr(owner, name, _crash)
        with pytest.raises(KeyboardInterrupt):
            file_store(path).save(NEW)
        with pytest.raises(KeyboardInterrupt):
            file_store(path).save_round(lambda: b"")
    assert (file_store(path).load(), file_store(path).load_round()) == (OLD, SECRET)
    file_store(path).save(NEW)
    assert (file_store(path).load(), file_store(path).load_round()) == (NEW, SECRET)


@pytest.mark.parametrize("name", ["device.bin", "device.tmp", "device"])
def test_half_a_file_is_never_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever it is called, the file itself is not opened for writing."""
    path = tmp_path / name
    file_store(path).save(OLD)
    monkeypatch.setattr(os, "fsync", _crash)
    with pytest.raises(KeyboardInterrupt):
        file_store(path).save(NEW)
    assert file_store(path).load() == OLD


@pytest.mark.parametrize("what", ["memory", "round"])
def test_contents_reach_the_disk_before_the_rename_and_the_rename_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
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
    if what == "memory":
        file_store(path).save(NEW)
    else:
        file_store(path).save_round(lambda: SECRET)
    assert events == ["sync file", "rename", "sync directory"]


# At rest.


def test_the_file_shows_neither_secrets_nor_what_the_device_took_part_in(tmp_path: Path) -> None:
    path = tmp_path / "device.bin"
    task, population = "ab" * 32, "the devices of one hospital"
    file_store(path).save(Memory({task: TaskRecord(3, 1)}, {population: 5}))
    file_store(path).save_round(lambda: SECRET)
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


def test_another_key_reads_nothing_and_overwrites_nothing(tmp_path: Path) -> None:
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
        b'{"version": 0, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": -1, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": "2", "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": true, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": null, "tasks": {}, "revocations": {}, "round": ""}',
        b'{"version": 1.0, "tasks": {}, "revocations": {}, "round": ""}',
    ],
)
def test_contents_that_are_not_whole_are_neither_read_nor_replaced(tmp_path: Path, content: bytes) -> None:
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


def test_a_memory_from_before_versions_is_read_and_written_back_as_version_1(tmp_path: Path) -> None:
    path = tmp_path / "device.bin"
    shutil.copyfile(UNVERSIONED, path)
    assert "version" not in opened(path)
    memory = Memory(
        {"ab" * 32: TaskRecord(7, 3, 5), "cd" * 32: TaskRecord(2, 0, None)}, {"the devices of one hospital": 4}
    )
    state = b"the mask key of this round"
    assert (file_store(path).load(), file_store(path).load_round()) == (memory, state)
    assert path.read_bytes() == UNVERSIONED.read_bytes(), "reading alone changes nothing"
    file_store(path).save_round(lambda: SECRET)
    assert opened(path)["version"] == VERSION == 1
    assert (file_store(path).load(), file_store(path).load_round()) == (memory, SECRET)
    file_store(path).save(NEW)
    assert (file_store(path).load(), file_store(path).load_round()) == (NEW, SECRET)


def test_a_memory_from_before_versions_that_was_damaged_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "device.bin", UNVERSIONED.read_bytes()
    for place in range(0, len(whole), 16):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        _is_refused(file_store(path), path)


@pytest.mark.parametrize("content", [{"version": 2, "tasks": {}, "revocations": {}, "round": ""}, {"version": 10**9}])
def test_a_memory_of_a_newer_version_is_refused_by_name(tmp_path: Path, content: dict[str, Any]) -> None:
    """A field that this version does not know may be just what the device did."""
    path = tmp_path / "device.bin"
    sealed(path, json.dumps(content).encode())
    _is_refused(
        file_store(path),
        path,
        rf"device\.bin up to version 1, got {content['version']}: .* by a newer version of havenfl",
    )


def _is_refused(store: FileStore, path: Path, message: str = "damaged data") -> None:
    before = path.read_bytes()
    for use in (store.load, store.load_round, lambda: store.save(NEW), lambda: store.save_round(lambda: b"")):
        with pytest.raises(StoreError, match=message) as caught:
            use()
        assert caught.value.__cause__ is None
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_read_is_not_taken_for_an_absent_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        file_store(tmp_path).load()
    (tmp_path / "file").write_text("{}")
    with pytest.raises(StoreError, match=r"device\.bin cannot be read: Not a directory"):
        file_store(tmp_path / "file" / "device.bin").load()
