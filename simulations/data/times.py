"""Cells of times to seconds: numbers, or dates in ISO 8601, never both in one column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from simulations.data.errors import DataError, counted, quoted
from simulations.data.frame import Frame


def read_times(frame: Frame, name: str) -> NDArray[np.float64]:
    """Return each row's time: float64[n], numbers as they are, dates in Unix time (UTC where they name no zone).

    Raises:
        DataError: when a cell is neither, or some are numbers and others dates: in what order they are, nobody knows.
    """
    cells = frame.column("--time-column", name)
    times = [_seconds(cell) for cell in cells]
    wrong = [place for place, time in enumerate(times) if time is None]
    if wrong:
        rows = counted(len(wrong), "such row")
        raise DataError(
            f"--time-column: expected a number or a date such as 2026-01-31T12:00:00 in every row, got "
            f"{quoted(cells[wrong[0]])} in {frame.at(wrong[0])} ({rows}); convert them, or leave them "
            "out with --where"
        )
    _refuse_both(frame, cells)
    return np.array(times, np.float64)


def _refuse_both(frame: Frame, cells: Sequence[object]) -> None:
    numbers = np.array([_number(cell) is not None for cell in cells])
    if numbers.all() or not numbers.any():
        return
    rows = counted(int(np.count_nonzero(numbers)), "such row")
    number, day = int(np.argmax(numbers)), int(np.argmin(numbers))
    raise DataError(
        f"--time-column: expected either numbers or dates, got {quoted(cells[number])}, a number, in "
        f"{frame.at(number)} ({rows}) and {quoted(cells[day])}, a date, in "
        f"{frame.at(day)} ({np.count_nonzero(~numbers):,}); write all in one form, such as 2026-01-31"
    )


def _seconds(cell: object) -> float | None:
    """Return a number as it is, a date in Unix time, and None for anything else."""
    try:
        if isinstance(cell, datetime):
            return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
        if isinstance(cell, date):
            return datetime(cell.year, cell.month, cell.day, tzinfo=UTC).timestamp()
        number = _number(cell)
        if number is None and isinstance(cell, str):
            return _seconds(datetime.fromisoformat(cell.strip()))
    except (OverflowError, ValueError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _number(cell: object) -> float | None:
    """Return a number, finite or not; None for anything else."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float | Decimal):
        return None
    try:
        return float(cell)
    except ValueError:
        return None
