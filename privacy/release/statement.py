"""Signed statements about files: in-toto Statement v1 in a DSSE envelope, verifiable with other people's tools."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.base.canonical import canonical_json
from privacy.base.signing import SignatureError, Signer, key_id

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "urn:havenfl:release:1"


def sign_statement(digests: Mapping[str, str], predicate: Mapping[str, Any], signer: Signer) -> bytes:
    """A DSSE envelope that binds file names to hex SHA-256 digests, and says `predicate` about them."""
    subjects = [{"name": name, "digest": {"sha256": digests[name]}} for name in sorted(digests)]
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": _PREDICATE_TYPE,
        "predicate": dict(predicate),
    }
    payload = canonical_json(statement)
    return _envelope(payload, signer.sign_envelope(_pre_authentication(payload)), signer.public)


def open_statement(envelope: bytes, public_key: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """The digests and the predicate of a statement that `public_key` signed.

    Raises:
        SignatureError: when it is not such a statement, to the byte: what the signature does not cover is not free.
    """
    try:
        outer = json.loads(envelope)
        payload = base64.b64decode(outer["payload"], validate=True)
        signature = base64.b64decode(outer["signatures"][0]["sig"], validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _pre_authentication(payload))
        statement = json.loads(payload)
        digests = {str(subject["name"]): str(subject["digest"]["sha256"]) for subject in statement["subject"]}
        kind, predicate = (statement["_type"], statement["predicateType"]), dict(statement["predicate"])
    except (InvalidSignature, KeyError, IndexError, TypeError, ValueError) as error:
        raise SignatureError(f"statement: not signed by key {key_id(public_key)}, or damaged") from error
    if kind != (_STATEMENT_TYPE, _PREDICATE_TYPE):
        raise SignatureError(f"statement: expected {_PREDICATE_TYPE}, got {kind[1]}")
    if envelope != _envelope(payload, signature, public_key):
        raise SignatureError("statement: expected the one canonical envelope of its payload, got another encoding")
    return digests, predicate


def _envelope(payload: bytes, signature: bytes, public_key: bytes) -> bytes:
    return canonical_json(
        {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": key_id(public_key), "sig": base64.b64encode(signature).decode()}],
        }
    )


def _pre_authentication(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, version 1."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
