"""Files in every format load alike, and every kind of bad input is refused by name."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from simulations.data.dataset import Table, load
from simulations.data.readers import DataError, read_columns

ROWS: list[tuple[str, int, str]] = [
    ("hello, world", 0, "ann"),
    ("", 1, "ann"),
    ("null", 1, "bob"),
    ('a "quoted"\nmessage', 0, "cy"),
    ("   ", 0, "bob"),
    ("größe 👋", 1, "ann"),
]
Cells = Sequence[Sequence[object]]


def csv_bytes(rows: Cells, header: Sequence[str] = ("text", "label", "user")) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue().encode()


def jsonl_bytes(rows: Cells) -> bytes:
    return "".join(json.dumps(dict(zip(("text", "label", "user"), row, strict=True))) + "\n" for row in rows).encode()


def parquet_bytes(rows: Cells) -> bytes:
    out = io.BytesIO()
    columns = dict(zip(("text", "label", "user"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def put(tmp_path: Path, content: bytes, name: str = "chat.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def load_all(path: Path) -> Table:
    return load(path, "text", "label", "user")


WRITERS: dict[str, Callable[[Cells], bytes]] = {
    "chat.csv": csv_bytes,
    "chat.CSV": csv_bytes,
    "chat.csv.gz": lambda rows: gzip.compress(csv_bytes(rows)),
    "chat.jsonl": jsonl_bytes,
    "chat.jsonl.gz": lambda rows: gzip.compress(jsonl_bytes(rows)),
    "chat.parquet": parquet_bytes,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    content = WRITERS[name](ROWS)
    table = load_all(put(tmp_path, content, name))
    assert table.texts == ["hello, world", "null", 'a "quoted"\nmessage', "größe 👋"]
    assert table.labels is not None
    assert table.labels.dtype == np.int8
    assert table.labels.tolist() == [0, 1, 0, 1]
    assert table.users == ["ann", "bob", "cy", "ann"]
    assert table.rows.tolist() == [0, 2, 3, 5]
    assert table.skipped == 2
    assert table.fingerprint == hashlib.sha256(content).hexdigest()


@given(
    rows=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=("Cs",))), st.integers(0, 1), st.text(string.ascii_letters)),
        min_size=1,
    ),
    extension=st.sampled_from([".csv", ".jsonl", ".parquet"]),
)
def test_any_text_survives_the_way_through_a_file(rows: list[tuple[str, int, str]], extension: str) -> None:
    columns = read_columns(Path("chat" + extension), WRITERS["chat" + extension](rows), ["text", "user"])
    assert list(columns.cells["text"]) == [row[0] for row in rows]
    assert list(columns.cells["user"]) == [row[2] for row in rows]


@pytest.mark.parametrize("labels", [(0, 1), (0.0, 1.0), ("0", "1"), (False, True), ("False", "true"), (" 0", "1.0")])
@pytest.mark.parametrize("name", WRITERS)
def test_labels_in_every_spelling(tmp_path: Path, name: str, labels: tuple[object, object]) -> None:
    table = load_all(put(tmp_path, WRITERS[name]([("a", labels[0], "x"), ("b", labels[1], "y")]), name))
    assert table.required_labels().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "--data: .* is empty"),
        (b"text,label,user\n", "--data: .* has 0 rows"),
        (csv_bytes([("", 0, "a"), (" ", 1, "b")]), "--data: .* has 2 rows, none with a text"),
        (
            csv_bytes([("a", 0, "x"), ("b", 2, "x"), ("c", "hate", "x")]),
            r"--label-column: .*'2', 'hate' \(2 rows.*row 2",
        ),
        (csv_bytes([("a", 0, "x"), ("b", "", "x")]), "--label-column: expected 0 or 1"),
        (csv_bytes([("a", 1, "x"), ("b", 1, "x")]), "--label-column: expected both 0 and 1 .* got only 1"),
        (csv_bytes([("a", 0, "x"), ("b", 1, "")]), r"--user-column: .*got '' in row 2 \(1 such"),
        (csv_bytes([], header=("msg", "label", "user")), "--text-column: no column 'text' .* msg, label, user"),
        (csv_bytes([("a", 0)], header=("text", "y")), "--label-column: no column 'label' .* text, y"),
        (csv_bytes([("a", 0), ("b", 1)], header=("text", "label")), "--user-column: no column 'user'"),
        (csv_bytes([("a", "b", 0)], header=("text", "text", "label")), "2 columns named 'text'"),
        (b"text,label,user\na,0,x\nb,1\n", "row 2: malformed CSV, expected 3 fields as in the header, got 2"),
        (b"text,label,user\na,b,0,x\n", "row 1: malformed CSV, expected 3 fields as in the header, got 4"),
        (b'text,label,user\n"a,0,x\n', "malformed CSV .*unclosed quote"),
        (b"text,label,user\n\xe9t\xe9,0,x\n", "not UTF-8: got byte 0xe9 at offset 16"),
        (b"\xef\xbb\xbftext,label,user\n\xe9,0,x\n", "not UTF-8: got byte 0xe9 at offset 19"),
    ],
)
def test_bad_csv_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        load_all(put(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b'{"text": "a", "label": 0, "user": "x"}\n{"text": \n', "line 2: malformed JSON"),
        ("a.jsonl", b"\n[1, 2]\n", r"line 2: expected a JSON object, got '\[1, 2\]'"),
        ("a.jsonl", jsonl_bytes([(7, 0, "x"), ("b", 1, "x")]), "--text-column: expected text, got int 7 in row 1"),
        ("a.jsonl", jsonl_bytes([("a", 0, "x"), ("b", 1, ["x"])]), r"--user-column: .*got \['x'\] in row 2"),
        ("a.jsonl", jsonl_bytes([("a", 0, "x"), ("b", None, "x")]), "--label-column: .*got None"),
        ("a.parquet", b"PAR1 but no more", "damaged or not Parquet"),
        ("a.parquet", parquet_bytes(ROWS)[:-30], "damaged or not Parquet"),
        ("a.csv.gz", csv_bytes(ROWS), "damaged or not gzip"),
        ("a.csv.gz", gzip.compress(csv_bytes(ROWS))[:-9], "damaged or not gzip"),
        ("a.xlsx", b"PK", "expected a name ending in .csv, .*got .*a.xlsx"),
    ],
)
def test_other_bad_files_are_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        load_all(put(tmp_path, content, name))


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data: no file .*gone\.csv"):
        load_all(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="--data: cannot read"):
        load_all(tmp_path)


def test_nan_and_null_texts_are_skipped_and_counted(tmp_path: Path) -> None:
    content = b'{"text": NaN, "label": 0}\n{"text": null, "label": 1}\n{"label": 1}\n{"text": "a", "label": 1}\n'
    table = load(put(tmp_path, content, "a.jsonl"), "text", "label", require_labels=False)
    assert (table.texts, table.skipped, table.rows.tolist()) == (["a"], 3, [3])


def test_scoring_takes_unlabelled_files_and_one_class(tmp_path: Path) -> None:
    unlabelled = load(put(tmp_path, b"text\na\nb\n"), "text", "label", require_labels=False)
    assert unlabelled.labels is None
    with pytest.raises(DataError, match="--label-column"):
        unlabelled.required_labels()
    one_class = load(put(tmp_path, b"text,label\na,1\n"), "text", "label", require_labels=False)
    assert one_class.required_labels().tolist() == [1]


def test_scoring_refuses_labels_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--label-column: expected 0 or 1"):
        load(put(tmp_path, b"text,label\na,hate\n"), "text", "label", require_labels=False)


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(tmp_path: Path) -> None:
    table = load_all(put(tmp_path, b"\xef\xbb\xbftext,label,user\r\na,0,x\r\n\r\nb,1,y\r\n"))
    assert (table.texts, table.users) == (["a", "b"], ["x", "y"])


def test_numeric_users_are_the_same_user_in_every_format(tmp_path: Path) -> None:
    rows = [("a", 0, 7), ("b", 1, 8)]
    tables = [load_all(put(tmp_path, WRITERS[name](rows), name)) for name in WRITERS]
    assert all(table.users == ["7", "8"] for table in tables)


def test_texts_do_not_show_in_repr(tmp_path: Path) -> None:
    assert "hello" not in repr(load_all(put(tmp_path, csv_bytes(ROWS))))
