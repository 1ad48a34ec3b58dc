"""Ed25519 (RFC 8032) signatures with a domain label, so that no signature can serve in another place."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.base.canonical import sha256

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
_FIELD = (1 << 255) - 19
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_LOW_ORDER = frozenset({0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8})
"""The y-coordinates of the eight points whose order divides 8 (Chalkias et al. 2020, table 6)."""


class SignatureError(ValueError):
    """A signature does not verify under the key and domain it was expected for."""


class Signer:
    """An Ed25519 private key that signs in named domains and never shows itself."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._key = private_key
        self.public = private_key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Signer({key_id(self.public)})"

    @classmethod
    def from_seed(cls, seed: bytes) -> Signer:
        """Make the signer of 32 secret bytes.

        Raises:
            ValueError: when `seed` is not 32 bytes long.
        """
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return a 64-byte signature over `domain` and `message`."""
        return self._key.sign(_bound(domain, message))

    def sign_envelope(self, pre_authentication: bytes) -> bytes:
        """Return a bare 64-byte signature over a DSSE pre-authentication encoding, which names its own type.

        Raises:
            ValueError: when the bytes are of any other kind; those are signed in a domain.
        """
        if not pre_authentication.startswith(b"DSSEv1 "):
            raise ValueError("pre_authentication: expected DSSE version 1")
        return self._key.sign(pre_authentication)


def verify(public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
    """Check a signature made by `Signer.sign`.

    Args:
        public_key: whose signature it is expected to be, 32 bytes.
        domain: what it was made for.
        message: what it is over, beside the domain.
        signature: 64 bytes.

    Raises:
        SignatureError: when the signature does not verify, or the key is none or of low order.
    """
    if is_low_order(public_key):
        raise SignatureError(f"{domain}: a public key of low order, under which anybody can sign")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _bound(domain, message))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(f"{domain}: no valid signature by {key_id(public_key)}") from error


def is_low_order(public_key: bytes) -> bool:
    """Whether an Ed25519 public key, in any encoding, is a point of an order that divides 8: it has no secret half."""
    return int.from_bytes(public_key, "little") % (1 << 255) % _FIELD in _LOW_ORDER


def key_id(public_key: bytes) -> str:
    """Return the short public name of a key: 16 hex digits of its SHA-256."""
    return sha256(public_key).hex()[:16]


def _bound(domain: str, message: bytes) -> bytes:
    label = domain.encode()
    return len(label).to_bytes(2, "big") + label + message
