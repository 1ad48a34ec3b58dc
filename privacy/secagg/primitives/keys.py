"""Keys: X25519 (RFC 7748) agreed, HKDF-SHA256 (RFC 5869) bound to the whole transcript, AES-256-GCM (SP 800-38D)."""

from __future__ import annotations

import hmac
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
CHECK_TAG_BYTES = 12
"""What a forger guesses with probability 2^-96, in the one try that it has: a tag that fails proves nothing."""
_NONCE_BYTES = 12
_REMEMBERED = 4_096
_FIELD = (1 << 255) - 19
_MEMBER, _ROUTE = struct.Struct("<I"), struct.Struct("<II")


class LowOrderKey(ValueError):
    """A public key that makes every shared secret the same."""


class KeyPair:
    """An X25519 key pair, loaded once: loading costs as much as agreeing.

    Raises:
        ValueError: when the secret is not 32 bytes long.
    """

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._private = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()[:16]})"

    def agree(self, public_key: bytes) -> bytes:
        """Return the 32-byte secret shared with the holder of `public_key`.

        Raises:
            LowOrderKey: when everybody knows the result.
        """
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public_key))
        except ValueError as error:
            raise LowOrderKey("a public key of low order") from error


def canonical(public_key: bytes) -> bytes:
    """Return the one encoding that stands for all that X25519 takes for the same key (RFC 7748, section 5)."""
    return (int.from_bytes(public_key, "little") % (1 << 255) % _FIELD).to_bytes(KEY_BYTES, "little")


def require_usable(public_key: bytes) -> None:
    """Require that an X25519 public key is not of low order: a device that meets one stops, so none may reach a cohort.

    Raises:
        LowOrderKey: when it is.
    """
    if canonical(public_key) in _LOW_ORDER:
        raise LowOrderKey("a public key of low order")


_LOW_ORDER = frozenset(
    point.to_bytes(KEY_BYTES, "little")
    for point in (
        0,
        1,
        _FIELD - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)
"""The points, on curve and twist, whose multiples by a private key are all zero (Bernstein, "A state-of-the-art
Diffie-Hellman function", "How do I validate Curve25519 public keys?")."""


@dataclass(frozen=True)
class DeviceKeys:
    """What a device keeps while it is enrolled: it signs with one key and agrees on channels with the other.

    Attributes:
        identity: its Ed25519 signing key.
        agreement: its X25519 key pair.
    """

    identity: Signer
    agreement: KeyPair

    @classmethod
    def from_seed(cls, seed: bytes) -> DeviceKeys:
        """Derive both keys from 32 secret bytes.

        Raises:
            ValueError: when the seed has another length.
        """
        identity = Signer.from_seed(seed)
        return cls(identity, cls.pair(hkdf(seed, b"", b"havenfl/device/agreement/1", KEY_BYTES)))

    @staticmethod
    def pair(secret: bytes) -> KeyPair:
        """Return the pair of 32 secret bytes: the enrolled one, or one of a single round."""
        return KeyPair(secret)


@dataclass
class Agreements:
    """One device's static Diffie-Hellman secrets with others, the most recent ones remembered: they never change.

    Only channel keys come from these, and a fresh one per round: every mask comes from keys of its round alone.

    Attributes:
        pair: the device's enrolled key pair.
    """

    pair: KeyPair
    _known: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict, repr=False)

    def shared_secret(self, public_key: bytes) -> bytes:
        """Return the 32-byte secret shared with the holder of a public key.

        Raises:
            LowOrderKey: when the public key is of low order.
        """
        if public_key in self._known:
            self._known.move_to_end(public_key)
            return self._known[public_key]
        if len(self._known) >= _REMEMBERED:
            self._known.popitem(last=False)
        return self._known.setdefault(public_key, self.pair.agree(public_key))


@dataclass(frozen=True)
class Channel:
    """An encrypted channel between two members in one round, over which they also vouch for what they sign.

    Its key seals one message in each direction, so the nonce is the sender's place (AES-256-GCM, SP 800-38D).

    Attributes:
        cipher: holds the key.
        check_key: the key under which either tells the other what it has signed, by HMAC-SHA256 (RFC 2104).
        transcript: the roster's digest, authenticated with every message.
        me: place of the member that seals.
        other: place of the member whose messages are opened.
    """

    cipher: AESGCM = field(repr=False)
    check_key: bytes = field(repr=False)
    transcript: bytes
    me: int
    other: int

    @classmethod
    def between(cls, shared: bytes, transcript: bytes, me: int, other: int) -> Channel:
        """Derive the channel's keys by HKDF-SHA256 for a transcript, which fixes both members' keys of the round.

        Args:
            shared: the members' static Diffie-Hellman secret.
            transcript: the roster's digest.
            me: this member's place.
            other: the other member's place.
        """
        derived = hkdf(shared, transcript, b"havenfl/secagg/channel/4" + _pair(me, other), 2 * KEY_BYTES)
        return cls(AESGCM(derived[:KEY_BYTES]), derived[KEY_BYTES:], transcript, me, other)

    def seal(self, plain: bytes) -> bytes:
        """Encrypt and authenticate a message; once in a round, since a second one would repeat the nonce."""
        return self.cipher.encrypt(self.me.to_bytes(_NONCE_BYTES, "little"), plain, self.transcript)

    def unseal(self, sealed: bytes) -> bytes:
        """Open the other member's message.

        Raises:
            InvalidTag: of `cryptography.exceptions`, when keys, transcript, sender or bytes differ.
        """
        return self.cipher.decrypt(self.other.to_bytes(_NONCE_BYTES, "little"), sealed, self.transcript)

    def check_tag(self, statement: bytes) -> bytes:
        """Return this member's word to the other that it has signed a statement, `CHECK_TAG_BYTES` long."""
        return self._check_tag(self.me, statement)

    def vouches(self, tag: bytes, statement: bytes) -> bool:
        """Tell whether a tag is the other member's word that it has signed a statement."""
        return hmac.compare_digest(tag, self._check_tag(self.other, statement))

    def _check_tag(self, sender: int, statement: bytes) -> bytes:
        return hmac.digest(self.check_key, _MEMBER.pack(sender) + statement, "sha256")[:CHECK_TAG_BYTES]


def pair_mask_seed(shared: bytes, transcript: bytes, me: int, other: int) -> bytes:
    """Return the 48-byte seed of the pairwise mask of two members, the same whichever of them asks.

    Args:
        shared: their Diffie-Hellman secret, from keys of this round alone.
        transcript: the roster's digest.
        me: place of the member that asks.
        other: place of the other one.
    """
    return hkdf(shared, transcript, b"havenfl/secagg/mask/2" + _pair(me, other), SEED_BYTES)


def self_mask_seed(secret: bytes, transcript: bytes, member: int) -> bytes:
    """Return the 48-byte seed of the mask that a member adds for itself alone.

    Args:
        secret: its self-mask secret, 32 bytes.
        transcript: the roster's digest.
        member: its place.
    """
    return hkdf(secret, transcript, b"havenfl/secagg/self/2" + _MEMBER.pack(member), SEED_BYTES)


def commitment(secret: bytes, identity: bytes) -> bytes:
    """Return the digest that binds a device to its self-mask secret before it knows the cohort.

    It hides the secret, which is 32 uniform bytes, as long as SHA-256 cannot be inverted.
    """
    return sha256(b"havenfl/secagg/commit/1", identity, secret)


def share_tags(transcript: bytes, route: tuple[int, int], pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Bind a dealer to the two secret shares that it gave a holder, so that whoever gives a wrong one on is known.

    A tag hides its share, which is uniform. It has 128 bits: a holder would need a second preimage to lie under one.

    Args:
        transcript: the roster's digest.
        route: places of dealer and holder.
        pair: secret shares of the self-mask secret and of the mask key.

    Returns:
        Their tags, `TAG_BYTES` each, in this order.
    """
    own, mask = pair
    return share_tag(transcript, route, b"own", own), share_tag(transcript, route, b"mask", mask)


def share_tag(transcript: bytes, route: tuple[int, int], kind: bytes, share: bytes) -> bytes:
    """Return the tag of one secret share, `TAG_BYTES` long, as `share_tags` does for two.

    Args:
        transcript: the roster's digest.
        route: places of dealer and holder.
        kind: `own` for a share of the self-mask secret, `mask` for one of the mask key.
        share: the secret share.
    """
    return sha256(b"havenfl/secagg/share/1", transcript, _ROUTE.pack(*route), kind, share)[:TAG_BYTES]


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """Derive `size` bytes by HKDF-SHA256 (RFC 5869).

    Args:
        secret: the input keying material.
        salt: the salt, not secret.
        info: the label that separates this use from others.
        size: bytes to derive.
    """
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(secret)


def _pair(me: int, other: int) -> bytes:
    return _ROUTE.pack(min(me, other), max(me, other))
