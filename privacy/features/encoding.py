"""Texts to what models read: hashed n-grams, or token numbers in order."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from privacy.features.ngrams import hash_texts
from privacy.features.normalising import normalise
from privacy.features.rows import Features, Sequences, one_after_another, packed_starts
from privacy.features.spec import SequenceSpec, Spec
from privacy.features.tokenising import words

Inputs = Features | Sequences

_WORD, _CHARACTER = crc32(b"w"), crc32(b"c")


def encode_texts(spec: Spec, texts: Sequence[str]) -> Inputs:
    """Encode every text as the spec says, in order."""
    return number_texts(spec, texts) if spec.kind == "sequence" else hash_texts(spec, texts)


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
        return one_after_another(rows)
    texts = [part for part in parts if isinstance(part, Sequences)]
    if len(texts) == len(parts):
        return Sequences(texts[0].length, packed_starts(texts), np.concatenate([part.numbers for part in texts]))
    raise TypeError("parts: expected all n-grams or all sequences, got both")
