"""Primitives as published; each test names its source."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy.base.randomness import Keystream
from privacy.secagg.primitives.keys import (
    Channel,
    KeyPair,
    canonical,
    commitment,
    hkdf,
    pair_mask_seed,
    require_usable,
    self_mask_seed,
)


def test_x25519() -> None:
    """RFC 7748, section 6.1."""
    alice = KeyPair(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    bob = KeyPair(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.agree(bob.public).hex() == bob.agree(alice.public).hex() == shared


def test_x25519_encodings_of_one_key() -> None:
    """RFC 7748, section 5: the top bit is ignored, and 2^255 - 19 to 2^255 - 1 are read modulo 2^255 - 19."""
    key, mine = KeyPair(bytes(31) + b"\x40").public, KeyPair(bytes(range(32)))
    again = key[:31] + bytes([key[31] | 0x80])
    assert mine.agree(key) == mine.agree(again)
    assert canonical(key) == canonical(again)
    nine, more = (9).to_bytes(32, "little"), (9 + 2**255 - 19).to_bytes(32, "little")
    assert mine.agree(nine) == mine.agree(more)
    assert canonical(nine) == canonical(more) == nine


@pytest.mark.parametrize(
    "point",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ],
)
def test_low_order_points_are_not_usable(point: str) -> None:
    """The points of RFC 7748, section 6.1's all-zero check, as listed at https://cr.yp.to/ecdh.html#validate."""
    with pytest.raises(ValueError, match="low order"):
        require_usable(bytes.fromhex(point))


@pytest.mark.parametrize(
    ("salt", "info", "expected"),
    [
        (
            bytes(range(13)),
            bytes(range(0xF0, 0xFA)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (b"", b"", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ],
)
def test_hkdf_sha256(salt: bytes, info: bytes, expected: str) -> None:
    """RFC 5869, test cases 1 and 3."""
    assert hkdf(b"\x0b" * 22, salt, info, 42).hex() == expected


def test_aes_256_ctr() -> None:
    """NIST SP 800-38A, F.5.5: the keystream is plaintext XOR ciphertext."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    counter = bytes(range(0xF0, 0x100))
    plain = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    cipher = bytes.fromhex(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )
    expected = bytes(byte ^ mask for byte, mask in zip(plain, cipher, strict=True))
    assert Keystream(key + counter).read(64) == expected
    stream, block = Keystream(key + counter), bytearray(32)
    for half in (plain[:32], plain[32:]):
        stream.xor_into(memoryview(half), memoryview(block))
        assert bytes(block) == cipher[:32] if half == plain[:32] else cipher[32:]


@pytest.mark.parametrize(
    ("plain", "sealed"),
    [
        ("", "530f8afbc74536b9a963b4f1c4cb738b"),
        ("00" * 16, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    ],
)
def test_aes_256_gcm(plain: str, sealed: str) -> None:
    """McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13 and 14: key, nonce and plaintext zero."""
    channel = Channel(AESGCM(bytes(32)), b"", transcript=b"", me=0, other=0)
    assert channel.seal(bytes.fromhex(plain)).hex() == sealed
    assert channel.unseal(bytes.fromhex(sealed)).hex() == plain


def test_a_channel_opens_only_what_the_other_side_sealed_in_the_same_round() -> None:
    shared, transcript = bytes(32), bytes(31) + b"\x01"
    low, high = (Channel.between(shared, transcript, *pair) for pair in ((3, 8), (8, 3)))
    assert high.unseal(low.seal(b"one")) == b"one"
    assert low.unseal(high.seal(b"two")) == b"two"
    strangers = [
        Channel.between(shared, transcript, 8, 4),
        Channel.between(shared, bytes(32), 8, 3),
        Channel.between(b"\x01" * 32, transcript, 8, 3),
        low,
    ]
    for stranger in strangers:
        with pytest.raises(InvalidTag):
            stranger.unseal(low.seal(b"one"))


def test_every_mask_is_of_one_pair_one_transcript_and_one_purpose() -> None:
    """One secret is enough for many keys only while no two labels meet."""
    secret, transcript_a, transcript_b = bytes(32), b"\x01" * 32, b"\x02" * 32
    seeds = [
        pair_mask_seed(secret, transcript, *pair)
        for transcript in (transcript_a, transcript_b)
        for pair in ((1, 2), (1, 3))
    ]
    seeds += [
        self_mask_seed(secret, transcript, member) for transcript in (transcript_a, transcript_b) for member in (1, 2)
    ]
    assert len(set(seeds)) == len(seeds) == 8
    assert pair_mask_seed(secret, transcript_a, 1, 2) == pair_mask_seed(secret, transcript_a, 2, 1)


def test_a_commitment_is_of_one_device() -> None:
    """Nobody can advertise another's as its own."""
    assert len({commitment(secret, identity) for secret in (bytes(32), b"\x01" * 32) for identity in (b"a", b"b")}) == 4
