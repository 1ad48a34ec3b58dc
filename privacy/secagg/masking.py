"""Masks: AES-256-CTR keystream, added to a vector of Z_{2^32} in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import Keystream

WORD = np.dtype("<u4")
"""One coordinate of Z_{2^32} on the wire."""
MODULUS_BITS = 32

_CHUNK_WORDS = 1 << 15
"""128 KB: accumulator and keystream of one chunk stay in the cache while all seeds pass over it."""


def add_masks(vector: NDArray[np.uint32], plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
    """vector += sum of keystreams(plus) - sum of keystreams(minus), modulo 2^32, in place.

    Args:
        vector: uint32[d], C-contiguous.
        plus, minus: 48-byte seeds, each used for this one vector and never again.
    """
    added = [Keystream(seed) for seed in plus]
    subtracted = [Keystream(seed) for seed in minus]
    for start in range(0, vector.size, _CHUNK_WORDS):
        chunk = vector[start : start + _CHUNK_WORDS]
        for stream in added:
            chunk += np.frombuffer(stream.read(chunk.nbytes), WORD)
        for stream in subtracted:
            chunk -= np.frombuffer(stream.read(chunk.nbytes), WORD)
