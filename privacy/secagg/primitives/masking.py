"""Vectors of Z_m as machine words, and masks that are added to them in place.

As many coordinates in a 64-bit word as fit, added without unpacking. A mask is an AES-256-CTR keystream (NIST SP
800-38A).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.base.randomness import Keystream

Words = NDArray[np.unsignedinteger[Any]]
"""Vectors of uint8, uint16, uint32 or uint64, little-endian."""

_WORD_BITS = 64
_NATIVE: dict[int, np.dtype[np.unsignedinteger[Any]]] = {8: np.dtype("<u1"), 16: np.dtype("<u2"), 32: np.dtype("<u4")}
_SHARED = np.dtype("<u8")


def width(bits: int) -> int:
    """Return the bits that a coordinate gets when it needs `bits` (8 to 32): as many coordinates as fit fill a word."""
    return _WORD_BITS // (_WORD_BITS // bits)


def word_type(bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the dtype of the words that hold coordinates of `bits`."""
    native = _NATIVE.get(width(bits))
    return _SHARED if native is None else native


def word_count(bits: int, length: int) -> int:
    """Return how many words `length` coordinates of `bits` take."""
    return length if width(bits) in _NATIVE else -(-length // (_WORD_BITS // bits))


def pack(integers: NDArray[np.int64], bits: int) -> Words:
    """Pack int64[length] into words; coordinates are reduced modulo 2^width."""
    if width(bits) in _NATIVE:
        return integers.astype(word_type(bits))
    words = np.zeros(word_count(bits, integers.size), np.int64)
    # Block j of the vector, not every j-th coordinate, so that slices stay contiguous.
    for place, block in enumerate(_blocks(integers, words.size)):
        words[: block.size] += block << (place * width(bits))
    return words.view(_SHARED)


def unpack(words: Words, bits: int, length: int) -> NDArray[np.int64]:
    """Unpack a sum.

    Args:
        words: the sum, of `word_count` words.
        bits: what a coordinate needs.
        length: how many coordinates there are.

    Returns:
        int64[length], between -2^(width - 1) and 2^(width - 1) - 1.
    """
    wide = width(bits)
    if wide in _NATIVE:
        return words.view(np.dtype(f"<i{wide // 8}")).astype(np.int64)
    rest, integers = words.view(np.int64).copy(), np.empty(length, np.int64)
    for block in _blocks(integers, words.size):
        lowest = (rest << (_WORD_BITS - wide)) >> (_WORD_BITS - wide)
        block[:] = lowest[: block.size]
        rest -= lowest
        rest >>= wide
    return integers


def _blocks(integers: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [integers[start : start + size] for start in range(0, integers.size, size)]


_CHUNK_BYTES = 1 << 18
"""Words and keystream of one chunk stay in the cache while all seeds pass over it."""
_SEEDS_AT_ONCE = 512
"""Open ciphers take memory, so seeds pass over the vector in groups."""


def add_masks(words: Words, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
    """Add the keystreams of some seeds to a vector and subtract those of others, modulo the word size, in place.

    Args:
        words: the vector, C-contiguous.
        plus: 48-byte seeds of masks to add, each used for this one vector and never again.
        minus: 48-byte seeds of masks to subtract, each used once as well.
    """
    signed = [(seed, np.add) for seed in plus] + [(seed, np.subtract) for seed in minus]
    for start in range(0, len(signed), _SEEDS_AT_ONCE):
        _pass_over(words, signed[start : start + _SEEDS_AT_ONCE])


def _pass_over(words: Words, signed: Sequence[tuple[bytes, np.ufunc]]) -> None:
    size = min(_CHUNK_BYTES // words.itemsize, words.size)
    keystream, zeros = memoryview(bytearray(size * words.itemsize)), memoryview(bytes(size * words.itemsize))
    mask = np.frombuffer(keystream, words.dtype)
    streams = [(Keystream(seed).xor_into, apply) for seed, apply in signed]
    for start in range(0, words.size, max(size, 1)):
        chunk = words[start : start + size]
        masks, block, nothing = mask[: chunk.size], keystream[: chunk.nbytes], zeros[: chunk.nbytes]
        for xor_into, apply in streams:
            xor_into(nothing, block)
            apply(chunk, masks, out=chunk)
