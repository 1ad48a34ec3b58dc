"""Who may take part: devices that an authority beyond the server's control has certified and not revoked.

What a device accepts whoever signs it is pinned by its host application: a policy, beside two public keys.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from pydantic import Field

from privacy.base.canonical import Frozen, sha256
from privacy.base.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SignatureError, Signer, is_low_order, verify
from privacy.secagg.errors import WireError
from privacy.secagg.membership.params import DRAW_BITS, draw_bits
from privacy.secagg.primitives.keys import KEY_BYTES, DeviceKeys, LowOrderKey, require_usable
from privacy.secagg.wire import Reader, Writer
from privacy.task.task import TaskSpec

_CERTIFICATE_DOMAIN = "havenfl/enrolment/2"
_REQUEST_DOMAIN = "havenfl/enrolment-request/1"
_REVOCATION_DOMAIN = "havenfl/revocation/1"
_REQUEST_KIND, _REVOCATIONS_KIND = 96, 97
_TIME_BYTES = 8
_CERTIFICATE = struct.Struct(f"<{PUBLIC_KEY_BYTES}s{KEY_BYTES}sQ{SIGNATURE_BYTES}s")
CERTIFICATE_BYTES = _CERTIFICATE.size


@dataclass(frozen=True)
class Certificate:
    """The authority's word that two public keys belong to one device of one population.

    Attributes:
        identity: Ed25519 public key, under which the device signs.
        agreement: X25519 public key, for channels to other devices.
        not_after: Unix time in seconds after which the certificate is void.
        signature: the authority's, over the keys, the time and the population.
    """

    identity: bytes
    agreement: bytes
    not_after: int
    signature: bytes

    def encode(self) -> bytes:
        """Return the certificate in `CERTIFICATE_BYTES` bytes."""
        return self.identity + self.agreement + self.not_after.to_bytes(_TIME_BYTES, "little") + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Certificate:
        """Read a certificate; whose it is, `check` tells.

        Raises:
            ValueError: when `data` has another length.
        """
        if len(data) != CERTIFICATE_BYTES:
            raise ValueError(f"certificate: expected {CERTIFICATE_BYTES} bytes, got {len(data)}")
        return cls(*_CERTIFICATE.unpack(data))

    def check(self, population: str, authority_public: bytes, now: int) -> None:
        """Require that the authority has enrolled this device in this population, and that the certificate is valid.

        Args:
            population: the population that the device is to belong to.
            authority_public: the authority's Ed25519 public key.
            now: Unix time in seconds.

        Raises:
            SignatureError: when it has not, or the certificate has expired.
        """
        if now > self.not_after:
            raise SignatureError(f"certificate of {self.identity.hex()[:16]}: expired")
        statement = _statement(population, self.identity, self.agreement, self.not_after)
        verify_once(authority_public, _CERTIFICATE_DOMAIN, statement, self.signature)


@dataclass(frozen=True)
class EnrolmentRequest:
    """What a device shows the authority: its public keys, and a proof that it holds the identity's private half.

    Attributes:
        identity: Ed25519 public key.
        agreement: X25519 public key.
        signature: the identity's, over both.
    """

    identity: bytes
    agreement: bytes
    signature: bytes

    @classmethod
    def by(cls, keys: DeviceKeys) -> EnrolmentRequest:
        """Make the request of the device that has these keys."""
        public, agreement = keys.identity.public, keys.agreement.public
        return cls(public, agreement, keys.identity.sign(_REQUEST_DOMAIN, public + agreement))

    def encode(self) -> bytes:
        """Return the request's one encoding."""
        return Writer(_REQUEST_KIND).raw(self.identity).raw(self.agreement).raw(self.signature).done()

    @classmethod
    def decode(cls, data: bytes) -> EnrolmentRequest:
        """Read a request, and verify that a holder of the identity's private half made it.

        Raises:
            WireError: when the bytes are no request.
            SignatureError: when its signature does not verify.
        """
        reader = Reader(data, _REQUEST_KIND)
        request = cls(reader.raw(PUBLIC_KEY_BYTES), reader.raw(KEY_BYTES), reader.raw(SIGNATURE_BYTES))
        reader.end()
        verify(request.identity, _REQUEST_DOMAIN, request.identity + request.agreement, request.signature)
        return request


def enrol(authority: Signer, population: str, request: EnrolmentRequest, not_after: int) -> Certificate:
    """Certify one device for one population.

    Args:
        authority: the authority's signing key.
        population: the population that the device enters.
        request: what the device has shown; its keys are what is certified.
        not_after: Unix time in seconds until which the certificate is valid.

    Raises:
        LowOrderKey: when its identity or its agreement key is of low order.
    """
    if is_low_order(request.identity):
        raise LowOrderKey("an identity of low order, under which anybody can sign")
    require_usable(request.agreement)
    statement = _statement(population, request.identity, request.agreement, not_after)
    signature = authority.sign(_CERTIFICATE_DOMAIN, statement)
    return Certificate(request.identity, request.agreement, not_after, signature)


@dataclass(frozen=True)
class Revocations:
    """The authority's list of devices of one population that may no longer take part.

    A server can hold a new list back, but no longer than `valid_until`, and never show a device an older one than it
    has seen before.

    Attributes:
        population: the population whose devices it lists.
        number: grows with every list.
        valid_until: Unix time in seconds; later, devices want a newer list.
        identities: Ed25519 public keys of the devices, ascending.
        signature: the authority's, over all of it.
    """

    population: str
    number: int
    valid_until: int
    identities: tuple[bytes, ...]
    signature: bytes

    @classmethod
    def signed(
        cls, authority: Signer, population: str, number: int, valid_until: int, identities: frozenset[bytes]
    ) -> Revocations:
        """Sign a list as the authority.

        Args:
            authority: the authority's signing key.
            population: the population whose devices it lists.
            number: above that of every list before.
            valid_until: Unix time in seconds until which devices accept it.
            identities: Ed25519 public keys of the devices that may no longer take part.
        """
        bare = cls(population, number, valid_until, tuple(sorted(identities)), b"")
        signature = authority.sign(_REVOCATION_DOMAIN, bare._signed_part())
        return cls(population, number, valid_until, bare.identities, signature)

    @cached_property
    def revoked(self) -> frozenset[bytes]:
        """The listed identities, as a set."""
        return frozenset(self.identities)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of what the authority has signed: two lists of one number differ in it."""
        return sha256(self._signed_part())

    def encode(self) -> bytes:
        """Return the list's one encoding."""
        return Writer(_REVOCATIONS_KIND).var(self._signed_part()).raw(self.signature).done()

    @classmethod
    def decode(cls, data: bytes) -> Revocations:
        """Read a list; whose it is, `check` tells.

        Raises:
            WireError: when the bytes are no list, or its identities are not distinct and ascending.
        """
        outer = Reader(data, _REVOCATIONS_KIND)
        body, signature = outer.var(), outer.raw(SIGNATURE_BYTES)
        outer.end()
        reader = Reader(body, _REVOCATIONS_KIND)
        population, number, valid_until = reader.text(), reader.u32(), reader.u64()
        listed = reader.raw(reader.count(PUBLIC_KEY_BYTES) * PUBLIC_KEY_BYTES)
        reader.end()
        identities = tuple(listed[at : at + PUBLIC_KEY_BYTES] for at in range(0, len(listed), PUBLIC_KEY_BYTES))
        if any(identity >= following for identity, following in pairwise(identities)):
            raise WireError("revocations: expected distinct identities in ascending order")
        return cls(population, number, valid_until, identities, signature)

    def check(self, population: str, authority_public: bytes, now: int) -> None:
        """Require that the authority has signed this list for this population, and that it is not too old.

        Args:
            population: the population that the list is to be of.
            authority_public: the authority's Ed25519 public key.
            now: Unix time in seconds.

        Raises:
            SignatureError: when it has not, or the list is out of date.
        """
        if self.population != population:
            raise SignatureError(f"revocations: expected those of {population}, got those of {self.population}")
        if now > self.valid_until:
            raise SignatureError("revocations: the list is out of date; the authority has to issue a new one")
        verify_once(authority_public, _REVOCATION_DOMAIN, self._signed_part(), self.signature)

    def _signed_part(self) -> bytes:
        writer = Writer(_REVOCATIONS_KIND).var(self.population.encode()).u32(self.number).u64(self.valid_until)
        return writer.u32(len(self.identities)).raw(b"".join(self.identities)).done()


@lru_cache(maxsize=8192)
def verify_once(public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
    """Verify a signature as `privacy.base.signing.verify` does, and remember that it was right.

    Devices of one process check the same public bytes many times.

    Args:
        public_key: the signer's Ed25519 public key.
        domain: the label under which it was signed.
        message: what was signed.
        signature: 64 bytes.

    Raises:
        SignatureError: when the signature is not the signer's under this label.
    """
    verify(public_key, domain, message, signature)


def _statement(population: str, identity: bytes, agreement: bytes, not_after: int) -> bytes:
    return identity + agreement + not_after.to_bytes(_TIME_BYTES, "little") + population.encode()


class PolicyError(ValueError):
    """A task that asks for less protection than this device insists on."""


class DevicePolicy(Frozen):
    """The least protection under which a device takes part. What a task may ask for beyond it is the operator's."""

    min_noise_multiplier: float = Field(ge=0)
    """The least noise in a sum, over the sensitivity; 0 accepts tasks without noise, for simulations."""
    min_survivors: int = Field(ge=2)
    """The fewest devices in a sum."""
    min_corrupt_fraction: float = Field(ge=0, lt=0.5)
    """The fraction of a cohort that must be assumed to work with the server; thresholds and noise follow from it."""
    min_security_bits: int = Field(default=40, ge=30)
    """The least `security_bits`: drawn holders betray a device with probability at most 2^-security_bits a round."""
    min_draw_bits: int = Field(default=DRAW_BITS, ge=0, le=DRAW_BITS)
    """An honestly drawn cohort holds more corrupt devices than the round withstands with probability at most
    2^-min_draw_bits. Small cohorts reach fewer bits; 0 accepts any."""
    max_participations: int | None = Field(default=None, ge=1)
    """The most rounds of one task to take part in, whatever the task says; None leaves it to the task."""
    max_lifetime_participations: int | None = Field(default=None, ge=1)
    """The most rounds to take part in over the device's life, in all tasks together; None sets no limit.

    With `min_noise_multiplier` it caps what the device can ever lose, whoever draws it and whatever their ledger says:
    mu <= sqrt(max_lifetime_participations) / min_noise_multiplier.
    """
    accept_server_noise: bool = False
    """Take part where the server is trusted to add the noise, and sees every round's exact sum."""
    accept_extrapolation: bool = False
    """Take part with the small fraction of noise of a simulation that stands for a larger fleet."""

    def check(self, task: TaskSpec) -> None:
        """Require that a task keeps every limit of this policy.

        Raises:
            PolicyError: naming the first limit that the task does not keep.
        """
        aggregation = task.aggregation
        limits = [
            ("noise_multiplier", task.mechanism.noise_multiplier, self.min_noise_multiplier),
            ("min_survivors", aggregation.min_survivors, self.min_survivors),
            ("corrupt_fraction", aggregation.corrupt_fraction, self.min_corrupt_fraction),
            ("security_bits", aggregation.security_bits, self.min_security_bits),
            ("draw_bits", draw_bits(aggregation), self.min_draw_bits),
        ]
        for name, offered, least in limits:
            if offered < least:
                raise PolicyError(f"policy: this device wants {name} of at least {least:g}, the task has {offered:g}")
        if task.mechanism.correlation is not None and not self.accept_server_noise:
            raise PolicyError("policy: this device adds noise itself, the task leaves it to the server")
        if task.simulation.fleet is not None and not self.accept_extrapolation:
            raise PolicyError("policy: this device is no simulated one, the task has the noise of a larger fleet")
        if task.simulation.trusted_aggregator:
            raise PolicyError("policy: this device masks its update, the task has an aggregator that sees it")


@dataclass(frozen=True)
class Trust:
    """What is pinned in a device: the operator's and the authority's Ed25519 public keys, and the device's policy."""

    operator: bytes
    authority: bytes
    policy: DevicePolicy
