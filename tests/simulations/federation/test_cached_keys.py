from __future__ import annotations

import pytest

from privacy.secagg.primitives.keys import DeviceKeys, KeyPair, LowOrderKey
from simulations.federation.cached_keys import NeighbourKeys, NeighbourPair


def pairs(*seeds: int) -> list[NeighbourPair]:
    return [NeighbourPair(bytes([seed]) * 32) for seed in seeds]


def test_both_ends_agree_on_what_x25519_gives() -> None:
    first, other, third = pairs(1, 2, 3)
    expected = KeyPair(first.secret).agree(other.public)
    assert first.agree(other.public) == other.agree(first.public) == expected
    assert first.agree(third.public) == KeyPair(third.secret).agree(first.public)


def test_an_end_that_asks_again_gets_the_same() -> None:
    first, other = pairs(4, 5)
    secret = first.agree(other.public)
    assert [first.agree(other.public), first.agree(other.public), other.agree(first.public)] == [secret] * 3


def test_another_encoding_of_a_key_is_taken_for_what_it_is() -> None:
    first, other = pairs(6, 7)
    alias = other.public[:-1] + bytes([other.public[-1] | 0x80])  # RFC 7748: the top bit is ignored
    assert first.agree(alias) == other.agree(first.public)


def test_a_key_of_low_order_is_refused_every_time() -> None:
    [first] = pairs(8)
    for _ in range(2):
        with pytest.raises(LowOrderKey):
            first.agree(bytes(32))


def test_what_nobody_asks_for_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulations.federation.cached_keys._WAITING", 2)
    monkeypatch.setattr(NeighbourPair, "_waiting", {})
    first, *others = pairs(9, 10, 11, 12, 13)
    for other in others:
        first.agree(other.public)
        assert len(NeighbourPair._waiting) <= 2
    expected = [KeyPair(first.secret).agree(other.public) for other in others]
    assert [other.agree(first.public) for other in others] == expected


def test_a_simulated_devices_keys_are_those_of_a_real_one() -> None:
    seed = bytes(range(32))
    keys, real = NeighbourKeys.from_seed(seed), DeviceKeys.from_seed(seed)
    assert (keys.identity.public, keys.agreement.public) == (real.identity.public, real.agreement.public)
    assert isinstance(keys.agreement, NeighbourPair)
