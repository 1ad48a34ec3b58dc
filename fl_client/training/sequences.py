"""Text to token numbers in order, for models that read words or characters as they come.

Words are the tokens of `fl_client.training.features`, characters the code points of the normalised text. A token's
number is 1 plus the CRC-32 of its UTF-8 bytes after a prefix, `w` or `c`, modulo the vocabulary less one; 0 is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fl_client.training.features import gram_hash, normalise, packed_rows, tokens
from privacy.task.task import SequenceSpec


@dataclass(frozen=True, eq=False)
class Sequences:
    """n sequences of token numbers, packed.

    Attributes:
        length: that `dense` pads to; none is longer.
        starts: int64[n + 1]; sequence i is starts[i] to starts[i + 1] of `numbers`.
        numbers: int32, from 1.
    """

    length: int
    starts: NDArray[np.int64] = field(repr=False)
    numbers: NDArray[np.int32] = field(repr=False)

    def __len__(self) -> int:
        return self.starts.size - 1

    def rows(self, indices: NDArray[np.int64]) -> Sequences:
        """The sequences at `indices`, in this order."""
        starts, places = packed_rows(self.starts, indices)
        return Sequences(self.length, starts, self.numbers[places])

    def between(self, first: int, last: int) -> Sequences:
        """The sequences from `first` to before `last`, sharing memory."""
        starts = self.starts[first : last + 1]
        return Sequences(self.length, starts - starts[0], self.numbers[int(starts[0]) : int(starts[-1])])

    def dense(self) -> NDArray[np.int64]:
        """int64[n, length], padded with 0."""
        matrix = np.zeros((len(self), self.length), np.int64)
        sizes = np.diff(self.starts)
        places = np.arange(self.numbers.size) - np.repeat(self.starts[:-1], sizes)
        matrix[np.repeat(np.arange(len(self)), sizes), places] = self.numbers
        return matrix


def number_texts(spec: SequenceSpec, texts: Sequence[str]) -> Sequences:
    """One sequence a text, cut to the spec's length; a text without tokens has an empty one."""
    return _packed(spec.length, [np.array(_numbers(spec, text), np.int32) for text in texts])


def _numbers(spec: SequenceSpec, text: str) -> list[int]:
    whole = normalise(text)
    units: Sequence[str] = whole if spec.unit == "characters" else tokens(whole)
    return [_number(spec.unit[0], unit, spec.vocabulary) for unit in units[: spec.length]]


@lru_cache(maxsize=1 << 16)
def _number(prefix: str, unit: str, vocabulary: int) -> int:
    return 1 + gram_hash(prefix, unit) % (vocabulary - 1)


def _packed(length: int, pieces: Sequence[NDArray[np.int32]]) -> Sequences:
    starts = np.cumsum([0, *(piece.size for piece in pieces)], dtype=np.int64)
    return Sequences(length, starts, np.concatenate(pieces) if pieces else np.empty(0, np.int32))
