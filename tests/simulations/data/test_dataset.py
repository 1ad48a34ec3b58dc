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

from simulations.config.data import DataConfig
from simulations.data.dataset import Dataset, Table, load
from simulations.data.errors import DataError
from simulations.data.files import Form, read_files

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


def dataset_of(path: Path, **given: object) -> Dataset:
    return load(DataConfig.model_validate({"path": path, "user_column": "user", **given}))


def load_all(path: Path, **given: object) -> Table:
    return dataset_of(path, **given).table


def scored(path: Path, **given: object) -> Dataset:
    """As `fl-sim score` loads: labels are optional."""
    return load(DataConfig.model_validate({"path": path, **given}), labels_required=False)


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
    dataset = dataset_of(put(tmp_path, content, name))
    table = dataset.table
    assert table.texts == ["hello, world", "null", 'a "quoted"\nmessage', "größe 👋"]
    assert table.labels is not None
    assert table.labels.dtype == np.int8
    assert table.labels.tolist() == [0, 1, 0, 1]
    assert table.users == ["ann", "bob", "cy", "ann"]
    assert table.rows.tolist() == [0, 2, 3, 5]
    assert table.skipped == 2
    assert dataset.fingerprint == hashlib.sha256(content).hexdigest()


@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("Cs",))),
            st.integers(0, 1),
            st.text(string.ascii_letters),
        ),
        min_size=1,
    ),
    extension=st.sampled_from([".csv", ".jsonl", ".parquet"]),
)
def test_any_text_survives_the_way_through_a_file(
    rows: list[tuple[str, int, str]], extension: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = put(tmp_path_factory.getbasetemp(), WRITERS["chat" + extension](rows), "chat" + extension)
    [piece] = read_files("--data", [path], Form(), ["text", "user"])
    columns = piece.columns
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
            r"--label-column: .*'2', 'hate' \(2 times.*row 2.*--positive 2",
        ),
        (
            csv_bytes([("a", 0, "x"), ("b", "", "x")]),
            "--label-column: expected a label in every row.*--where 'label!='",
        ),
        (csv_bytes([("a", 1, "x"), ("b", 1, "x")]), "--label-column: expected both 0 and 1 .* got only 1"),
        (csv_bytes([("a", 0, "x"), ("b", 1, "")]), r"--user-column: .*got '' in row 2 \(1 such"),
        (csv_bytes([], header=("msg", "label", "user")), "--text-column: no column 'text' .* msg, label, user"),
        (csv_bytes([("a", 0)], header=("text", "y")), "--label-column: no column 'label' .* text, y"),
        (csv_bytes([("a", 0), ("b", 1)], header=("text", "label")), "--user-column: no column 'user'"),
        (csv_bytes([("a", "b", 0)], header=("text", "text", "label")), "2 columns named 'text'"),
        (b"text,label,user\na,0,x\nb,1\n", "row 2: malformed, expected 3 fields as in the header, got 2"),
        (b"text,label,user\na,b,0,x\n", "row 1: malformed, expected 3 fields as in the header, got 4"),
        (b'text,label,user\n"a,0,x\n', "malformed CSV .*unclosed quote.*--no-quoting"),
        (b"text,label,user\n\xe9t\xe9,0,x\n", "not in utf-8: got byte 0xe9 at offset 16; add --encoding .*cp1252.*été"),
        (b"\xef\xbb\xbftext,label,user\n\xe9,0,x\n", "not in utf-8: got byte 0xe9 at offset 19"),
    ],
)
def test_bad_csv_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        load_all(put(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b'{"text": "a", "label": 0, "user": "x"}\n{"text": \n', "line 2: malformed JSON"),
        ("a.jsonl", b"\n[1, 2]\n", "item 1: expected a JSON object, got 1"),
        ("a.jsonl", jsonl_bytes([(7, 0, "x"), ("b", 1, "x")]), "--text-column: expected text, got int 7 in row 1"),
        ("a.jsonl", jsonl_bytes([("a", 0, "x"), ("b", 1, ["x"])]), r"--user-column: .*got \['x'\] in row 2"),
        (
            "a.jsonl",
            jsonl_bytes([("a", 0, "x"), ("b", None, "x")]),
            "--label-column: expected a label in every row.*got none in row 2",
        ),
        ("a.parquet", b"PAR1 but no more", "damaged or not Parquet"),
        ("a.parquet", parquet_bytes(ROWS)[:-30], "damaged or not Parquet"),
        ("a.csv.gz", csv_bytes(ROWS), "damaged or not gzip"),
        ("a.csv.gz", gzip.compress(csv_bytes(ROWS))[:-9], "damaged or not gzip"),
        ("a.xlsx", b"PK", "a.xlsx cannot be read as a workbook"),
        ("a.doc", b"PK", "expected a name ending in .csv, .*got .*a.doc"),
    ],
)
def test_other_bad_files_are_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        load_all(put(tmp_path, content, name))


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data: no file .*gone\.csv"):
        load_all(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"--data: .*holds no file ending in \.csv"):
        load_all(tmp_path)


def test_nan_and_null_texts_are_skipped_and_counted(tmp_path: Path) -> None:
    content = b'{"text": NaN, "label": 0}\n{"text": null, "label": 1}\n{"label": 1}\n{"text": "a", "label": 1}\n'
    table = scored(put(tmp_path, content, "a.jsonl")).table
    assert (table.texts, table.skipped, table.rows.tolist()) == (["a"], 3, [3])


def test_scoring_takes_unlabelled_files_and_one_class(tmp_path: Path) -> None:
    unlabelled = scored(put(tmp_path, b"text\na\nb\n")).table
    assert unlabelled.labels is None
    with pytest.raises(DataError, match="--label-column"):
        unlabelled.required_labels()
    one_class = scored(put(tmp_path, b"text,label\na,1\n")).table
    assert one_class.required_labels().tolist() == [1]


def test_scoring_refuses_labels_that_it_was_told_to_read_and_cannot(tmp_path: Path) -> None:
    path = put(tmp_path, b"text,label\na,hate\n")
    with pytest.raises(DataError, match="--label-column: expected 0 or 1"):
        scored(path, label_column="label")
    with pytest.raises(DataError, match="--positive: expected numbers"):
        scored(path, positive=">=0.5")


def test_scoring_passes_over_optional_labels(tmp_path: Path) -> None:
    """Words without a rule are no labels, and said so; empty cells leave a row without one."""
    words = scored(put(tmp_path, b"text,label\na,hate\nb,\n"))
    assert words.table.labels is None
    assert ["no metrics: --label-column: expected 0 or 1" in note for note in words.notes] == [True]
    some = scored(put(tmp_path, b"text,label\na,1\nb,\nc,0\n")).table
    assert some.required_labels().tolist() == [1, -1, 0]
    assert scored(put(tmp_path, b"text,label\na,\nb,\n")).table.labels is None


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(tmp_path: Path) -> None:
    table = load_all(put(tmp_path, b"\xef\xbb\xbftext,label,user\r\na,0,x\r\n\r\nb,1,y\r\n"))
    assert (table.texts, table.users) == (["a", "b"], ["x", "y"])


def test_numeric_users_are_the_same_user_in_every_format(tmp_path: Path) -> None:
    rows = [("a", 0, 7), ("b", 1, 8)]
    tables = [load_all(put(tmp_path, WRITERS[name](rows), name)) for name in WRITERS]
    assert all(table.users == ["7", "8"] for table in tables)


def test_texts_do_not_show_in_repr(tmp_path: Path) -> None:
    assert "hello" not in repr(load_all(put(tmp_path, csv_bytes(ROWS))))
