"""Files that are written whole, by several at once."""

from __future__ import annotations

import os
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import pytest

from privacy.base.files import leftovers, write_atomically

SIZE = 20_000


def write_often(path: Path, letter: bytes, times: int) -> None:
    for _ in range(times):
        write_atomically(path, letter * SIZE)


def test_two_processes_that_write_one_file_both_succeed(tmp_path: Path) -> None:
    path, context = tmp_path / "file", get_context("fork")
    writers = [context.Process(target=write_often, args=(path, letter, 100)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert path.read_bytes() in (b"a" * SIZE, b"b" * SIZE)
    assert list(tmp_path.iterdir()) == [path]


def test_two_threads_that_write_one_file_both_succeed(tmp_path: Path) -> None:
    path, failed = tmp_path / "file", list[Exception]()

    def write(letter: bytes) -> None:
        try:
            write_often(path, letter, 50)
        except OSError as error:
            failed.append(error)

    writers = [Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert path.read_bytes() in (b"a" * SIZE, b"b" * SIZE)


def test_what_a_writer_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f[1]"
    write_atomically(path, b"whole")
    assert leftovers(path) == []

    def killed(*_: object) -> None:
        os._exit(0)

    monkeypatch.setattr(os, "fsync", killed)
    writer = get_context("fork").Process(target=write_atomically, args=(path, b"half"))
    writer.start()
    writer.join()
    [left] = leftovers(path)
    assert (path.read_bytes(), left.read_bytes()) == (b"whole", b"half")
