"""A checked table of messages: texts, labels, users, times."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.data.readers import Columns, DataError, read_columns

_LABELS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Table:
    """Messages that can be used, in the file's order.

    Attributes:
        texts: n texts, none blank.
        labels: int8[n] of 0 and 1 (1 is abuse), or None where the file has none.
        users: who wrote each text, or None where nobody asked.
        rows: int64[n], each text's row in the file, counted from 0 without the header.
        skipped: rows whose text was blank or missing.
        fingerprint: hex SHA-256 of the file as it lies on disk (what `sha256sum` prints).
        times: float64[n], when each text was written, in any unit; or None where nobody asked.
    """

    texts: list[str] = field(repr=False)
    labels: NDArray[np.int8] | None = field(repr=False)
    users: list[str] | None = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    skipped: int
    fingerprint: str
    times: NDArray[np.float64] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.texts)

    def required_labels(self) -> NDArray[np.int8]:
        """Return the labels.

        Raises:
            DataError: when there are none.
        """
        if self.labels is None:
            raise DataError("--label-column: training needs labels, got an unlabelled table; name the labels' column")
        return self.labels

    def required_times(self) -> NDArray[np.float64]:
        """Return the times.

        Raises:
            DataError: when there are none.
        """
        if self.times is None:
            raise DataError("--time-column: expected times, got a table without; name their column")
        return self.times


def load(
    path: Path,
    text_column: str,
    label_column: str,
    user_column: str | None = None,
    time_column: str | None = None,
    *,
    require_labels: bool = True,
) -> Table:
    """Read and check a file (CSV or JSONL, each also gzipped, or Parquet; UTF-8).

    Blank and missing texts are skipped and counted; in CSV only an empty cell is missing, the word `NaN` is a text. A
    user whose every text was skipped is no device. A missing user is an error: such rows may be one person's, and
    the privacy guarantee is per person. Labels are 0 or 1 as integer, float, string or boolean. Times are numbers, or
    dates in ISO 8601 (UTC where they name no zone).

    Args:
        path: the file; the ending of its name says its format.
        text_column: the column of texts.
        label_column: the column of labels.
        user_column: the column of users, if they are wanted.
        time_column: the column of times, if they are wanted.
        require_labels: whether both classes must occur. If not, as for scoring, `labels` is None where the column is
            absent, and one class is enough.

    Raises:
        DataError: when the file cannot be read or used.
    """
    raw = _read(path)
    wanted = [column for column in (text_column, label_column, user_column, time_column) if column is not None]
    columns = read_columns(path, raw, wanted)
    texts = _cells(path, columns, text_column, "--text-column")
    rows = np.array([row for row, text in enumerate(texts) if not _is_blank(text)], np.int64)
    if not rows.size:
        raise DataError(
            f"--data: {path} has {len(texts)} rows, none with a text in column {text_column!r}; expected at least one"
        )
    return Table(
        texts=[_text(texts[row], row) for row in rows],
        labels=_labels(path, columns, label_column, rows, required=require_labels),
        users=None if user_column is None else _users(_cells(path, columns, user_column, "--user-column"), rows),
        rows=rows,
        skipped=len(texts) - rows.size,
        fingerprint=hashlib.sha256(raw).hexdigest(),
        times=None if time_column is None else _times(_cells(path, columns, time_column, "--time-column"), rows),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"--data: no file {path}; expected the path of a data file") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise DataError(f"--data: cannot read {path}: {reason}; expected a readable file") from error


def _cells(path: Path, columns: Columns, name: str, flag: str) -> Sequence[object]:
    if name not in columns.cells:
        names = ", ".join(columns.names) or "none"
        raise DataError(f"{flag}: no column {name!r} in {path}; expected one of its columns: {names}")
    return columns.cells[name]


def _is_blank(cell: object) -> bool:
    """Tell whether there is nothing to see: missing, NaN, or white space only."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _text(cell: object, row: int) -> str:
    if not isinstance(cell, str):
        raise DataError(
            f"--text-column: expected text, got {type(cell).__name__} {_short(cell)} in {_at(row)}; name another column"
        )
    return cell


def _labels(
    path: Path, columns: Columns, name: str, rows: NDArray[np.int64], *, required: bool
) -> NDArray[np.int8] | None:
    if not required and name not in columns.names:
        return None
    cells = _cells(path, columns, name, "--label-column")
    labels = [_LABELS.get(str(cells[row]).strip().lower()) for row in rows]
    wrong = [row for row, label in zip(rows, labels, strict=True) if label is None]
    if wrong:
        seen = list(dict.fromkeys(_short(cells[row]) for row in wrong))[:_SHOWN]
        raise DataError(
            f"--label-column: expected 0 or 1 in column {name!r}, got {', '.join(seen)} ({len(wrong)} rows, "
            f"first in {_at(wrong[0])}); map the labels to 0 and 1, or name another column"
        )
    if required and len(set(labels)) < 2:
        raise DataError(f"--label-column: expected both 0 and 1 in column {name!r}, got only {labels[0]}; add examples")
    return np.array(labels, np.int8)


def _users(cells: Sequence[object], rows: NDArray[np.int64]) -> list[str]:
    wrong = [row for row in rows if _is_blank(cells[row]) or not isinstance(cells[row], str | int | float)]
    if wrong:
        raise DataError(
            f"--user-column: expected a user in every row, got {_short(cells[wrong[0]])} in {_at(wrong[0])} "
            f"({len(wrong)} such rows); give each a user, or remove them"
        )
    return [str(cells[row]) for row in rows]


def _times(cells: Sequence[object], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    times = [_seconds(cells[row]) for row in rows]
    wrong = [row for row, time in zip(rows, times, strict=True) if time is None]
    if wrong:
        raise DataError(
            f"--time-column: expected a number or a date such as 2026-01-31T12:00:00 in every row, got "
            f"{_short(cells[wrong[0]])} in {_at(wrong[0])} ({len(wrong)} such rows); convert or remove them"
        )
    return np.array(times, np.float64)


def _seconds(cell: object) -> float | None:
    """Return a number as it is, a date in Unix time, and None for anything else."""
    try:
        if isinstance(cell, datetime):
            return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
        if isinstance(cell, date):
            return datetime(cell.year, cell.month, cell.day, tzinfo=UTC).timestamp()
        number = float(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else math.nan
    except OverflowError:
        return None
    except ValueError:
        return _iso(str(cell).strip())
    return number if math.isfinite(number) else None


def _iso(text: str) -> float | None:
    try:
        return _seconds(datetime.fromisoformat(text))
    except ValueError:
        return None


def _short(cell: object) -> str:
    return repr(cell)[:40]


def _at(row: int) -> str:
    """Name a row for people, who count from 1."""
    return f"row {row + 1}"
