"""Rows of several files as one table, with the place that each row came from."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from simulations.config.rules import Condition, word_of
from simulations.data.errors import DataError, listed, quoted
from simulations.data.files import Piece


@dataclass(frozen=True, eq=False)
class Frame:
    """Rows, some of all that were read.

    Attributes:
        names: all column names, in the order in which files have them.
        cells: the wanted columns that are there, a cell for each row.
        rows: int64[n], where each row is among all that were read, counted from 0.
        ends: the files' names, and for each the number of rows up to its end.
        hint: what may be wrong if a wanted column is not there.
    """

    names: tuple[str, ...]
    cells: Mapping[str, Sequence[object]] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    ends: tuple[tuple[str, int], ...]
    hint: str = ""

    def __len__(self) -> int:
        return self.rows.size

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Frame:
        """Put files one behind the other.

        Raises:
            DataError: when one of them lacks a wanted column that another has.
        """
        found = dict.fromkeys(name for piece in pieces for name in piece.columns.cells)
        cells: dict[str, list[object]] = {name: [] for name in found}
        ends, length = [], 0
        for piece in pieces:
            length += piece.columns.length
            ends.append((piece.name, length))
            for name, column in cells.items():
                if name not in piece.columns.cells:
                    flag = piece.sources[0].flag
                    raise DataError(
                        f"{flag}: {piece.name} has no column {quoted(name)}, which others have; expected the same "
                        f"columns in all files, got {listed(piece.columns.names)}"
                    )
                column.extend(piece.columns.cells[name])
        names = tuple(dict.fromkeys(name for piece in pieces for name in piece.columns.names))
        hint = next((piece.columns.hint for piece in pieces if piece.columns.hint), "")
        return cls(names, cells, np.arange(length), tuple(ends), hint)

    def column(self, flag: str, name: str) -> Sequence[object]:
        """Return the cells of a wanted column.

        Raises:
            DataError: when there is no such column; the message names `flag`, and the columns that there are.
        """
        if name not in self.cells:
            files = self.ends[0][0] if len(self.ends) == 1 else f"{len(self.ends)} files"
            [like] = difflib.get_close_matches(name, self.names, 1, 0.7) or [""]
            advice = "; ".join(part for part in (f"did you mean {quoted(like)}?" if like else "", self.hint) if part)
            raise DataError(
                f"{flag}: no column {quoted(name)} in {files}; expected one of its columns: {listed(self.names)}"
                + (f" ({advice})" if advice else "")
            )
        return self.cells[name]

    def at(self, place: int) -> str:
        """Name a row for people, who count from 1."""
        row, before = int(self.rows[place]), 0
        for name, end in self.ends:
            if row < end:
                return f"row {row - before + 1}" + (f" of {name}" if len(self.ends) > 1 else "")
            before = end
        raise IndexError(place)

    def take(self, places: Collection[int] | NDArray[np.int64]) -> Frame:
        """Return some of the rows, in the order given."""
        chosen = np.asarray(list(places), np.int64)
        cells = {name: [column[place] for place in chosen] for name, column in self.cells.items()}
        return replace(self, cells=cells, rows=self.rows[chosen])

    def matching(self, flag: str, conditions: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which rows meet all conditions: bool[n].

        Raises:
            DataError: when a condition names a column that is not there, or keeps no row.
        """
        kept = np.ones(len(self), np.bool_)
        for text in conditions:
            condition = Condition.parse(text)
            cells = self.column(flag, condition.column)
            kept &= np.array([condition.holds(cell) for cell in cells], np.bool_)
            if not kept.any():
                values = dict.fromkeys(word_of(cell) for cell in cells[:10_000])
                raise DataError(
                    f"{flag}: expected some rows with {text}, got none; {quoted(condition.column)} holds "
                    f"{listed(map(quoted, values))}"
                )
        return kept
