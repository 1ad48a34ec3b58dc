"""A random rotation of R^d, for any d without padding, that makes every coordinate of a vector about equally small.

Random signs and then a Walsh-Hadamard transform flatten a vector whose length is a power of two (Ailon and Chazelle
2006); a flat vector loses little to the rounding and the modulus of a distributed discrete Gaussian (Kairouz, Liu
and Steinke 2021). Here two overlapping windows cover any length: with p the largest power of two up to d, the first p
coordinates are transformed, then, when p < d, the last p with fresh signs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from privacy.base.canonical import sha256
from privacy.base.randomness import SEED_BYTES, Keystream

ROTATION_SEED_BYTES = 32
"""Length of a rotation's seed."""
_LABEL = b"havenfl/rotation/1/"
_RADIX_BITS = 4
"""Levels of the transform in one matrix product; at a million coordinates 3 is as fast and 5 to 10 are slower."""


def _sylvester(bits: int) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = np.ones((1, 1))
    for _ in range(bits):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


_MATRIX = _sylvester(_RADIX_BITS)
"""A matrix whose leading 2^k x 2^k block is the Walsh-Hadamard matrix of that size."""


def spread(dimension: int) -> int:
    """Return p, the largest power of two up to `dimension`: rotated, each coordinate is sub-Gaussian in norm / sqrt(p).

    Formal guarantee. Over a uniform seed, a coordinate that a window wrote last is a sum of +-x_j / sqrt(p) over the
    window's entries with independent signs, hence sub-Gaussian with the entries' norm over sqrt(p) (Hoeffding). The
    entries of the second window depend on the first signs alone, so this holds given those, and their norm is at most
    the vector's. With probability 1 - b, then, all d coordinates stay within norm * sqrt(2 ln(2 d / b) / p).

    Raises:
        ValueError: when the dimension is not positive.
    """
    if dimension < 1:
        raise ValueError(f"dimension: expected at least 1, got {dimension}")
    return 1 << (dimension.bit_length() - 1)


def rotate(vector: NDArray[np.float64], seed: bytes) -> NDArray[np.float64]:
    """Apply the rotation that the public 32-byte `seed` names; the norm is kept within about 1e-15 of itself.

    Returns:
        float64[d], a copy.

    Raises:
        ValueError: when the vector is not float64[d] with d >= 1, or the seed not 32 bytes.
    """
    rotated = _checked_copy(vector)
    for window, signs in _passes(rotated, seed):
        window[:] = _transform(window * signs)
    return rotated


def unrotate(vector: NDArray[np.float64], seed: bytes) -> NDArray[np.float64]:
    """Undo `rotate` with its seed.

    Returns:
        float64[d], a copy.

    Raises:
        ValueError: when the vector is not float64[d] with d >= 1, or the seed not 32 bytes.
    """
    restored = _checked_copy(vector)
    for window, signs in reversed(_passes(restored, seed)):
        window[:] = _transform(window) * signs
    return restored


def _checked_copy(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    if vector.ndim != 1 or not vector.size or vector.dtype != np.float64:
        raise ValueError(f"vector: expected float64[d] with d >= 1, got {vector.dtype} of shape {vector.shape}")
    return vector.copy()


def _passes(vector: NDArray[np.float64], seed: bytes) -> list[tuple[NDArray[np.float64], NDArray[np.int8]]]:
    """Return the one or two windows of `vector`, as views, each with its signs."""
    if len(seed) != ROTATION_SEED_BYTES:
        raise ValueError(f"seed: expected {ROTATION_SEED_BYTES} bytes, got {len(seed)}")
    size = spread(vector.size)
    stream = Keystream((sha256(_LABEL + b"key", seed) + sha256(_LABEL + b"counter", seed))[:SEED_BYTES])
    return [(vector[start : start + size], _signs(stream, size)) for start in sorted({0, vector.size - size})]


def _signs(stream: Keystream, size: int) -> NDArray[np.int8]:
    octets = np.frombuffer(stream.read(math.ceil(size / 8)), np.uint8)
    return 1 - 2 * np.unpackbits(octets, count=size).view(np.int8)


def _transform(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the orthonormal Walsh-Hadamard transform of 2^k values; float32 would be faster, but err by 3e-7."""
    scale, bits = 1 / math.sqrt(values.size), values.size.bit_length() - 1
    while bits:
        step = min(bits, _RADIX_BITS)
        radix = 1 << step
        # The transformed low bits of the index come out on top, so after all steps the order is the first again.
        values = (_MATRIX[:radix, :radix] @ values.reshape(-1, radix).T).reshape(-1)
        bits -= step
    scaled: NDArray[np.float64] = values * scale
    return scaled
