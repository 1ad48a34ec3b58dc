from __future__ import annotations

import base64
import json

import pytest

from privacy.base.signing import SignatureError, Signer
from privacy.release.files import open_statement, sign_statement

SIGNER = Signer.from_seed(bytes(range(32)))
ENVELOPE = sign_statement({"model": "aa" * 32}, {"parent": None}, SIGNER)


def test_round_trip() -> None:
    assert open_statement(ENVELOPE, SIGNER.public) == ({"model": "aa" * 32}, {"parent": None})


def test_signature_is_over_the_dsse_encoding() -> None:
    """Recomputed from the DSSE specification's definition of PAE, not from our code."""
    outer = json.loads(ENVELOPE)
    payload = base64.b64decode(outer["payload"])
    encoding = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    signature = base64.b64decode(outer["signatures"][0]["sig"])
    SIGNER._key.public_key().verify(signature, encoding)


@pytest.mark.parametrize("place", range(0, len(ENVELOPE), 7))
def test_any_changed_byte_is_noticed_or_changes_nothing(place: int) -> None:
    changed = bytearray(ENVELOPE)
    changed[place] ^= 1
    try:
        assert open_statement(bytes(changed), SIGNER.public) == open_statement(ENVELOPE, SIGNER.public)
    except SignatureError:
        return


@pytest.mark.parametrize("envelope", [b"", b"{}", b"[]", b'{"payload": 3}', b'{"payload": "!", "signatures": []}'])
def test_damaged_envelopes(envelope: bytes) -> None:
    with pytest.raises(SignatureError, match="damaged"):
        open_statement(envelope, SIGNER.public)


def test_another_key() -> None:
    with pytest.raises(SignatureError, match="not signed by key"):
        open_statement(ENVELOPE, Signer.from_seed(bytes(32)).public)


def test_signer_signs_no_bare_bytes_but_envelopes() -> None:
    with pytest.raises(ValueError, match="DSSE"):
        SIGNER.sign_envelope(b"anything")
    assert "0001020304" not in repr(SIGNER)
