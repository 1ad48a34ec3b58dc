"""What a round leaves for a reviewer: enough to check that the sum which was charged is the one that was agreed on.

A record holds digests, counts, public keys and signatures; never keys, seeds, secret shares or vectors. It names the
devices of a round by their pseudonymous identities, so under a claim that rests on secret cohorts it is for reviewers
alone.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from privacy.base.canonical import Frozen, canonical_json, sha256
from privacy.base.errors import what_is_wrong
from privacy.base.signing import SIGNATURE_BYTES, SignatureError, Signer, verify
from privacy.secagg.membership.identity import CERTIFICATE_BYTES
from privacy.secagg.messages import Stage
from privacy.secagg.server.blame import Fault
from privacy.secagg.server.server import Server
from privacy.secagg.server.shard import Shard

_DOMAIN = "havenfl/secagg/record/2"
FIRST = "0" * 64
"""What the first line has in the place of its predecessor's digest."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Signature = Annotated[str, Field(pattern=f"^[0-9a-f]{{{2 * SIGNATURE_BYTES}}}$")]
_Certificate = Annotated[str, Field(pattern=f"^[0-9a-f]{{{2 * CERTIFICATE_BYTES}}}$")]
_Places = tuple[Annotated[int, Field(ge=0)], ...]


class RecordError(ValueError):
    """A line that is not a record signed by the operator."""


class ConsistencyCheck(Frozen):
    """One device's signature over the survivor set, with the certificate of its key.

    Attributes:
        place: the device's place in the roster.
        certificate: the authority's word on the device's identity, in hex.
        signature: the device's, over what its shard's survivors signed, in hex.
    """

    place: int = Field(ge=0)
    certificate: _Certificate
    signature: _Signature


class ComplaintRecord(Frozen):
    """One device's signed word on dealers whose secret shares it could not use; see `Complaint`.

    Attributes:
        shard: the number of its shard.
        roster: the digest of header and keys of that shard, on which the signature depends.
        cohort: devices in the shard.
        place: the device's place in the roster.
        certificate: the authority's word on the device's identity, in hex.
        dealers: places of those it complains of, ascending.
        signature: the device's, in hex.
    """

    shard: int = Field(ge=0)
    roster: Digest
    cohort: int = Field(ge=1)
    place: int = Field(ge=0)
    certificate: _Certificate
    dealers: _Places = Field(min_length=1)
    signature: _Signature


class CulpritRecord(Frozen):
    """One device at fault; `identity` is what the authority revokes.

    Attributes:
        shard: the number of its shard.
        place: the device's place in the roster.
        identity: its Ed25519 public key, in hex.
        certificate: the authority's word on that identity, in hex.
        stage: when it showed.
        fault: what the device did.
        reason: the same in words.
    """

    shard: int = Field(ge=0)
    place: int = Field(ge=0)
    identity: Digest
    certificate: _Certificate
    stage: Stage
    fault: Fault
    reason: str


class ShardRecord(Frozen):
    """One shard whose sum was charged, with the parameters that its cohort computed (see `Parameters`)."""

    shard: int = Field(ge=0)
    """The shard's number in its round."""
    roster: Digest
    """The digest of header and keys, on which all masks depend."""
    cohort: int = Field(ge=1)
    corrupt: int = Field(ge=0)
    draw_bits: int = Field(ge=0)
    dropouts: int = Field(ge=0)
    degree: int = Field(ge=1)
    threshold: int = Field(ge=1)
    quorum: int = Field(ge=1)
    survivors_required: int = Field(ge=1)
    survivors: _Places
    """The places of the members in the sum, ascending."""
    table_digest: Digest
    """The digest of the survivors' neighbour table; of nothing, in a complete graph."""
    sum_digest: Digest
    """The digest of the masked sum."""
    consistency_checks: tuple[ConsistencyCheck, ...]
    """A quorum's signatures, those of the lowest places."""
    noise_multiplier: float = Field(ge=0)
    """The noise of the devices assumed honest and present, over the sensitivity."""


class RoundRecord(Frozen):
    """One round, whether it released anything or not."""

    version: Literal[2] = 2
    previous: Digest
    """The digest of the line before, as `line_digest` gives it; `FIRST` in the first line."""
    task: Digest
    """The hash of the task."""
    round: int = Field(ge=1)
    model: Digest
    """The digest of the model that devices were sent."""
    reachable: int = Field(ge=0)
    """How many devices the cohort was drawn from."""
    invited: int = Field(ge=0)
    """How many devices were invited."""
    lost: dict[str, int]
    """How often each reason for a missing reply was given, by stage and reason."""
    culprits: tuple[CulpritRecord, ...]
    """The devices at fault, which later rounds leave out for a time."""
    complaints: tuple[ComplaintRecord, ...]
    """All complaints of dealers; too few of one dealer show nothing but that it or its holders lie."""
    ended: dict[str, str]
    """Why shards ended early, by their number."""
    shards: tuple[ShardRecord, ...]
    """The shards whose sums were charged."""
    transcript: Digest | None
    """The digest that the ledger was charged for; None when the round ended before that."""
    entry: Digest | None
    """The leaf hash of the charge in the ledger; None without a charge."""
    aborted: str
    """Why the round released nothing; empty when it released a sum."""
    epsilon: float | None
    """The epsilon spent by then, at the task's delta; None when nothing bounds it."""


def charged_shards(server: Server) -> tuple[ShardRecord, ...]:
    """Return records of the shards that are about to be unmasked."""
    return tuple(_shard_record(number, shard) for number, shard in server.shards.items())


def culprits(server: Server) -> tuple[CulpritRecord, ...]:
    """Return records of all devices at fault."""
    return tuple(
        CulpritRecord(
            shard=culprit.shard,
            place=culprit.place,
            identity=culprit.certificate.identity.hex(),
            certificate=culprit.certificate.encode().hex(),
            stage=culprit.stage,
            fault=culprit.fault,
            reason=culprit.reason,
        )
        for culprit in server.blame.culprits
    )


def complaints(server: Server) -> tuple[ComplaintRecord, ...]:
    """Return records of all complaints, also in shards that ended early."""
    return tuple(
        ComplaintRecord(
            shard=number,
            roster=shard.cohort.transcript.hex(),
            cohort=shard.cohort.params.cohort,
            place=place,
            certificate=shard.cohort.adverts[place].certificate.encode().hex(),
            dealers=complaint.dealers,
            signature=complaint.signature.hex(),
        )
        for number, shard in sorted(server.formed.items())
        for place, complaint in sorted(shard.complaints.items())
    )


def sign_record(record: RoundRecord, operator: Signer) -> bytes:
    """Return a record as one line of the log, signed, without its line break."""
    signature = operator.sign(_DOMAIN, record.canonical()).hex()
    return canonical_json({"record": record.model_dump(mode="json"), "signature": signature})


def open_record(line: bytes, operator_public: bytes) -> RoundRecord:
    """Verify and parse one line of the log.

    Args:
        line: the line, without its line break.
        operator_public: the operator's Ed25519 public key.

    Raises:
        RecordError: when it is not canonical, or the operator did not sign it.
    """
    try:
        parsed = _Line.model_validate_json(line)
        if canonical_json(json.loads(line)) != line:
            raise RecordError("expected RFC 8785 canonical JSON, got another encoding")
        verify(operator_public, _DOMAIN, parsed.record.canonical(), bytes.fromhex(parsed.signature))
    except ValidationError as error:
        raise RecordError(what_is_wrong(error)) from error
    except SignatureError as error:
        raise RecordError(str(error)) from error
    return parsed.record


def line_digest(line: bytes) -> str:
    """Return the hex digest by which the next line names this one."""
    return sha256(b"havenfl/secagg/line/1", line).hex()


class _Line(Frozen):
    record: RoundRecord
    signature: _Signature


def _shard_record(number: int, shard: Shard) -> ShardRecord:
    cohort, params = shard.cohort, shard.cohort.params
    return ShardRecord(
        shard=number,
        roster=cohort.transcript.hex(),
        cohort=params.cohort,
        corrupt=params.corrupt,
        draw_bits=params.draw_bits,
        dropouts=params.dropouts,
        degree=params.degree,
        threshold=params.threshold,
        quorum=params.quorum,
        survivors_required=params.survivors_required,
        survivors=shard.survivors.places,
        table_digest=shard.signed_survivors.table_digest.hex(),
        sum_digest=shard.sum_digest.hex(),
        consistency_checks=_quorum_of(shard),
        noise_multiplier=cohort.mechanism.noise_multiplier,
    )


def _quorum_of(shard: Shard) -> tuple[ConsistencyCheck, ...]:
    adverts, signatures = shard.cohort.adverts, shard.consistency_checks
    return tuple(
        ConsistencyCheck(
            place=place, certificate=adverts[place].certificate.encode().hex(), signature=signatures[place].hex()
        )
        for place in sorted(signatures)[: shard.cohort.params.quorum]
    )
