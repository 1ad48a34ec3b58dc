"""Masks: AES-256-CTR keystream (NIST SP 800-38A), added to a vector of machine words in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privacy.base.randomness import Keystream
from privacy.secagg.primitives.packing import Words

_CHUNK_BYTES = 1 << 18
"""Words and keystream of one chunk stay in the cache while all seeds pass over it."""
_SEEDS_AT_ONCE = 512
"""Open ciphers take memory, so seeds pass over the vector in groups."""


def add_masks(words: Words, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
    """words += sum of keystreams(plus) - sum of keystreams(minus), modulo the word size, in place.

    Args:
        words: C-contiguous.
        plus, minus: 48-byte seeds, each used for this one vector and never again.
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
