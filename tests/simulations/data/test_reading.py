"""Odd cells, users, times and paths: each read as what it is, or refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from simulations.config.data import DataConfig
from simulations.config.rules import Condition, Positive, parse_votes, word_of
from simulations.data.dataset import Dataset, load
from simulations.data.errors import DataError
from tests.support.data_files import workbook


def dataset(path: Path | tuple[Path, ...], **given: object) -> Dataset:
    return load(DataConfig.model_validate({"path": path, **given}))


def put(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_a_cell_may_be_as_long_as_a_message(tmp_path: Path) -> None:
    text = "long " * 60_000
    table = dataset(put(tmp_path / "a.csv", f"text,label\n{text},1\nb,0\n")).table
    assert table.texts[0] == text


def test_one_json_object_by_whatever_name(tmp_path: Path) -> None:
    content = '{"a": {"text": "x", "label": 1},\n "b": {"text": "y", "label": 0}}'
    for name in ("a.json", "a.jsonl"):
        assert dataset(put(tmp_path / name, content)).table.texts == ["x", "y"]


def test_json_lines_by_whatever_name(tmp_path: Path) -> None:
    content = '{"text": "x", "label": 1}\n{"text": "y",\n "label": 0}'
    for name in ("a.json", "a.jsonl", "a.ndjson"):
        assert dataset(put(tmp_path / name, content)).table.texts == ["x", "y"]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_parquet_of_every_unit(tmp_path: Path, unit: str, zone: str | None) -> None:
    """Nanoseconds among them, which Python's own times do not have."""
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = pa.array([10**9 * scale + 1, 10**9 * scale + 2], pa.timestamp(unit, tz=zone))
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1], "at": times}), tmp_path / "a.parquet")
    read = dataset(tmp_path / "a.parquet", time_column="at").table.required_times()
    assert np.allclose(read, [1e9 + 1 / scale, 1e9 + 2 / scale], atol=2e-6)


def test_nested_columns_of_parquet(tmp_path: Path) -> None:
    posts = [{"text": "a", "by": {"name": "u1"}}, {"text": "b", "by": {"name": "u2"}}, {"text": "c", "by": None}]
    votes = [[{"label": "hate"}, {"label": "hate"}], [{"label": "fine"}], [{"label": "hate"}]]
    pq.write_table(pa.table({"post": posts, "votes": votes}), tmp_path / "a.parquet")
    found = dataset(
        tmp_path / "a.parquet",
        text_column="post.text",
        label_column="votes.label",
        positive="hate",
        votes="majority",
        where="post.by.name!=",
        user_column="post.by.name",
    ).table
    assert (found.texts, found.users, found.required_labels().tolist()) == (["a", "b"], ["u1", "u2"], [1, 0])


def test_two_spellings_of_a_user_are_one_device(tmp_path: Path) -> None:
    names = ["u7", "u7 ", " u7", "u7\u200b", "7", "7.0", "Zoe\u0308", "Zo\u00eb", "U7"]
    rows = "".join(f'text {n},{n % 2},"{name}"\n' for n, name in enumerate(names))
    found = dataset(put(tmp_path / "a.csv", f"text,label,user\n{rows}"), user_column="user")
    assert found.table.users == ["u7"] * 4 + ["7", "7", "Zoë", "Zoë", "U7"]
    assert any("3 users written in several ways" in note for note in found.notes)
    assert any("2 users differ in nothing but small and large letters" in note for note in found.notes)


def test_a_user_who_may_be_nobody_is_named(tmp_path: Path) -> None:
    rows = "".join(f"text {n},{n % 2},{'[deleted]' if n % 2 else f'u{n}'}\n" for n in range(200))
    found = dataset(put(tmp_path / "a.csv", f"text,label,user\n{rows}"), user_column="user")
    assert [note for note in found.notes if "--where 'user!=[deleted]'" in note]


def test_users_of_a_workbook_are_no_fractions(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(workbook([("text", "label", "user"), ("a", "1", "7.0"), ("b", "0", "7")]))
    assert dataset(tmp_path / "a.xlsx", user_column="user").table.users == ["7", "7"]


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#VALUE!", " #name? "])
def test_an_error_of_a_spreadsheet_is_no_user(tmp_path: Path, error: str) -> None:
    path = put(tmp_path / "a.csv", f"text,label,user\na,1,x\nb,0,{error}\n")
    with pytest.raises(DataError, match=r"--user-column: expected a user in every row.*row 2"):
        dataset(path, user_column="user")


@pytest.mark.parametrize("other", ["2024-01-02", "2024-01-02T10:00:00Z"])
def test_numbers_and_dates_in_one_column_are_in_no_order(tmp_path: Path, other: str) -> None:
    path = put(tmp_path / "a.csv", f"text,label,at\na,1,20240101\nb,0,{other}\nc,0,20240103\n")
    with pytest.raises(DataError, match=r"either numbers or dates, got '20240101', a number, in row 1 \(2 such rows\)"):
        dataset(path, time_column="at")


def test_dates_with_and_without_a_zone(tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.csv", "text,label,at\na,1,2024-01-02\nb,0,2024-01-02T02:00:00+02:00\nc,0,20240102T010000\n"
    )
    day = datetime(2024, 1, 2, tzinfo=UTC).timestamp()
    assert dataset(path, time_column="at").table.required_times().tolist() == [day, day, day + 3600]


def test_rows_of_annotators_are_one_message(tmp_path: Path) -> None:
    rows = "p1,hello,1\np2,bye,1\np1,hello,0\np1,hello,0\np2,bye,1\np2,bye,0\n"
    path = put(tmp_path / "a.csv", f"id,text,label\n{rows}")
    found = dataset(path, message_column="id", votes="majority").table
    assert (found.texts, found.required_labels().tolist()) == (["hello", "bye"], [0, 1])
    both = put(tmp_path / "b.csv", f"id,text,label\n{rows}p3,no,0\n")
    assert dataset(both, message_column="id", votes="any").table.required_labels().tolist() == [1, 1, 0]
    with pytest.raises(DataError, match="two for 'p1', in row 1 and row 3"):
        dataset(put(tmp_path / "c.csv", "id,text,label\np1,a,1\np2,b,0\np1,c,1\n"), message_column="id", votes="any")


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.floats(0.01, 1))
def test_a_message_is_abuse_from_the_asked_fraction_of_votes_on(votes: list[bool], fraction: float) -> None:
    share = sum(votes) / len(votes)
    assert parse_votes("majority").holds(share) == (2 * sum(votes) > len(votes))
    assert parse_votes("any").holds(share) == any(votes)
    assert parse_votes(f">={fraction!r}").holds(share) == (share >= fraction)


def test_a_positive_word_that_never_occurs_is_a_mistake(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "text,label\na,hate\nb,fine\nc,Hate \n")
    assert dataset(path, positive="HATE").table.required_labels().tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"--positive: no label 'hat' in column 'label'; it holds 'hate' \(1\)"):
        dataset(path, positive="hat,fine")


def test_labels_that_are_joined_are_each_messages_own(tmp_path: Path) -> None:
    put(tmp_path / "labels.csv", "key,label,user\n3,1,c\n1,0,a\n2.0,1,b\n9,0,z\n")
    path = put(tmp_path / "a.csv", "id,text\n1,one\n2,two\n3,three\n4,four\n")
    found = dataset(path, labels=tmp_path / "labels.csv", join="id=key", user_column="user")
    assert found.table.texts == ["one", "two", "three"]
    assert found.table.required_labels().tolist() == [0, 1, 1]
    assert found.table.users == ["a", "b", "c"]
    assert any("1 of 4 rows have no label" in note for note in found.notes)
    put(tmp_path / "twice.csv", "key,label\n1,1\n1,0\n2,0\n")
    with pytest.raises(DataError, match="2 rows of labels for id '1'; if each is an annotator's, add --votes majority"):
        dataset(path, labels=tmp_path / "twice.csv", join="id=key")
    put(tmp_path / "none.csv", "key,label\nx,1\n")
    with pytest.raises(DataError, match=r"--join: no value of 'id' .*got '1', '2', '3' there and 'x' here"):
        dataset(path, labels=tmp_path / "none.csv", join="id=key")


def test_a_row_of_several_files_is_named_with_its_file(tmp_path: Path) -> None:
    first = put(tmp_path / "a.csv", "text,label\na,1\nb,0\n")
    second = put(tmp_path / "b.csv", "text,label\nc,1\nd,2\n")
    with pytest.raises(DataError, match=r"first in row 2 of .*b\.csv"):
        dataset((first, second))
    third = put(tmp_path / "c.csv", "text\nc\n")
    with pytest.raises(DataError, match=r"c\.csv has no column 'label', which others have"):
        dataset((first, third))


def test_a_folder_of_tables_and_of_messages(tmp_path: Path) -> None:
    for name, text in (("hate/1.txt", "you"), ("fine/2.txt", "we"), ("fine/.hidden.txt", "no")):
        (tmp_path / "posts" / name).parent.mkdir(parents=True, exist_ok=True)
        put(tmp_path / "posts" / name, text)
    found = dataset(tmp_path / "posts", label_column="folder", positive="hate").table
    assert sorted(zip(found.texts, found.required_labels(), strict=True)) == [("we", 0), ("you", 1)]
    put(tmp_path / "posts" / "notes.csv", "text,label\na,1\n")
    with pytest.raises(DataError, match=r"holds tables \(notes.csv\) and .txt files; name the files"):
        dataset(tmp_path / "posts", label_column="folder", positive="hate")


def test_the_digest_of_files_does_not_hang_on_where_they_lie(tmp_path: Path) -> None:
    for place in ("here", "there/below"):
        (tmp_path / place).mkdir(parents=True)
        put(tmp_path / place / "a.csv", "text,label\na,1\nb,0\n")
        put(tmp_path / place / "b.csv", "text,label\nc,1\nd,0\n")
    here, there = (dataset(tmp_path / place).fingerprint for place in ("here", "there/below"))
    assert here == there
    put(tmp_path / "here" / "b.csv", "text,label\nc,1\nD,0\n")
    assert dataset(tmp_path / "here").fingerprint != there


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(st.characters(codec="utf-8")))
def test_a_word_is_the_same_however_often_it_is_made_one(cell: float | int | str) -> None:
    word = word_of(cell)
    assert word_of(word) == word
    assert word_of(f" {word}\t") == word


def test_rules() -> None:
    assert Positive.parse(" Hate, 1.0 ").words == {"hate", "1"}
    split = Condition.parse("split=dev, Test")
    assert [split.holds(cell) for cell in ("test", "dev ", "train", None)] == [True, True, False, False]
    empty = Condition.parse("a=b!=")  # the first sign counts: the value is odd
    assert (empty.column, empty.values, empty.keeps) == ("a", {"b!="}, True)
    assert Condition.parse("user!=").holds("x")
    assert not Condition.parse("user!=").holds("  ")
    assert Condition.parse("meta.header=false").holds(False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "sep=;\ntext;label\na;1\nb;0\n"),
        ("a.csv", " text , label\na,1\nb,0\n"),
        ("a.csv", "text,label,\ra,1,\rb,0,\r"),
        ("a.json", '{"version": 1, "data": [{"text": "a", "label": 1}, {"text": "b", "label": 0}], "tags": []}'),
        ("a.jsonl", '{\n"text": "a",\n"label": 1}\n\n{"text": "b", "label": [0]}'),
    ],
)
def test_odd_files_that_say_what_they_are(tmp_path: Path, name: str, content: str) -> None:
    table = dataset(put(tmp_path / name, content)).table
    assert (table.texts, table.required_labels().tolist()) == (["a", "b"], [1, 0])


def test_one_message_with_an_array_in_it_is_a_message(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"text": "a", "by": [{"label": 1}, {"label": 1}]}')
    found = load(DataConfig(path=(path,), label_column="by.label", votes="any"), labels_required=False).table
    assert (found.texts, found.required_labels().tolist()) == (["a"], [1])


def test_half_a_character_is_no_text_that_a_file_could_hold(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"text": "a \\ud83d", "label": 1}\n{"text": "\\ud83d\\ude00", "label": 0}\n')
    assert dataset(path).table.texts == ["a \ufffd", "\U0001f600"]


def test_a_zero_byte_alone_makes_no_other_encoding(tmp_path: Path) -> None:
    assert dataset(put(tmp_path / "a.csv", "text,label\na\0b,1\nc,0\n")).table.texts == ["a\0b", "c"]


def test_labels_that_are_objects_are_named_as_such(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"text": "a", "label": {"toxic": 1}}\n{"text": "b", "label": {"toxic": 0}}\n')
    with pytest.raises(DataError, match=r"name what is meant in it, label\.KEY"):
        dataset(path)
    assert dataset(path, label_column="label.toxic").table.required_labels().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("text,label\nhi,1,2\n", "--test: .*row 1: malformed"),
        ("text\nhi\n", "--label-column"),
        ("text,label\n,1\n", "--test"),
    ],
)
def test_what_is_wrong_with_a_test_set_names_its_flag(tmp_path: Path, content: str, named: str) -> None:
    whole, other = put(tmp_path / "whole.csv", "text,label\nhi,1\nyou,0\n"), put(tmp_path / "test.csv", content)
    with pytest.raises(DataError, match=f"^{named}"):
        dataset(whole, test=other)


def test_a_file_among_others_that_lacks_a_column_is_named_with_its_flag(tmp_path: Path) -> None:
    whole, bare = put(tmp_path / "whole.csv", "text,label\nhi,1\nyou,0\n"), put(tmp_path / "bare.csv", "text\nhi\n")
    with pytest.raises(DataError, match=r"^--test: .*bare\.csv has no column 'label'"):
        dataset(whole, test=(whole, bare))
