"""Sixteen kinds of files load with flags alone, and to the messages that they were made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulations.cli import app
from simulations.config.config import load_config
from simulations.data.cli import data_overrides
from simulations.data.dataset import Dataset, load
from tests.support.data_files import ABUSE, KINDS, MESSAGES, TEXTS, USERS

SHOWN = {
    "olid": ["24 messages, 8 abuse", "official test set: 2 messages, 1 abuse", "'OFF' 8 → abuse"],
    "detox": ["official test set: 9 messages", "votes majority"],
    "hatexplain": ["24 messages, 8 abuse", "each of its values a row"],
    "convokit": ["24 messages, 8 abuse", "users: 12"],
    "jigsaw": ["official test set: 2 messages, 1 abuse"],
    "stormfront": ["24 .txt files, a message each", "users: 12"],
    "xlsx": ["sheet 'Chat'", "users: 12"],
    "gzipped": ["a.csv.gz: 10 rows", "b.csv.gz: 14 rows"],
}
WITH_USERS = {"convokit", "xlsx", "json_array", "stormfront", "parquet", "jsonl", "gzipped"}
IN_PIECES = {"detox"}
"""A part of the messages is the test set."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_file_loads_with_flags_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = KINDS[kind](tmp_path)
    result = CliRunner().invoke(app, ["data", *flags])
    assert result.exit_code == 0, result.output
    for line in SHOWN.get(kind, ["24 messages, 8 abuse"]):
        assert line in result.output
    assert all(len(line) < 200 for line in result.output.splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_is_what_was_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = loaded(KINDS[kind](tmp_path))
    table = dataset.table
    texts, labels = list(table.texts), table.required_labels().tolist()
    if kind in IN_PIECES:
        assert dataset.official is not None
        texts, labels = [*dataset.official.texts, *texts], [*dataset.official.required_labels(), *labels]
    found = sorted(zip(texts, labels, strict=True))
    words = [(" ".join(text.split())[:16], label) for text, label in found]
    assert words == sorted((" ".join(text.split())[:16], label) for text, label in written(kind))
    assert len(found) == MESSAGES
    if kind in WITH_USERS:
        assert table.users is not None
        assert len(set(table.users)) == 12
    else:
        assert table.users is None


def written(kind: str) -> list[tuple[str, int]]:
    opening = '"' if kind == "germeval" else ""
    return [(f"{opening}{text}", int(bad)) for text, bad in zip(TEXTS, ABUSE, strict=True)]


def test_line_ends_that_are_words_become_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert loaded(KINDS["detox"](tmp_path)).table.texts[0].endswith('"friend"\ngood bye')


def test_rows_of_messages_and_users_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = loaded(KINDS["stormfront"](tmp_path)).table
    assert table.users is not None
    assert {(text, user) for text, user in zip(table.texts, table.users, strict=True)} == set(
        zip(TEXTS, USERS, strict=True)
    )


def loaded(flags: list[str]) -> Dataset:
    """Load as the command does."""
    given: dict[str, object] = {}
    paths: list[str] = []
    rest = iter(flags)
    for word in rest:
        if word == "--no-quoting":
            given["quoting"] = False
        elif word.startswith("--"):
            given[word[2:].replace("-", "_")] = next(rest)
        else:
            paths.append(word)
    return load(load_config(None, data_overrides({**given, "path": paths})).data)
