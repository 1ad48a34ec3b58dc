"""Normalised texts to hashed n-grams, or to token numbers in order."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from privacy.features.normalising import normalise
from privacy.features.rows import Features, Sequences
from privacy.features.spec import NgramSpec, SequenceSpec, Spec
from privacy.features.tokens import compact, tokens, words

Inputs = Features | Sequences

_WORD, _CHARACTER = crc32(b"w"), crc32(b"c")
_PIECE = 1 << 18
"""N-grams that are counted at a time."""


def encode_texts(spec: Spec, texts: Sequence[str]) -> Inputs:
    """Encode every text as the spec says, in order."""
    return number_texts(spec, texts) if spec.kind == "sequence" else hash_texts(spec, texts)


def hash_texts(spec: NgramSpec, texts: Sequence[str]) -> Features:
    """Hash n-grams, one row a text; a text without tokens has an empty row.

    A feature's bucket is the CRC-32 of its UTF-8 bytes after a prefix, `w` or `c`, modulo the number of buckets. Its
    count is damped to 1 + ln(count), and each row has L2 norm 1. Nothing of the texts outlives the call.
    """
    parts = []
    buckets, sizes = array("I"), array("q")
    for text in texts:
        before = len(buckets)
        buckets.extend(_buckets(spec, text))
        sizes.append(len(buckets) - before)
        if len(buckets) >= _PIECE:
            parts.append(_counted(spec.buckets, buckets, sizes))
            buckets, sizes = array("I"), array("q")
    parts.append(_counted(spec.buckets, buckets, sizes))
    return _one(parts)


def _buckets(spec: NgramSpec, text: str) -> list[int]:
    normal = normalise(text, spec.max_characters)
    found: list[int] = []
    for token in tokens(normal):
        found += _character_ngrams(spec, token)
    found += _word_ngrams(spec, words(normal))
    count = spec.buckets
    return [number % count for number in found]


def _character_ngrams(spec: NgramSpec, token: str) -> list[int]:
    """Return the hashes of a token's n-grams, `_` before and behind it, each the hash of a shorter one continued."""
    marked = f"_{token}_"
    if not token.isascii() and compact().search(token):
        return _compact_ngrams(spec, marked)
    shortest, longest = spec.char_ngrams
    units = list(map(str.encode, marked))
    found = []
    for start in range(len(units) - shortest + 1):
        number = crc32(b"".join(units[start : start + shortest]), _CHARACTER)
        found.append(number)
        for unit in units[start + shortest : start + longest]:
            number = crc32(unit, number)
            found.append(number)
    return found


def _compact_ngrams(spec: NgramSpec, marked: str) -> list[int]:
    """Return the same where some characters are of a compact script, and n-grams with them of other lengths."""
    ranges = (spec.char_ngrams, spec.compact_ngrams)
    longest = max(ranges[0][1], ranges[1][1])
    units = [(character.encode(), compact().match(character) is not None) for character in marked]
    found = []
    for start in range(len(units)):
        number, dense = _CHARACTER, False
        for size, (unit, own) in enumerate(units[start : start + longest], 1):
            number = crc32(unit, number)
            dense = dense or own
            if ranges[dense][0] <= size <= ranges[dense][1]:
                found.append(number)
    return found


def _word_ngrams(spec: NgramSpec, found: Sequence[str]) -> list[int]:
    shortest, longest = spec.word_ngrams
    units = [word.encode() for word in found]
    spaced = [b" " + unit for unit in units]
    hashes = []
    for start, unit in enumerate(units):
        number = crc32(unit, _WORD)
        if shortest == 1:
            hashes.append(number)
        for size, following in enumerate(spaced[start + 1 : start + longest], 2):
            number = crc32(following, number)
            if size >= shortest:
                hashes.append(number)
    return hashes


def _counted(count: int, buckets: array[int], sizes: array[int]) -> Features:
    """Count the buckets of several texts, of `sizes` n-grams each, and pack the damped counts."""
    rows = np.repeat(np.arange(len(sizes)), np.frombuffer(sizes, np.int64) if sizes else 0)
    keys, counts = np.unique(rows * count + np.frombuffer(buckets, np.uint32), return_counts=True)
    own, columns = np.divmod(keys, count)
    damped = 1 + np.log(counts)
    norms = np.sqrt(np.bincount(own, damped**2, len(sizes)))
    starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=len(sizes)))]).astype(np.int64)
    return Features(count, starts, columns.astype(np.int32), (damped / norms[own]).astype(np.float32))


def number_texts(spec: SequenceSpec, texts: Sequence[str]) -> Sequences:
    """Number tokens, one sequence a text, cut to the spec's length; a text without tokens has an empty one.

    Words are those of `words`, characters the code points of the normalised text. A token's number is 1 plus the CRC-32
    of its UTF-8 bytes after a prefix, `w` or `c`, modulo the vocabulary less one; 0 is padding.
    """
    pieces = [np.array(_numbers(spec, text), np.int32) for text in texts]
    starts = np.cumsum([0, *(piece.size for piece in pieces)], dtype=np.int64)
    return Sequences(spec.length, starts, np.concatenate(pieces) if pieces else np.empty(0, np.int32))


def _numbers(spec: SequenceSpec, text: str) -> list[int]:
    normal = normalise(text, spec.max_characters)
    if spec.unit == "characters":
        first, units = _CHARACTER, list(normal[: spec.length])
    else:
        first, units = _WORD, words(normal)[: spec.length]
    return [1 + crc32(unit.encode(), first) % (spec.vocabulary - 1) for unit in units]


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Join packed inputs, one part after the other; there is at least one.

    Raises:
        TypeError: when some are n-grams and some sequences.
    """
    rows = [part for part in parts if isinstance(part, Features)]
    if len(rows) == len(parts):
        return _one(rows)
    texts = [part for part in parts if isinstance(part, Sequences)]
    if len(texts) == len(parts):
        return Sequences(texts[0].length, _starts(texts), np.concatenate([part.numbers for part in texts]))
    raise TypeError("parts: expected all n-grams or all sequences, got both")


def _one(parts: Sequence[Features]) -> Features:
    columns = np.concatenate([part.columns for part in parts])
    return Features(parts[0].buckets, _starts(parts), columns, np.concatenate([part.values for part in parts]))


def _starts(parts: Sequence[Inputs]) -> NDArray[np.int64]:
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
