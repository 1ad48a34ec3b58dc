from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_client.store import DeviceStore, FileStore, MemoryStore, StoreError, TaskRecord

RECORDS = st.builds(TaskRecord, st.integers(0, 1 << 53), st.integers(0, 1 << 53))
OLD, NEW = TaskRecord(3, 1), TaskRecord(4, 2)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "task-ß"]), RECORDS), max_size=5))
def test_last_record_of_each_task_is_remembered(
    tmp_path_factory: pytest.TempPathFactory, saves: list[tuple[str, TaskRecord]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "device.json"
    memory = MemoryStore()
    for task, record in saves:
        FileStore(path).save(task, record)
        memory.save(task, record)
    for task in ("a", "b", "task-ß"):
        expected = dict(saves).get(task, TaskRecord())
        assert FileStore(path).load(task) == memory.load(task) == expected


@pytest.mark.parametrize("make", [FileStore, lambda _: MemoryStore()])
def test_unknown_task_has_the_empty_record(tmp_path: Path, make: Callable[[Path], DeviceStore]) -> None:
    store = make(tmp_path / "device.json")
    store.save("one", OLD)
    assert store.load("other") == TaskRecord(last_round=0, participations=0)


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["write", "sync", "rename"])
def test_a_crash_in_the_middle_of_a_save_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = tmp_path / "device.json"
    FileStore(path).save("task", OLD)
    with monkeypatch.context() as patch:
        owner, name = {"write": (json, "dump"), "sync": (os, "fsync"), "rename": (Path, "replace")}[place]
        patch.setattr(owner, name, _crash)
        with pytest.raises(KeyboardInterrupt):
            FileStore(path).save("task", NEW)
    assert FileStore(path).load("task") == OLD
    FileStore(path).save("task", NEW)
    assert FileStore(path).load("task") == NEW


@pytest.mark.parametrize("name", ["device.json", "device.tmp", "device"])
def test_half_a_file_is_never_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever it is called, the file itself is not opened for writing."""
    path = tmp_path / name
    FileStore(path).save("task", OLD)
    monkeypatch.setattr(os, "fsync", _crash)
    with pytest.raises(KeyboardInterrupt):
        FileStore(path).save("task", NEW)
    assert FileStore(path).load("task") == OLD


def test_contents_reach_the_disk_before_the_rename_and_the_rename_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, events = tmp_path / "device.json", list[str]()
    sync, replace = os.fsync, Path.replace

    def recorded_sync(descriptor: int) -> None:
        events.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        sync(descriptor)

    def recorded_replace(source: Path, target: Path) -> Path:
        events.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    FileStore(path).save("task", NEW)
    assert events == ["sync file", "rename", "sync directory"]


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    FileStore(path).save("task", OLD)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"device\.json, got damaged data"):
            FileStore(path).load("task")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"task": []}',
        b'{"task": {}}',
        b'{"task": {"last_round": 3}}',
        b'{"task": {"participations": 1}}',
        b'{"task": {"last_round": "3", "participations": 1}}',
        b'{"task": {"last_round": 3, "participations": null}}',
        b'{"task": {"last_round": 3, "participations": -1}}',
        b'{"task": {"last_round": 3.5, "participations": 1}}',
        b'{"task": {"last_round": true, "participations": 1}}',
        b'{"task": {"last_round": 3, "participations": 1, "more": 1}}',
    ],
)
def test_a_damaged_file_is_neither_read_nor_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "device.json"
    path.write_bytes(content)
    for task in ("task", "other"):
        with pytest.raises(StoreError, match="damaged data"):
            FileStore(path).load(task)
        with pytest.raises(StoreError, match="damaged data"):
            FileStore(path).save(task, NEW)
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_read_is_not_taken_for_an_absent_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        FileStore(tmp_path).load("task")
    (tmp_path / "file").write_text("{}")
    with pytest.raises(StoreError, match=r"device\.json cannot be read: Not a directory"):
        FileStore(tmp_path / "file" / "device.json").load("task")
