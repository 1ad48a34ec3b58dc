"""Certificates, enrolment requests and revocation lists."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from privacy.base.signing import SignatureError, Signer, is_low_order, verify
from privacy.secagg.errors import WireError
from privacy.secagg.membership.identity import Certificate, EnrolmentRequest, Revocations, enrol
from privacy.secagg.primitives.keys import DeviceKeys, LowOrderKey
from tests.support.edwards import NEUTRAL, decoded, low_order_keys, times_eight

AUTHORITY, STRANGER = Signer.from_seed(bytes(32)), Signer.from_seed(b"\x01" * 32)
KEYS = DeviceKeys.from_seed(b"\x02" * 32)
REQUEST = EnrolmentRequest.by(KEYS)
CERTIFICATE = enrol(AUTHORITY, "people", REQUEST, not_after=1_000)
LOW_ORDER = low_order_keys()


def test_a_certificate_holds_for_its_population_until_it_expires() -> None:
    CERTIFICATE.check("people", AUTHORITY.public, now=1_000)
    assert Certificate.decode(CERTIFICATE.encode()) == CERTIFICATE


@pytest.mark.parametrize(
    ("certificate", "population", "authority", "now"),
    [
        (CERTIFICATE, "people", AUTHORITY, 1_001),
        (CERTIFICATE, "others", AUTHORITY, 0),
        (CERTIFICATE, "people", STRANGER, 0),
        (replace(CERTIFICATE, not_after=2_000), "people", AUTHORITY, 0),
        (replace(CERTIFICATE, agreement=bytes(32)), "people", AUTHORITY, 0),
        (replace(CERTIFICATE, identity=STRANGER.public), "people", AUTHORITY, 0),
    ],
)
def test_certificates_that_do_not_hold(certificate: Certificate, population: str, authority: Signer, now: int) -> None:
    with pytest.raises(SignatureError):
        certificate.check(population, authority.public, now)


def test_certificates_of_another_length() -> None:
    with pytest.raises(ValueError, match="certificate: expected 136 bytes, got 135"):
        Certificate.decode(CERTIFICATE.encode()[:-1])


def test_a_request_proves_that_the_device_holds_the_key() -> None:
    assert EnrolmentRequest.decode(REQUEST.encode()) == REQUEST
    for forged in (
        replace(REQUEST, identity=STRANGER.public),
        replace(REQUEST, agreement=b"\x07" * 32),
        replace(REQUEST, signature=bytes(64)),
    ):
        with pytest.raises(SignatureError):
            EnrolmentRequest.decode(forged.encode())


def test_an_agreement_key_of_low_order_is_not_certified() -> None:
    with pytest.raises(ValueError, match="low order"):
        enrol(AUTHORITY, "people", replace(REQUEST, agreement=bytes(32)), 1_000)


@pytest.mark.parametrize("identity", LOW_ORDER)
def test_an_identity_of_low_order_is_not_certified(identity: bytes) -> None:
    with pytest.raises(LowOrderKey, match="an identity of low order"):
        enrol(AUTHORITY, "people", replace(REQUEST, identity=identity), 1_000)


@pytest.mark.parametrize("identity", LOW_ORDER)
def test_nothing_is_signed_under_a_key_of_low_order(identity: bytes) -> None:
    """With R neutral and S zero, the equation of RFC 8032 holds for about one message in the order of the key."""
    for attempt in range(64):
        with pytest.raises(SignatureError, match="low order"):
            verify(identity, "a domain", bytes([attempt]), bytes([1]) + bytes(63))


def test_of_low_order_is_whatever_eight_times_makes_the_neutral_point() -> None:
    ordinary = [Signer.from_seed(bytes([number]) * 32).public for number in range(20)]
    assert len({decoded(key) for key in LOW_ORDER}) == 8
    for key in [*LOW_ORDER, *ordinary]:
        assert is_low_order(key) == (times_eight(decoded(key)) == NEUTRAL) == (key in LOW_ORDER)


def test_both_keys_follow_from_the_seed_and_differ() -> None:
    again, other = DeviceKeys.from_seed(b"\x02" * 32), DeviceKeys.from_seed(b"\x03" * 32)
    assert (again.identity.public, again.agreement.public) == (KEYS.identity.public, KEYS.agreement.public)
    assert len({KEYS.identity.public, KEYS.agreement.public, other.identity.public, other.agreement.public}) == 4
    assert (b"\x02" * 32).hex() not in repr(KEYS)
    assert KEYS.agreement.secret.hex() not in repr(KEYS)


@given(st.frozensets(st.binary(min_size=32, max_size=32), max_size=5), st.integers(0, 2**32 - 1), st.text(max_size=9))
def test_revocation_lists_survive_the_wire(identities: frozenset[bytes], number: int, population: str) -> None:
    signed = Revocations.signed(AUTHORITY, population, number, 99, identities)
    decoded = Revocations.decode(signed.encode())
    assert decoded == signed
    assert decoded.revoked == identities
    decoded.check(population, AUTHORITY.public, now=99)


def test_revocation_lists_that_do_not_count() -> None:
    signed = Revocations.signed(AUTHORITY, "people", 1, 99, frozenset({bytes(32)}))
    for forged, now in ((replace(signed, number=2), 0), (replace(signed, identities=()), 0), (signed, 100)):
        with pytest.raises(SignatureError):
            forged.check("people", AUTHORITY.public, now)
    with pytest.raises(SignatureError, match="expected those of others"):
        signed.check("others", AUTHORITY.public, 0)
    unsorted = replace(signed, identities=(b"\x01" * 32, bytes(32)))
    with pytest.raises(WireError, match="ascending"):
        Revocations.decode(unsorted.encode())
