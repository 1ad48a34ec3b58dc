"""Labelled texts from CSV, JSONL and Parquet files, checked before any work starts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast
from zlib import error as DeflateError  # noqa: N812

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EXTENSIONS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
_SHOWN = 5


class DataError(ValueError):
    """Data that cannot be used; the message names the argument, what was expected, what came and what to do."""


@dataclass(frozen=True, eq=False)
class Table:
    """n labelled texts.

    Attributes:
        texts: n texts that are neither missing nor blank.
        labels: float32[n], 0 or 1.
        users: int64[n], numbered 0, 1, … in order of appearance; None where the data name no users.
        skipped: how many rows were left out because their text was missing or blank.
    """

    texts: list[str] = field(repr=False)
    labels: NDArray[np.float32] = field(repr=False)
    users: NDArray[np.int64] | None = field(repr=False)
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.texts)


def load(path: Path, text_column: str, label_column: str, user_column: str | None = None) -> Table:
    """Read a labelled file.

    Raises:
        DataError: when the file is missing, empty, not UTF-8 or of an unknown kind; when a column is missing; when a
            label is neither 0 nor 1 or all are the same; when a text is not a string or a user is missing.
    """
    frame = read_frame(path)
    texts = text_values(frame, text_column)
    kept = has_text(texts)
    if not kept.any():
        raise DataError(f"--text-column: all {len(frame)} texts in column {text_column!r} of {path} are empty")
    frame = frame[kept]
    labels = label_values(frame, label_column)
    _refuse_one_class(labels, label_column)
    users = None if user_column is None else _user_numbers(frame, user_column)
    return Table(texts[kept].tolist(), labels, users, skipped=int((~kept).sum()))


def read_frame(path: Path) -> pd.DataFrame:
    """All rows of a file, nothing checked but the file itself. Cells of a CSV stay strings: `null` is a message.

    Raises:
        DataError: when the file is missing, empty, damaged, not UTF-8 or of an unknown kind.
    """
    kind = _kind(path)
    try:
        frame = _READERS[kind.removesuffix(".gz")](path)
    except UnicodeDecodeError as error:
        raise DataError(_describe_undecodable(path)) from error
    except (OSError, EOFError, DeflateError) as error:
        raise DataError(f"--data: cannot read {path}: {error}") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"--data: {path} is empty; expected a header and at least one row") from error
    except ValueError as error:  # pandas' and pyarrow's parser errors
        raise DataError(f"--data: {path} is not a readable {kind} file: {error}") from error
    if frame.empty:
        raise DataError(f"--data: {path} has no rows; expected at least one")
    return frame


def text_values(frame: pd.DataFrame, column: str) -> pd.Series[str]:
    """The texts of a column, missing ones included.

    Raises:
        DataError: when there is no such column, or it holds something that is not text.
    """
    values = _column(frame, column, "--text-column")
    others = [value for value in values[values.notna()] if not isinstance(value, str)]
    if others:
        raise DataError(f"--text-column: expected text in column {column!r}, got {_examples(others)}")
    return values


def has_text(texts: pd.Series[str]) -> NDArray[np.bool_]:
    """bool[n]: which texts are neither missing nor blank."""
    return np.array([isinstance(text, str) and bool(text.strip()) for text in texts], np.bool_)


def label_values(frame: pd.DataFrame, column: str) -> NDArray[np.float32]:
    """float32[n] labels, 0 or 1.

    Raises:
        DataError: when there is no such column, or it holds anything else.
    """
    values = _column(frame, column, "--label-column")
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    wrong = ~numbers.isin([0.0, 1.0])
    if wrong.any():
        raise DataError(
            f"--label-column: expected 0 or 1 in column {column!r}, got {_examples(values[wrong].tolist())} "
            f"in {int(wrong.sum())} rows; map the labels to 0 (harmless) and 1 (abusive)"
        )
    return numbers.to_numpy(np.float32)


def _kind(path: Path) -> str:
    kind = next((extension for extension in EXTENSIONS if path.name.lower().endswith(extension)), None)
    if not path.exists():
        raise DataError(f"--data: no file {path}")
    if not path.is_file():
        raise DataError(f"--data: {path} is not a file; expected one of {', '.join(EXTENSIONS)}")
    if kind is None:
        raise DataError(f"--data: {path.name} is of an unknown kind; expected one of {', '.join(EXTENSIONS)}")
    return kind


def _read_csv(path: Path) -> pd.DataFrame:
    # Only an empty cell is missing: with pandas' defaults the messages `null`, `NA` and `nan` would be too.
    return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig")


def _read_jsonl(path: Path) -> pd.DataFrame:
    with _opened(path) as file:
        return pd.DataFrame([_record(path, number, line) for number, line in _lines(file)])


def _record(path: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"--data: {path}, line {number}: expected one JSON object: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"--data: {path}, line {number}: expected a JSON object, got {type(record).__name__}")
    return record


_READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": pd.read_parquet}


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb"))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1."""
    return ((number, line) for number, line in enumerate(file, start=1) if line.strip())


def _describe_undecodable(path: Path) -> str:
    with _opened(path) as file:
        for number, line in _lines(file):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                place = f"line {number}, byte {error.start + 1} of the line (0x{line[error.start]:02x})"
                return f"--data: {path} is not UTF-8 at {place}; convert it, for example with iconv"
    return f"--data: {path} is not UTF-8; convert it, for example with iconv"


def _column(frame: pd.DataFrame, column: str, argument: str) -> pd.Series[str]:
    if column not in frame.columns:
        found = ", ".join(repr(str(name)) for name in frame.columns)
        raise DataError(f"{argument}: no column {column!r}; the columns are {found}")
    return frame[column]


def _user_numbers(frame: pd.DataFrame, column: str) -> NDArray[np.int64]:
    values = _column(frame, column, "--user-column")
    missing = int(values.isna().sum())
    if missing:
        raise DataError(f"--user-column: column {column!r} is empty in {missing} rows; fill them in or drop the rows")
    return pd.factorize(values)[0].astype(np.int64)


def _refuse_one_class(labels: NDArray[np.float32], column: str) -> None:
    if np.unique(labels).size < 2:
        raise DataError(
            f"--label-column: all {labels.size} labels in column {column!r} are {int(labels[0])}; expected both 0 and 1"
        )


def _examples(values: list[object]) -> str:
    distinct = list(dict.fromkeys(repr(value) for value in values))
    return ", ".join(distinct[:_SHOWN]) + (", …" if len(distinct) > _SHOWN else "")
