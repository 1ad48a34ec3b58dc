"""What lies in a release directory, how a model is written there, and the signed statement about all of it.

The statement is an in-toto Statement v1 in a DSSE envelope, verifiable with other people's tools.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from numpy.typing import NDArray
from safetensors.numpy import load, save

from privacy.base.canonical import canonical_json, sha256
from privacy.base.signing import SignatureError, Signer, key_id
from privacy.task.task import ModelSpec

MODEL_FILE = "model.safetensors"
TASK_FILE = "task.json"
CARD_FILE = "card.json"
REPORT_FILE = "report.json"
STATEMENT_FILE = "statement.dsse.json"


def pack_tensors(weights: NDArray[np.float32], model: ModelSpec) -> bytes:
    """Return the safetensors file of a flat vector, float32[d], cut into the model's named tensors."""
    ends = np.cumsum([parameter.size for parameter in model.parameters])
    pieces = np.split(weights, ends[:-1])
    named = zip(model.parameters, pieces, strict=True)
    # safetensors 0.8 writes memory as it lies: findings/safetensors_array_order.sh.
    return save({parameter.name: np.ascontiguousarray(piece.reshape(parameter.shape)) for parameter, piece in named})


def unpack_tensors(data: bytes, model: ModelSpec) -> NDArray[np.float32]:
    """Return the flat vector, float32[d], of a safetensors file that `pack_tensors` made.

    Raises:
        KeyError: when a tensor of the model is missing.
        safetensors.SafetensorError: when it is no such file.
    """
    tensors = load(data)
    return np.concatenate([tensors[parameter.name].reshape(-1) for parameter in model.parameters])


def model_digest(weights: NDArray[np.float32]) -> str:
    """Return what a ledger records of a released model: hex SHA-256 of its flat vector, little-endian float32."""
    return sha256(weights.astype("<f4").tobytes()).hex()


def release_name(digests: Mapping[str, str]) -> str:
    """Return the name of a release: the hash, 32 hex digits, of its files' hex SHA-256 by name."""
    return sha256(canonical_json(dict(digests))).hex()[:32]


PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "urn:havenfl:release:1"


def sign_statement(digests: Mapping[str, str], predicate: Mapping[str, Any], signer: Signer) -> bytes:
    """Sign a release's in-toto statement.

    Args:
        digests: hex SHA-256 of the release's files, by name.
        predicate: what is said about them, JSON.
        signer: who says it.

    Returns:
        A DSSE envelope, canonical JSON.
    """
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
    """Return the digests and the predicate of a statement that `public_key` signed.

    Raises:
        SignatureError: when it is no such statement, to the byte: what the signature does not cover is not free.
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
    """Return the payload in DSSE's pre-authentication encoding, version 1."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
