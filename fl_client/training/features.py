"""Texts to what a model reads: hashed n-grams, or token numbers in order; simple enough for any other language.

N-grams. A text is normalised (Unicode NFKC, case folded, NFKC again) and cut into tokens: runs of word characters (`_`
and the Unicode categories L and N), and runs of others that are not white space (U+001C to U+001F count as white
space). Its features are the word n-grams, joined by a space, and the character n-grams, in code points, of each token
between two `_` marks. A feature's bucket is the CRC-32 (ISO 3309, as in every JVM) of its UTF-8 bytes (a lone surrogate
gives the three of its code point) after a prefix `w` or `c`, modulo the number of buckets. A bucket's count is damped
to 1 + ln(count), and each row has L2 norm 1.

Sequences. Words are the tokens from above, characters the code points of the normalised text. A token's number is 1
plus the CRC-32 of its UTF-8 bytes after a prefix, `w` or `c`, modulo the vocabulary less one; 0 is padding.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from privacy.task.task import FeatureSpec, InputSpec, SequenceSpec

_TOKEN = re.compile(r"\w+|[^\w\s]+")


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


def normalise(text: str) -> str:
    """Return the form of a text in which two texts count as the same."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Folding takes letters apart (ß to ss), and what follows may join the last of them.
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def tokens(normalised: str) -> list[str]:
    """Cut a normalised text into runs of word characters, and runs of others that are not white space."""
    return _TOKEN.findall(normalised)


def gram_hash(prefix: str, gram: str) -> int:
    """Return the CRC-32 of a token or n-gram after its prefix, 0 to 2^32 - 1."""
    return crc32(f"{prefix}{gram}".encode("utf-8", "surrogatepass"))


def hash_texts(spec: FeatureSpec, texts: Sequence[str]) -> Features:
    """Hash n-grams, one row a text; a text without tokens has an empty row."""
    rows = [_row(spec, text) for text in texts]
    columns = [row[0] for row in rows] or [np.empty(0, np.int32)]
    values = [row[1] for row in rows] or [np.empty(0, np.float32)]
    starts = np.concatenate([[0], np.cumsum([row[0].size for row in rows])]).astype(np.int64)
    return Features(spec.buckets, starts, np.concatenate(columns), np.concatenate(values))


def _row(spec: FeatureSpec, text: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    words = tokens(normalise(text))
    hashes = [bucket for word in words for bucket in _token_hashes(spec, word)]
    hashes.extend(_bucket(spec, "w", " ".join(gram)) for gram in _word_ngrams(spec, words))
    columns, counts = np.unique(np.array(hashes, np.int32), return_counts=True)
    damped = 1 + np.log(counts)
    values = (damped / np.sqrt(damped @ damped)).astype(np.float32) if counts.size else np.empty(0, np.float32)
    return columns, values


@lru_cache(maxsize=1 << 16)
def _token_hashes(spec: FeatureSpec, token: str) -> tuple[int, ...]:
    """Return the buckets of a token's character n-grams, and of itself where single words count.

    Tokens recur, so they are remembered.
    """
    marked = f"_{token}_"
    shortest, longest = spec.char_ngrams
    grams = [marked[i : i + n] for n in range(shortest, longest + 1) for i in range(len(marked) - n + 1)]
    hashes = [_bucket(spec, "c", gram) for gram in grams]
    if spec.word_ngrams[0] == 1:
        hashes.append(_bucket(spec, "w", token))
    return tuple(hashes)


def _word_ngrams(spec: FeatureSpec, words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield all n-grams of two words and more."""
    shortest, longest = max(spec.word_ngrams[0], 2), spec.word_ngrams[1]
    for n in range(shortest, longest + 1):
        for i in range(len(words) - n + 1):
            yield words[i : i + n]


def _bucket(spec: FeatureSpec, prefix: str, gram: str) -> int:
    return gram_hash(prefix, gram) % spec.buckets


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


def number_texts(spec: SequenceSpec, texts: Sequence[str]) -> Sequences:
    """Number tokens, one sequence a text, cut to the spec's length; a text without tokens has an empty one."""
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


Inputs = Features | Sequences


def encode_texts(spec: InputSpec, texts: Sequence[str]) -> Inputs:
    """Encode every text as the spec says, in order."""
    return number_texts(spec, texts) if isinstance(spec, SequenceSpec) else hash_texts(spec, texts)


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Join packed inputs, one part after the other; there is at least one.

    Raises:
        TypeError: when some are n-grams and some sequences.
    """
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    rows = [part for part in parts if isinstance(part, Features)]
    if len(rows) == len(parts):
        columns, values = (
            np.concatenate([part.columns for part in rows]),
            np.concatenate([part.values for part in rows]),
        )
        return Features(rows[0].buckets, starts, columns, values)
    texts = [part for part in parts if isinstance(part, Sequences)]
    if len(texts) == len(parts):
        return Sequences(texts[0].length, starts, np.concatenate([part.numbers for part in texts]))
    raise TypeError("parts: expected all n-grams or all sequences, got both")
