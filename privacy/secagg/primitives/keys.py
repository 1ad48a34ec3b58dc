"""Keys: X25519 (RFC 7748) agreed, HKDF-SHA256 (RFC 5869) bound to the whole transcript, AES-256-GCM (SP 800-38D)."""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy.base.canonical import sha256
from privacy.base.randomness import SEED_BYTES
from privacy.base.signing import Signer

KEY_BYTES = 32
SEAL_OVERHEAD = 16
TAG_BYTES = 16
_NONCE_BYTES = 12
_REMEMBERED = 4_096
_FIELD = (1 << 255) - 19
_MEMBER, _ROUTE = struct.Struct("<I"), struct.Struct("<II")


class LowOrderKey(ValueError):
    """A public key that makes every shared secret the same."""


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
            LowOrderKey: when everybody knows the result.
        """
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public_key))
        except ValueError as error:
            raise LowOrderKey("a public key of low order") from error


def canonical(public_key: bytes) -> bytes:
    """The one encoding that stands for all that X25519 takes for the same key (RFC 7748, section 5)."""
    return (int.from_bytes(public_key, "little") % (1 << 255) % _FIELD).to_bytes(KEY_BYTES, "little")


def require_usable(public_key: bytes) -> None:
    """Raises LowOrderKey for one: whoever meets it stops, so it must not reach a cohort."""
    _PROBE.agree(public_key)


_PROBE = KeyPair(bytes(KEY_BYTES))
"""Any key will do: RFC 7748 makes every private key a multiple of the cofactor."""


@dataclass(frozen=True)
class DeviceKeys:
    """What a device keeps while it is enrolled: it signs with one key and agrees on channels with the other."""

    identity: Signer
    agreement: KeyPair

    @classmethod
    def from_seed(cls, seed: bytes) -> DeviceKeys:
        """Both keys from 32 secret bytes. Raises ValueError for another length."""
        identity = Signer.from_seed(seed)
        return cls(identity, cls.pair(hkdf(seed, b"", b"havenfl/device/agreement/1", KEY_BYTES)))

    @staticmethod
    def pair(secret: bytes) -> KeyPair:
        """A pair to agree with: the enrolled one, or one of a single round."""
        return KeyPair(secret)


@dataclass
class Agreements:
    """One device's static Diffie-Hellman secrets with others, the most recent ones remembered: they never change.

    Only channel keys come from these, and a fresh one per round: every mask comes from keys of its round alone.
    """

    pair: KeyPair
    _known: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict, repr=False)

    def with_(self, public_key: bytes) -> bytes:
        """The shared secret. Raises LowOrderKey for a public key of low order."""
        if public_key in self._known:
            self._known.move_to_end(public_key)
            return self._known[public_key]
        if len(self._known) >= _REMEMBERED:
            self._known.popitem(last=False)
        return self._known.setdefault(public_key, self.pair.agree(public_key))


@dataclass(frozen=True)
class Channel:
    """Two members in one round. Its key seals one message in each direction, so the nonce is the sender's place."""

    cipher: AESGCM = field(repr=False)
    transcript: bytes
    me: int
    other: int

    @classmethod
    def between(cls, shared: bytes, transcript: bytes, me: int, other: int) -> Channel:
        """A key for this transcript, which fixes both members' certificates and keys of the round."""
        key = hkdf(shared, transcript, b"havenfl/secagg/channel/3" + _pair(me, other), KEY_BYTES)
        return cls(AESGCM(key), transcript, me, other)

    def seal(self, plain: bytes) -> bytes:
        """Called once in a round: a second message would repeat the nonce."""
        return self.cipher.encrypt(self.me.to_bytes(_NONCE_BYTES, "little"), plain, self.transcript)

    def unseal(self, sealed: bytes) -> bytes:
        """Raises cryptography.exceptions.InvalidTag when keys, transcript, sender or bytes differ."""
        return self.cipher.decrypt(self.other.to_bytes(_NONCE_BYTES, "little"), sealed, self.transcript)


def pair_mask_seed(shared: bytes, transcript: bytes, one: int, other: int) -> bytes:
    """Seed of the mask that members `one` and `other` share; the same for both."""
    return hkdf(shared, transcript, b"havenfl/secagg/mask/2" + _pair(one, other), SEED_BYTES)


def self_mask_seed(secret: bytes, transcript: bytes, member: int) -> bytes:
    """Seed of the mask that a member adds for itself alone."""
    return hkdf(secret, transcript, b"havenfl/secagg/self/2" + _MEMBER.pack(member), SEED_BYTES)


def commitment(secret: bytes, identity: bytes) -> bytes:
    """Binds a device to its self-mask secret before it knows the cohort; hiding, since the secret is uniform."""
    return sha256(b"havenfl/secagg/commit/1", identity, secret)


def share_tags(transcript: bytes, route: tuple[int, int], pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Bind a dealer to the two shares that it gave a holder, so that whoever gives a wrong one on is known.

    Hiding, since a share is uniform. 128 bits: a holder would need a second preimage to lie under one.

    Args:
        route: dealer and holder.
        pair: shares of the self-mask secret and of the mask key.
    """
    own, mask = pair
    return share_tag(transcript, route, b"own", own), share_tag(transcript, route, b"mask", mask)


def share_tag(transcript: bytes, route: tuple[int, int], kind: bytes, share: bytes) -> bytes:
    """One of the two `share_tags`, of kind `own` or `mask`."""
    return sha256(b"havenfl/secagg/share/1", transcript, _ROUTE.pack(*route), kind, share)[:TAG_BYTES]


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA256 (RFC 5869): `size` bytes."""
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(secret)


def _pair(one: int, other: int) -> bytes:
    return _ROUTE.pack(one, other) if one < other else _ROUTE.pack(other, one)
