"""Rows that models read, packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Features:
    """Sparse rows, one a text, packed (CSR).

    Attributes:
        buckets: number of columns.
        starts: int64[n + 1]; row i is starts[i] to starts[i + 1] of the other two.
        columns: int32, ascending within a row.
        values: float32, of L2 norm 1 in each row that is not empty.
    """

    buckets: int
    starts: NDArray[np.int64] = field(repr=False)
    columns: NDArray[np.int32] = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)

    def __len__(self) -> int:
        return self.starts.size - 1

    def rows(self, indices: NDArray[np.int64]) -> Features:
        """Return the rows at `indices`, int64[m], in this order."""
        starts, places = packed_rows(self.starts, indices)
        return Features(self.buckets, starts, self.columns[places], self.values[places])

    def between(self, first: int, last: int) -> Features:
        """Return the rows from `first` to before `last`, sharing memory."""
        starts = self.starts[first : last + 1]
        inside = slice(int(starts[0]), int(starts[-1]))
        return Features(self.buckets, starts - starts[0], self.columns[inside], self.values[inside])

    def dense(self) -> NDArray[np.float32]:
        """Unpack the rows into float32[n, buckets]."""
        matrix = np.zeros((len(self), self.buckets), np.float32)
        matrix[np.repeat(np.arange(len(self)), np.diff(self.starts)), self.columns] = self.values
        return matrix


def packed_rows(starts: NDArray[np.int64], indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Locate chosen rows among packed ones.

    Args:
        starts: int64[n + 1]; row i is the entries from starts[i] to before starts[i + 1].
        indices: int64[m], the rows to choose, in any order.

    Returns:
        int64[m + 1], where the chosen rows begin once they are packed; int64, where their entries are now, in order.
    """
    sizes = np.diff(starts)[indices]
    packed = np.concatenate([[0], np.cumsum(sizes)])
    return packed, np.arange(packed[-1]) + np.repeat(starts[:-1][indices] - packed[:-1], sizes)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of token numbers, one a text, packed.

    Attributes:
        length: what `dense` pads to; none is longer.
        starts: int64[n + 1]; sequence i is starts[i] to starts[i + 1] of `numbers`.
        numbers: int32, from 1.
    """

    length: int
    starts: NDArray[np.int64] = field(repr=False)
    numbers: NDArray[np.int32] = field(repr=False)

    def __len__(self) -> int:
        return self.starts.size - 1

    def rows(self, indices: NDArray[np.int64]) -> Sequences:
        """Return the sequences at `indices`, int64[m], in this order."""
        starts, places = packed_rows(self.starts, indices)
        return Sequences(self.length, starts, self.numbers[places])

    def between(self, first: int, last: int) -> Sequences:
        """Return the sequences from `first` to before `last`, sharing memory."""
        starts = self.starts[first : last + 1]
        return Sequences(self.length, starts - starts[0], self.numbers[int(starts[0]) : int(starts[-1])])

    def dense(self) -> NDArray[np.int64]:
        """Unpack the sequences into int64[n, length], padded with 0."""
        matrix = np.zeros((len(self), self.length), np.int64)
        sizes = np.diff(self.starts)
        places = np.arange(self.numbers.size) - np.repeat(self.starts[:-1], sizes)
        matrix[np.repeat(np.arange(len(self)), sizes), places] = self.numbers
        return matrix


def one_after_another(parts: Sequence[Features]) -> Features:
    """Join rows of n-grams, one part after the other; there is at least one."""
    if len(parts) == 1:
        return parts[0]
    columns = np.concatenate([part.columns for part in parts])
    return Features(parts[0].buckets, packed_starts(parts), columns, np.concatenate([part.values for part in parts]))


def packed_starts(parts: Sequence[Features | Sequences]) -> NDArray[np.int64]:
    """Return where rows begin, int64[n + 1], once parts are joined."""
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
