"""Shamir secret sharing (Shamir 1979) over GF(65537), limb by 16-bit limb, as one exact matrix product.

Every limb has its own uniform polynomial, so fewer than `threshold` shares say nothing about it. Products stay
below 2^33 and sums of up to 2^20 of them below 2^53, so float64 arithmetic is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.base.randomness import Randomness, uniform_words

PRIME = 65_537
SECRET_BYTES = 32
LIMBS = SECRET_BYTES // 2
SHARE_BYTES = 2 * LIMBS + 2
"""16 limbs of 16 bits, then a bit map of those that are 65536."""

Limbs = NDArray[np.int64]
_OVERFLOW = PRIME - 1


def split(secrets: Sequence[bytes], threshold: int, holders: Sequence[int], rng: Randomness) -> list[tuple[bytes, ...]]:
    """Split every secret among the holders, so that any `threshold` of them recover it and fewer learn nothing of it.

    Holder h gets the values at h + 1 of uniform polynomials of degree `threshold` - 1 (Shamir 1979).

    Args:
        secrets: 32 bytes each.
        threshold: how many shares recover a secret.
        holders: their places, distinct.
        rng: source of the coefficients.

    Returns:
        For each holder, in their order, its share of each secret, `SHARE_BYTES` long.

    Raises:
        ValueError: when a secret is not 32 bytes, holders repeat, or the threshold is not within 1 to their number.
    """
    if any(len(secret) != SECRET_BYTES for secret in secrets):
        raise ValueError(f"secrets: expected {SECRET_BYTES} bytes each, got {[len(secret) for secret in secrets]}")
    if not 1 <= threshold <= len(set(holders)) == len(holders):
        raise ValueError(f"threshold: expected 1 to the number of distinct holders, got {threshold} of {len(holders)}")
    limbs = LIMBS * len(secrets)
    coefficients = np.empty((threshold, limbs))
    coefficients[0] = np.frombuffer(b"".join(secrets), "<u2")
    coefficients[1:] = _uniform((threshold - 1) * limbs, rng).reshape(threshold - 1, limbs)
    values = (_powers(tuple(holders), threshold) @ coefficients).astype(np.int64) % PRIME
    encoded = [_encode(values[:, start : start + LIMBS]) for start in range(0, limbs, LIMBS)]
    return list(zip(*encoded, strict=True))


def combine(shares: Sequence[Mapping[int, bytes]], threshold: int) -> list[bytes]:
    """Recover secrets from at least `threshold` shares each; those of the lowest holders are used.

    Wrong shares give a wrong secret: callers check the result against a commitment.

    Args:
        shares: for each secret, the shares that came, by holder.
        threshold: with which the secrets were split.

    Returns:
        The secrets, 32 bytes each.

    Raises:
        ValueError: when there are too few shares of a secret, or one is malformed.
    """
    if any(len(given) < threshold for given in shares):
        raise ValueError(f"shares: expected {threshold} of each secret, got {min(map(len, shares))} of one")
    if not shares:
        return []
    holders = [sorted(given)[:threshold] for given in shares]
    raw = b"".join(given[holder] for given, chosen in zip(shares, holders, strict=True) for holder in chosen)
    limbs = _decode(raw, len(shares) * threshold).reshape(len(shares), threshold, LIMBS)
    weights = _at_zero(np.array(holders, np.int64) + 1)
    # Below threshold * 2^34 before the reduction, so int64 is exact.
    secrets = np.einsum("st,stl->sl", weights, limbs) % PRIME
    return [(secret & 0xFFFF).astype("<u2").tobytes() for secret in secrets]


@lru_cache(maxsize=64)
def _powers(holders: tuple[int, ...], threshold: int) -> NDArray[np.float64]:
    points = np.array(holders, np.int64) + 1
    if not (points.min() >= 1 and points.max() < PRIME):
        raise ValueError(f"holders: expected 0 to {PRIME - 2}, got {points.min() - 1} to {points.max() - 1}")
    powers = np.ones((points.size, threshold), np.int64)
    for degree in range(1, threshold):
        powers[:, degree] = powers[:, degree - 1] * points % PRIME
    return powers.astype(np.float64)


def _at_zero(points: Limbs) -> Limbs:
    """Return the Lagrange coefficients at zero, a row for each row of points."""
    numerator, denominator = np.ones_like(points), np.ones_like(points)
    for column in range(points.shape[1]):
        other = points[:, column : column + 1]
        same = np.arange(points.shape[1]) == column
        numerator = np.where(same, numerator, numerator * other % PRIME)
        denominator = np.where(same, denominator, denominator * (other - points) % PRIME)
    return numerator * _inverse(denominator) % PRIME


def _inverse(values: Limbs) -> Limbs:
    """Return inverses by Fermat: PRIME - 2 is 2^16 - 1, sixteen ones in binary."""
    result, power = values, values
    for _ in range(15):
        power = power * power % PRIME
        result = result * power % PRIME
    return result


def _uniform(size: int, rng: Randomness) -> Limbs:
    """Return uniform elements of the field, int64[size], by rejection from 17 bits."""
    kept = np.empty(0, np.int64)
    while kept.size < size:
        words = uniform_words(rng, 2 * (size - kept.size) + 64, np.uint32).astype(np.int64) & 0x1FFFF
        kept = np.concatenate([kept, words[words < PRIME]])
    return kept[:size]


def _encode(shares: Limbs) -> list[bytes]:
    overflow = (shares == _OVERFLOW) @ (1 << np.arange(LIMBS, dtype=np.int64))
    rows = np.concatenate([shares & 0xFFFF, overflow[:, None]], axis=1).astype("<u2")
    return [row.tobytes() for row in rows]


def _decode(shares: bytes, count: int) -> Limbs:
    """Return the limbs of `count` shares, int64[count, LIMBS]."""
    if len(shares) != count * SHARE_BYTES:
        raise ValueError(f"shares: expected {count * SHARE_BYTES} bytes, got {len(shares)}")
    words = np.frombuffer(shares, "<u2").reshape(count, LIMBS + 1).astype(np.int64)
    overflow = (words[:, LIMBS:] >> np.arange(LIMBS)) & 1
    return np.asarray(words[:, :LIMBS] + overflow * _OVERFLOW, np.int64)
