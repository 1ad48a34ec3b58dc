"""Normalised texts to hashed n-grams, counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from privacy.features.normalising import normalise
from privacy.features.rows import Features, one_after_another
from privacy.features.spec import NgramSpec
from privacy.features.tokenising import compact_places, tokens, words

_ONES = 0xFFFFFFFF
_TABLE = np.array([crc32(bytes([byte]), _ONES) ^ _ONES for byte in range(256)], np.uint32)
"""What a byte does to the register of a CRC-32 (ISO 3309)."""
_WORD, _CHARACTER = crc32(b"w"), crc32(b"c")
_PIECE = 1 << 16
"""Characters that are worked on at a time."""

Hashes = NDArray[np.uint32]
Places = NDArray[np.int64]


def hash_texts(spec: NgramSpec, texts: Sequence[str]) -> Features:
    """Hash n-grams, one row a text; a text without tokens has an empty row.

    A feature's bucket is the CRC-32 of its UTF-8 bytes after a prefix, `w` or `c`, modulo the number of buckets. Its
    count is damped to 1 + ln(count), and each row has L2 norm 1. Nothing of the texts outlives the call.
    """
    return one_after_another([_counted(spec, piece) for piece in _pieces(spec, texts)] or [_counted(spec, [])])


def _pieces(spec: NgramSpec, texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield normalised texts, so many at a time that they are long enough to be worked on together."""
    piece: list[str] = []
    characters = 0
    for text in texts:
        piece.append(normalise(text, spec.max_characters))
        characters += len(piece[-1])
        if characters >= _PIECE:
            yield piece
            piece, characters = [], 0
    if piece:
        yield piece


def _counted(spec: NgramSpec, normalised: Sequence[str]) -> Features:
    """Count the n-grams of some texts by bucket, and pack the damped counts."""
    size = len(normalised)
    of_characters, of_words = _character_ngrams(spec, normalised), _word_ngrams(spec, normalised)
    hashes = np.concatenate([of_characters[0], of_words[0]])
    rows = np.concatenate([of_characters[1], of_words[1]])
    keys = rows * spec.buckets + hashes % np.uint32(spec.buckets)
    keys.sort()
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    own, columns = np.divmod(keys[firsts], spec.buckets)
    damped = 1 + np.log(np.diff(firsts, append=keys.size))
    norms = np.sqrt(np.bincount(own, damped**2, size))
    starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=size))]).astype(np.int64)
    return Features(spec.buckets, starts, columns.astype(np.int32), (damped / norms[own]).astype(np.float32))


def _character_ngrams(spec: NgramSpec, normalised: Sequence[str]) -> tuple[Hashes, Places]:
    """Hash the n-grams of every token with `_` before and behind it, each by continuing the hash of a shorter one.

    Returns:
        uint32 hashes; int64, the index of the text that each is of.
    """
    cut = [tokens(text) for text in normalised]
    joined = "".join(f"_{token}_" for token in chain.from_iterable(cut))
    sizes = np.array([len(token) + 2 for token in chain.from_iterable(cut)], np.int64)
    rows = np.repeat(np.repeat(np.arange(len(cut)), [len(found) for found in cut]), sizes)
    room = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(joined))
    compacts = [] if joined.isascii() else compact_places(joined)
    plain = _plain(len(joined), compacts)
    step = _Step(joined)
    at = np.arange(len(joined))
    register = np.full(len(joined), _CHARACTER ^ _ONES, np.uint32)
    found: list[Hashes] = []
    places: list[Places] = []
    for size in range(1, max(spec.char_ngrams[1], spec.compact_ngrams[1]) + 1):
        alive = room[at] >= size
        at = at[alive]
        register = step(register[alive], at + size - 1)
        usual, compact = (low <= size <= high for low, high in (spec.char_ngrams, spec.compact_ngrams))
        wanted = np.where(plain[at] >= size, usual, compact) if compacts else slice(None if usual else 0)
        found.append(register[wanted])
        places.append(rows[at[wanted]])
    return np.concatenate(found) ^ np.uint32(_ONES), np.concatenate(places)


def _plain(length: int, compacts: Sequence[int]) -> Places:
    """Count, from each of so many characters on, those before the next one of a compact script."""
    following = np.full(length, 2 * length)
    following[np.array(compacts, np.int64)] = compacts
    return np.minimum.accumulate(following[::-1])[::-1] - np.arange(length)


class _Step:
    """Feeds characters of a text, in UTF-8, to registers of CRC-32."""

    def __init__(self, text: str) -> None:
        self._bytes = np.frombuffer(text.encode(), np.uint8)
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        self._sizes = 1 + (codes >= 1 << 7) + (codes >= 1 << 11) + (codes >= 1 << 16).astype(np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._longest = int(self._sizes.max(initial=1))

    def __call__(self, register: Hashes, at: Places) -> Hashes:
        """Return the registers after the characters at these places, one each."""
        if self._longest == 1:
            return self._fed(register, self._bytes[at])
        for byte in range(self._longest):
            has = self._sizes[at] > byte
            where = self._starts[at] + byte
            read = self._bytes[where] if byte == 0 else self._bytes[np.where(has, where, 0)]
            fed = self._fed(register, read)
            register = fed if byte == 0 else np.where(has, fed, register)
        return register

    @staticmethod
    def _fed(register: Hashes, read: NDArray[np.uint8]) -> Hashes:
        after: Hashes = _TABLE[(register ^ read) & 0xFF] ^ (register >> 8)
        return after


def _word_ngrams(spec: NgramSpec, normalised: Sequence[str]) -> tuple[Hashes, Places]:
    """Hash the n-grams of words, with a space between them; returns what `_character_ngrams` does."""
    shortest, longest = spec.word_ngrams
    hashes: list[int] = []
    sizes = []
    for text in normalised:
        before = len(hashes)
        units = [word.encode() for word in words(text)]
        spaced = [b" " + unit for unit in units]
        for start, unit in enumerate(units):
            number = crc32(unit, _WORD)
            if shortest == 1:
                hashes.append(number)
            for size, following in enumerate(spaced[start + 1 : start + longest], 2):
                number = crc32(following, number)
                if size >= shortest:
                    hashes.append(number)
        sizes.append(len(hashes) - before)
    return np.array(hashes, np.uint32), np.repeat(np.arange(len(sizes)), sizes)
