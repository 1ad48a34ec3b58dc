"""Shamir secret sharing (Shamir 1979) over GF(65537), limb by 16-bit limb, as one exact matrix product.

Every limb has its own uniform polynomial, so fewer than `threshold` shares say nothing about it. Products stay
below 2^33 and sums of up to 2^20 of them below 2^53, so float64 arithmetic is exact.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import Randomness, uniform_words

PRIME = 65_537
SECRET_BYTES = 32
LIMBS = SECRET_BYTES // 2
SHARE_BYTES = 2 * LIMBS + 2
"""16 limbs of 16 bits, then a bit map of those that are 65536."""

Limbs = NDArray[np.int64]
_OVERFLOW = PRIME - 1


def split(secret: bytes, threshold: int, holders: int, rng: Randomness) -> list[bytes]:
    """Shares of a 32-byte secret for holders 0 to holders - 1 (evaluated at 1 to holders).

    Raises:
        ValueError: when the secret is not 32 bytes or the threshold is not within 1 to holders.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"secret: expected {SECRET_BYTES} bytes, got {len(secret)}")
    if not 1 <= threshold <= holders < PRIME:
        raise ValueError(f"threshold: expected 1 to {holders} holders, got {threshold}")
    coefficients = np.empty((threshold, LIMBS))
    coefficients[0] = np.frombuffer(secret, "<u2")
    coefficients[1:] = _uniform((threshold - 1) * LIMBS, rng).reshape(threshold - 1, LIMBS)
    shares = np.fmod(_powers(holders, threshold) @ coefficients, PRIME).astype(np.int64)
    return _encode(shares)


def combine(shares: dict[int, bytes], threshold: int) -> bytes:
    """The secret behind at least `threshold` shares, by holder; the lowest holders' are used.

    Wrong shares give a wrong secret: callers check the result against a commitment.

    Raises:
        ValueError: when there are too few shares or one has the wrong length.
    """
    if len(shares) < threshold:
        raise ValueError(f"shares: expected {threshold}, got {len(shares)}")
    holders = tuple(sorted(shares)[:threshold])
    limbs = np.stack([_decode(shares[holder]) for holder in holders])
    secret = _at_zero(holders) @ limbs % PRIME
    return (secret & 0xFFFF).astype("<u2").tobytes()


@lru_cache(maxsize=64)
def _powers(holders: int, threshold: int) -> NDArray[np.float64]:
    points = np.arange(1, holders + 1, dtype=np.int64)
    powers = np.ones((holders, threshold), np.int64)
    for degree in range(1, threshold):
        powers[:, degree] = powers[:, degree - 1] * points % PRIME
    return powers.astype(np.float64)


@lru_cache(maxsize=256)
def _at_zero(holders: tuple[int, ...]) -> Limbs:
    """Lagrange coefficients at zero for the points holder + 1."""
    points = [holder + 1 for holder in holders]
    coefficients = []
    for point in points:
        numerator = denominator = 1
        for other in points:
            if other != point:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - point) % PRIME
        coefficients.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return np.array(coefficients, np.int64)


def _uniform(size: int, rng: Randomness) -> Limbs:
    """Uniform elements of the field, by rejection from 17 bits."""
    kept = np.empty(0, np.int64)
    while kept.size < size:
        words = uniform_words(rng, 2 * (size - kept.size) + 64, np.uint32).astype(np.int64) & 0x1FFFF
        kept = np.concatenate([kept, words[words < PRIME]])
    return kept[:size]


def _encode(shares: Limbs) -> list[bytes]:
    overflow = (shares == _OVERFLOW) @ (1 << np.arange(LIMBS, dtype=np.int64))
    rows = np.concatenate([shares & 0xFFFF, overflow[:, None]], axis=1).astype("<u2")
    return [row.tobytes() for row in rows]


def _decode(share: bytes) -> Limbs:
    if len(share) != SHARE_BYTES:
        raise ValueError(f"share: expected {SHARE_BYTES} bytes, got {len(share)}")
    words = np.frombuffer(share, "<u2").astype(np.int64)
    overflow = (words[LIMBS] >> np.arange(LIMBS)) & 1
    limbs: Limbs = words[:LIMBS] + overflow * _OVERFLOW
    return limbs
