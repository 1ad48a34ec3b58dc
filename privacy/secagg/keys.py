"""Keys of one round: X25519 (RFC 7748) agreed, HKDF-SHA256 (RFC 5869) bound to the whole transcript."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy.canonical import sha256
from privacy.randomness import SEED_BYTES

SEAL_OVERHEAD = 16
_NONCE = bytes(12)
"""Constant, because a channel key seals exactly one message: one round, one direction."""


class KeyPair:
    """An X25519 key pair, loaded once: loading costs as much as agreeing."""

    def __init__(self, secret: bytes) -> None:
        """Raises ValueError when `secret` is not 32 bytes long."""
        self.secret = secret
        self._private = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()[:16]})"

    def agree(self, public_key: bytes) -> bytes:
        """The shared secret with the holder of `public_key`.

        Raises:
            ValueError: for a public key of low order, whose result everybody knows.
        """
        return self._private.exchange(X25519PublicKey.from_public_bytes(public_key))


def pair_mask_seed(shared: bytes, transcript: bytes, one: int, other: int) -> bytes:
    """Seed of the mask that members `one` and `other` share; the same for both."""
    low, high = sorted((one, other))
    return _derive(shared, transcript, b"mask" + _index(low) + _index(high), SEED_BYTES)


def self_mask_seed(secret: bytes, transcript: bytes, member: int) -> bytes:
    """Seed of the mask that a member adds for itself alone."""
    return _derive(secret, transcript, b"self" + _index(member), SEED_BYTES)


def commitment(secret: bytes, identity: bytes) -> bytes:
    """Binds a device to its self-mask secret before it knows the cohort; hiding, since the secret is uniform."""
    return sha256(b"havenfl/secagg/commit/1", identity, secret)


def seal(shared: bytes, transcript: bytes, sender: int, recipient: int, plain: bytes) -> bytes:
    """AES-256-GCM (SP 800-38D) under a key for this sender, recipient and transcript."""
    return _channel(shared, transcript, sender, recipient).encrypt(_NONCE, plain, transcript)


def unseal(shared: bytes, transcript: bytes, sender: int, recipient: int, sealed: bytes) -> bytes:
    """Opens what `seal` made.

    Raises:
        cryptography.exceptions.InvalidTag: when keys, transcript, direction or bytes differ.
    """
    return _channel(shared, transcript, sender, recipient).decrypt(_NONCE, sealed, transcript)


def _channel(shared: bytes, transcript: bytes, sender: int, recipient: int) -> AESGCM:
    return AESGCM(_derive(shared, transcript, b"channel" + _index(sender) + _index(recipient), 32))


def _derive(secret: bytes, transcript: bytes, info: bytes, size: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=size, salt=transcript, info=b"havenfl/secagg/1" + info).derive(secret)


def _index(member: int) -> bytes:
    return member.to_bytes(4, "little")
