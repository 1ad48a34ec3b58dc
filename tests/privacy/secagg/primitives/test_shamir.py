from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy import stats

from privacy.base.randomness import Origin
from privacy.secagg.primitives.shamir import PRIME, SHARE_BYTES, _uniform, combine, split
from simulations.randomness import SeedTree

VECTORS = json.loads((Path(__file__).parent / "vectors" / "shamir.json").read_text())


@given(
    secrets=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3),
    threshold=st.integers(1, 12),
    holders=st.sets(st.integers(0, 999), min_size=12, max_size=20),
    data=st.data(),
)
def test_any_threshold_of_shares_gives_the_secrets(
    secrets: list[bytes], threshold: int, holders: set[int], data: st.DataObject
) -> None:
    ordered = sorted(holders)
    shares = dict(zip(ordered, split(secrets, threshold, ordered, SeedTree.root(1).stream()), strict=True))
    chosen = data.draw(st.permutations(ordered))[: data.draw(st.integers(threshold, len(ordered)))]
    assert (
        combine([{holder: shares[holder][i] for holder in chosen} for i in range(len(secrets))], threshold) == secrets
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['threshold']} of {len(vector['shares'])}")
def test_known_answers(vector: dict[str, object]) -> None:
    """From vectors/make_shamir.py, in plain integers."""
    shares = {int(holder): bytes.fromhex(share) for holder, share in vector["shares"].items()}  # type: ignore[attr-defined]
    threshold = int(str(vector["threshold"]))
    for first in range(0, len(shares) - threshold + 1, 7):
        some = {holder: shares[holder] for holder in sorted(shares)[first : first + threshold]}
        assert combine([some], threshold) == [bytes.fromhex(str(vector["secret"]))]


def test_a_limb_of_65536_is_carried() -> None:
    """f(x) = x - 2 is 65536 at 1 and 0 at 2: f(0) = 65535."""
    minus_one, zero = bytes(32) + b"\xff\xff", bytes(34)
    assert combine([{0: minus_one, 1: zero}], 2) == [b"\xff\xff" * 16]


def test_fewer_shares_fit_every_secret() -> None:
    """With one share too few, each value of the missing one gives another secret: all limbs stay possible."""
    shares = [pair[0] for pair in split([bytes(range(32))], 3, range(3), SeedTree.root(1).stream())]
    guesses = [value.to_bytes(2, "little") + shares[2][2:] for value in range(0, PRIME - 1, 97)]
    seen = {combine([{0: shares[0], 1: shares[1], 2: guess}], 3)[0][:2] for guess in guesses}
    assert len(seen) == len(guesses)


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_shares_below_the_threshold_are_uniform(secret: bytes) -> None:
    """Low bytes of two of three shares, jointly, over 4,000 sharings: chi-square at 1e-6."""
    rng = SeedTree.root(5).stream()
    encrypted_shares = [split([secret], 3, range(3), rng)[:2] for _ in range(4_000)]
    words = np.array([[int.from_bytes(share[0][:2], "little") for share in pair] for pair in encrypted_shares])
    joint = (words[:, 0] % 16) * 16 + words[:, 1] % 16
    assert stats.chisquare(np.bincount(joint, minlength=256)).pvalue > 1e-6


def test_coefficients_are_rejected_not_reduced() -> None:
    """17 bits hold 131,072 values: reduced, 65535 and 65536 would come half as often as the others."""
    words = np.array([PRIME, 131_071, 65_536, 3, PRIME + 5], "<u4")
    assert _uniform(4, Repeated(words)).tolist() == [65_536, 3, 65_536, 3]


@dataclass(frozen=True)
class Repeated:
    """The same words over and over."""

    words: NDArray[np.uint32]
    origin: Origin = "seeded"

    def token(self, size: int) -> bytes:
        return np.resize(self.words, size // 4).tobytes()


@pytest.mark.parametrize(("threshold", "holders"), [(0, [0, 1, 2]), (4, [0, 1, 2]), (2, [0, 1, 1])])
def test_bad_thresholds(threshold: int, holders: list[int]) -> None:
    with pytest.raises(ValueError, match="threshold: expected"):
        split([bytes(32)], threshold, holders, SeedTree.root(1).stream())


def test_bad_holders() -> None:
    with pytest.raises(ValueError, match="holders: expected 0 to 65535"):
        split([bytes(32)], 1, [PRIME - 1], SeedTree.root(1).stream())


def test_bad_lengths() -> None:
    with pytest.raises(ValueError, match=r"secrets: expected 32 bytes each, got \[31\]"):
        split([bytes(31)], 2, range(3), SeedTree.root(1).stream())
    with pytest.raises(ValueError, match="shares: expected 2 of each secret, got 1"):
        combine([{0: bytes(SHARE_BYTES)}], 2)
    with pytest.raises(ValueError, match="shares: expected 68 bytes"):
        combine([{0: bytes(SHARE_BYTES), 1: bytes(3)}], 2)
    assert combine([], 2) == []
