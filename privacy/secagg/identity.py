"""Who may take part: device identities certified by an enrolment authority that the server does not control."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from privacy.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Signer, verify

CERTIFICATE_BYTES = PUBLIC_KEY_BYTES + SIGNATURE_BYTES
_DOMAIN = "havenfl/enrolment/1"


@dataclass(frozen=True)
class Certificate:
    """The authority's word that `identity` (an Ed25519 public key) belongs to a device of one population."""

    identity: bytes
    signature: bytes

    def encode(self) -> bytes:
        return self.identity + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Certificate:
        if len(data) != CERTIFICATE_BYTES:
            raise ValueError(f"certificate: expected {CERTIFICATE_BYTES} bytes, got {len(data)}")
        return cls(data[:PUBLIC_KEY_BYTES], data[PUBLIC_KEY_BYTES:])

    def check(self, population: str, authority_public: bytes) -> None:
        """Raises SignatureError when the authority did not enrol this device in this population."""
        verify_once(authority_public, _DOMAIN, _statement(population, self.identity), self.signature)


def enrol(authority: Signer, population: str, identity: bytes) -> Certificate:
    """Certify one device for one population."""
    return Certificate(identity, authority.sign(_DOMAIN, _statement(population, identity)))


@lru_cache(maxsize=8192)
def verify_once(public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
    """`privacy.signing.verify`, remembered: devices that share a process check the same public bytes many times."""
    verify(public_key, domain, message, signature)


def _statement(population: str, identity: bytes) -> bytes:
    return identity + population.encode()
