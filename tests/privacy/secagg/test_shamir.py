from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.secagg.shamir import PRIME, SHARE_BYTES, combine, split
from simulations.randomness import SeedTree


@given(st.binary(min_size=32, max_size=32), st.integers(1, 12), st.integers(0, 8), st.randoms(), st.integers(0, 2**32))
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, threshold: int, spare: int, order, seed: int) -> None:  # type: ignore[no-untyped-def]
    shares = split(secret, threshold, threshold + spare, SeedTree.root(seed).stream())
    holders = list(range(threshold + spare))
    order.shuffle(holders)
    assert combine({holder: shares[holder] for holder in holders[:threshold]}, threshold) == secret


def test_fewer_shares_fit_every_secret() -> None:
    """With one share too few, each value of the missing one gives another secret: all limbs stay possible."""
    secret = bytes(range(32))
    shares = split(secret, 3, 3, SeedTree.root(1).stream())
    seen = {_with_third_share(shares, value) for value in range(0, PRIME - 1, 97)}
    assert len(seen) == len(range(0, PRIME - 1, 97))


def _with_third_share(shares: list[bytes], limb: int) -> bytes:
    guess = limb.to_bytes(2, "little") + shares[2][2:]
    return combine({0: shares[0], 1: shares[1], 2: guess}, 3)[:2]


def test_known_answer() -> None:
    """f(x) = 5 + 7x over GF(65537) in every limb: f(1) = 12 and f(2) = 19."""
    one, two = (value.to_bytes(2, "little") * 16 + bytes(2) for value in (12, 19))
    assert combine({0: one, 1: two}, 2) == (5).to_bytes(2, "little") * 16


def test_limb_65536_is_carried() -> None:
    """f(x) = x - 1 - 1 = 65536 + ... : f(0) = 0 with f(1) = 65536 (that is -1) and f(2) = 65535 (-2)."""
    minus_one = bytes(32) + b"\xff\xff"
    minus_two = b"\xff\xff" * 16 + bytes(2)
    assert combine({0: minus_one, 1: minus_two}, 2) == bytes(32)


@pytest.mark.parametrize(("threshold", "holders"), [(0, 3), (4, 3), (1, PRIME)])
def test_bad_thresholds(threshold: int, holders: int) -> None:
    with pytest.raises(ValueError, match="threshold: expected"):
        split(bytes(32), threshold, holders, SeedTree.root(1).stream())


def test_bad_lengths() -> None:
    with pytest.raises(ValueError, match="secret: expected 32 bytes, got 31"):
        split(bytes(31), 2, 3, SeedTree.root(1).stream())
    with pytest.raises(ValueError, match="shares: expected 2, got 1"):
        combine({0: bytes(SHARE_BYTES)}, 2)
    with pytest.raises(ValueError, match="share: expected 34 bytes"):
        combine({0: bytes(SHARE_BYTES), 1: bytes(3)}, 2)
