"""Checks of a round log, offline: against the task, the authority's key and the ledger's charges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from privacy.base.signing import SignatureError, verify
from privacy.ledger.entries import Charge
from privacy.mechanism.mechanism import Mechanism, MechanismError
from privacy.secagg.membership.identity import Certificate
from privacy.secagg.membership.params import ParameterError, parameters
from privacy.secagg.messages import (
    COMPLAINT_DOMAIN,
    CONSISTENCY_DOMAIN,
    Members,
    SignedSurvivors,
    Stage,
    complaint_statement,
)
from privacy.secagg.server.blame import Fault, judge
from privacy.secagg.server.record import (
    FIRST,
    ComplaintRecord,
    CulpritRecord,
    RecordError,
    RoundRecord,
    ShardRecord,
    line_digest,
    open_record,
)
from privacy.secagg.server.shard import total_transcript
from privacy.task.states import joint_transcript
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check
from privacy.verification.spent import out_of_place

_T = TypeVar("_T")

_CLOSE = 1e-9
"""The relative error that floating point may make in a noise multiplier."""


@dataclass(frozen=True)
class Evidence:
    """What a log is held against.

    Attributes:
        task: the task whose rounds are checked.
        operator_public: the operator's Ed25519 public key.
        authority_public: the enrolment authority's Ed25519 public key.
        charges: the ledger's charges by leaf hash, verified before.
        released: digests of released models by the leaf hash of their charge.
        spent: epsilon after each of the task's rounds that was recomputed, by the round's number.
    """

    task: TaskSpec
    operator_public: bytes
    authority_public: bytes
    charges: Mapping[str, Charge]
    released: Mapping[str, str]
    spent: Mapping[int, float] = field(default_factory=dict)


_WORDS = tuple(f"rounds.jsonl#*.record.{name}" for name in ("invited", "lost", "culprits", "ended"))
_SIGNED = "round log: signed by the operator"


def open_records(lines: Sequence[bytes], operator: bytes) -> list[RoundRecord]:
    """Verify and parse every line of a log.

    Args:
        lines: the log's lines, without their line breaks.
        operator: the operator's Ed25519 public key.

    Raises:
        RecordError: when the operator did not sign a line, which is named.
    """
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(open_record(line, operator))
        except RecordError as error:
            raise RecordError(f"line {number}: {error}") from error
    return records


def check_log(lines: Sequence[bytes], evidence: Evidence) -> list[Check]:
    """Return a check for each claim about a log; each names the first round that fails it.

    Args:
        lines: the log's lines, without their line breaks.
        evidence: what the log is held against.
    """
    try:
        records = open_records(lines, evidence.operator_public)
    except RecordError as error:
        return [Check(_SIGNED, False, str(error))]
    own = [record for record in records if record.task == evidence.task.id]
    shards = [(record, shard) for record in own for shard in record.shards]
    return [
        Check(_SIGNED, True, f"{len(records)} rounds"),
        _chain(lines, records),
        _of_this_task(records, evidence.task),
        _each("round log: every charged sum is the one that was agreed on", own, _transcript),
        _each("round log: every charged sum is in the ledger", own, lambda record: _charged(record, evidence.charges)),
        _unrecorded(own, evidence),
        _each("round log: rounds ended as the ledger says", own, lambda record: _settled(record, evidence.released)),
        _each(
            "secure aggregation: thresholds follow from the policy", shards, lambda shard: _thresholds(*shard, evidence)
        ),
        _each("secure aggregation: enough survivors", shards, lambda shard: _survivors(*shard)),
        _each("secure aggregation: survivor sets signed by a quorum", shards, lambda shard: _quorum(*shard, evidence)),
        _each("secure aggregation: complaints are their devices'", own, lambda record: _complaints(record, evidence)),
        _each(
            "secure aggregation: devices at fault, and no others, are named", own, lambda it: _culprits(it, evidence)
        ),
        _noise_of_all(shards, evidence),
        _each("models: each round trained the one released before it", _successions(own, evidence), str),
        *_epsilons(own, evidence),
        Check("round log: who was invited, refused and lost, and why", None, "the operator's word", _WORDS, word=True),
    ]


def _each(name: str, items: Sequence[_T], problem: Callable[[_T], str]) -> Check:
    """Return a check that passes when `problem` is empty for every item, and otherwise tells the first problem."""
    first = next((text for item in items if (text := problem(item))), "")
    return Check(name, not first, first or f"{len(items)} checked")


def _chain(lines: Sequence[bytes], records: Sequence[RoundRecord]) -> Check:
    expected = [FIRST, *map(line_digest, lines)]
    broken = [record.round for record, line in zip(records, expected, strict=False) if record.previous != line]
    disordered = [after.round for before, after in pairwise(records) if after.round <= before.round]
    problem = ""
    if broken:
        problem = f"round {broken[0]}: does not follow the line before it; a line is missing, added or changed"
    elif disordered:
        problem = f"round {disordered[0]}: expected rounds in ascending order"
    return Check("round log: complete and in order", not problem, problem or "each line names the one before it")


def _of_this_task(records: Sequence[RoundRecord], task: TaskSpec) -> Check:
    name = "round log: of this task"
    if not records:
        return Check(name, False, "expected a record of the task, got none")
    return _each(name, records, lambda record: _of_task(record, task))


def _of_task(record: RoundRecord, task: TaskSpec) -> str:
    return "" if record.task == task.id else f"round {record.round}: expected task {task.id[:16]}, got {record.task}"


def _transcript(record: RoundRecord) -> str:
    if record.transcript is None:
        return f"round {record.round}: has sums but no charge" if record.shards else ""
    joint = joint_transcript([_shard_transcript(shard) for shard in record.shards])
    return "" if joint == record.transcript else f"round {record.round}: expected {record.transcript}, got {joint}"


def _shard_transcript(shard: ShardRecord) -> str:
    return total_transcript(_consistency_statement(shard), bytes.fromhex(shard.sum_digest))


def _consistency_statement(shard: ShardRecord) -> bytes:
    signed_survivors = SignedSurvivors(Members(shard.survivors), bytes.fromhex(shard.table_digest))
    return signed_survivors.signed_part(bytes.fromhex(shard.roster), shard.cohort)


def _charged(record: RoundRecord, charges: Mapping[str, Charge]) -> str:
    if record.transcript is None:
        return ""
    charge = charges.get(record.entry or "")
    if charge is None:
        return f"round {record.round}: the ledger has no entry {record.entry}"
    same = (record.task, record.round, record.transcript) == (charge.task, charge.round, charge.transcript)
    if not same:
        return f"round {record.round}: its ledger entry charges something else"
    if charge.reachable not in (None, record.reachable):
        return f"round {record.round}: drawn from {record.reachable} devices, and charged as if from {charge.reachable}"
    return ""


def _unrecorded(records: Sequence[RoundRecord], evidence: Evidence) -> Check:
    """Check for charges without a record: a round that a crash cut off may leave one, a release never."""
    name = "round log: every charge has its record"
    known = {record.entry for record in records}
    missing = [
        (charge.round, entry)
        for entry, charge in evidence.charges.items()
        if charge.task == evidence.task.id and entry not in known
    ]
    hidden = [number for number, entry in missing if entry in evidence.released]
    if hidden:
        return Check(name, False, f"round {hidden[0]}: released a model without a record")
    if missing:
        return Check(name, None, f"round {missing[0][0]}: charged, released nothing, and no record names the charge")
    return Check(name, True, f"{len(known - {None})} charges")


def _settled(record: RoundRecord, released: Mapping[str, str]) -> str:
    """Find a round that the log calls aborted and the ledger released; a crash may leave the other way round."""
    if record.aborted and record.entry in released:
        return f"round {record.round}: the log says that it released nothing, the ledger that it did"
    if not record.aborted and record.entry is None:
        return f"round {record.round}: expected a charge or why nothing was released, got neither"
    return ""


def _thresholds(record: RoundRecord, shard: ShardRecord, evidence: Evidence) -> str:
    try:
        expected = parameters(shard.cohort, evidence.task.aggregation)
    except ParameterError as error:
        return f"round {record.round}: {error}"
    wrong = [name for name in expected.__dataclass_fields__ if getattr(expected, name) != getattr(shard, name)]
    if not wrong:
        return ""
    name = wrong[0]
    return f"round {record.round}: expected {name} {getattr(expected, name)}, got {getattr(shard, name)}"


def _survivors(record: RoundRecord, shard: ShardRecord) -> str:
    places = shard.survivors
    if any(place >= following for place, following in pairwise(places)) or (places and places[-1] >= shard.cohort):
        return f"round {record.round}: expected distinct members of the cohort in ascending order"
    if len(places) < shard.survivors_required:
        return f"round {record.round}: expected at least {shard.survivors_required} survivors, got {len(places)}"
    return ""


def _quorum(record: RoundRecord, shard: ShardRecord, evidence: Evidence) -> str:
    certificates = {
        check.place: Certificate.decode(bytes.fromhex(check.certificate)) for check in shard.consistency_checks
    }
    identities = {certificate.identity for certificate in certificates.values()}
    if len(identities) < shard.quorum or len(identities) < len(shard.consistency_checks):
        return f"round {record.round}: expected consistency checks of {shard.quorum} devices, got {len(identities)}"
    if not set(certificates) <= set(shard.survivors):
        return f"round {record.round}: a consistency check of a device that is not in the sum"
    signed = _consistency_statement(shard)
    try:
        for check in shard.consistency_checks:
            certificate = _enrolled(check.certificate, evidence)
            verify(certificate.identity, CONSISTENCY_DOMAIN, signed, bytes.fromhex(check.signature))
    except SignatureError as error:
        return f"round {record.round}: {error}"
    return ""


def _complaints(record: RoundRecord, evidence: Evidence) -> str:
    """Return the first complaint that its device did not make in this round, or an empty text."""
    rosters = {shard.shard: (shard.roster, shard.cohort) for shard in record.shards}
    for complaint in record.complaints:
        known = rosters.setdefault(complaint.shard, (complaint.roster, complaint.cohort))
        if known != (complaint.roster, complaint.cohort):
            return f"round {record.round}: a complaint in shard {complaint.shard} is of another cohort"
        try:
            _check_complaint(complaint, evidence)
        except SignatureError as error:
            return f"round {record.round}: {error}"
    complainers = [(complaint.shard, complaint.certificate) for complaint in record.complaints]
    return "" if len(set(complainers)) == len(complainers) else f"round {record.round}: two complaints of one device"


def _check_complaint(complaint: ComplaintRecord, evidence: Evidence) -> None:
    certificate = _enrolled(complaint.certificate, evidence)
    statement = complaint_statement(bytes.fromhex(complaint.roster), complaint.cohort, complaint.dealers)
    verify(certificate.identity, COMPLAINT_DOMAIN, statement, bytes.fromhex(complaint.signature))


def _enrolled(certificate: str, evidence: Evidence) -> Certificate:
    """Return a certificate that is the authority's; whether it was valid then depends on a clock of that time."""
    decoded = Certificate.decode(bytes.fromhex(certificate))
    decoded.check(evidence.task.population, evidence.authority_public, now=0)
    return decoded


def _culprits(record: RoundRecord, evidence: Evidence) -> str:
    """Return what is wrong with the devices named at fault in a round, or an empty text."""
    identities = [culprit.identity for culprit in record.culprits]
    if len(set(identities)) < len(identities):
        return f"round {record.round}: a device named twice"
    for culprit in record.culprits:
        try:
            certified = _enrolled(culprit.certificate, evidence).identity.hex()
        except SignatureError as error:
            return f"round {record.round}: {error}"
        if certified != culprit.identity:
            return f"round {record.round}: names {culprit.identity}, with the certificate of {certified}"
        if culprit.fault in (Fault.POLYNOMIAL, Fault.WITHHELD) and culprit.stage is not Stage.UNMASK:
            return f"round {record.round}: {culprit.fault} shows when unmasking, got {culprit.stage}"
        if _in_a_sum(culprit, record):
            return f"round {record.round}: {culprit.identity} is named and in the sum"
    return _unlike_complaints(record, evidence)


def _in_a_sum(culprit: CulpritRecord, record: RoundRecord) -> bool:
    """Tell whether a device is in a charged sum although it was at fault before there was one."""
    if culprit.stage not in (Stage.SHARE, Stage.INPUT):
        return False
    return any(
        culprit.place in shard.survivors
        or culprit.certificate in {check.certificate for check in shard.consistency_checks}
        for shard in record.shards
        if shard.shard == culprit.shard
    )


def _unlike_complaints(record: RoundRecord, evidence: Evidence) -> str:
    """Return an empty text when exactly those are named for complaints whom the complaints show to be at fault."""
    shown: set[tuple[int, int]] = set()
    for shard in {complaint.shard for complaint in record.complaints}:
        of_shard = [complaint for complaint in record.complaints if complaint.shard == shard]
        try:
            corrupt = parameters(of_shard[0].cohort, evidence.task.aggregation).corrupt
        except ParameterError as error:
            return f"round {record.round}: {error}"
        verdict = judge({complaint.place: complaint.dealers for complaint in of_shard}, corrupt)
        shown |= {(shard, place) for place in verdict.dealers | verdict.accusers}
    for_complaints = (Fault.DEALT, Fault.COMPLAINED)
    named = {(culprit.shard, culprit.place) for culprit in record.culprits if culprit.fault in for_complaints}
    # Whoever did something else wrong before is named for that.
    others = {(culprit.shard, culprit.place) for culprit in record.culprits if culprit.fault not in for_complaints}
    if named <= shown <= named | others:
        return ""
    place = min(named ^ (shown - others))
    return f"round {record.round}: place {place[1]} of shard {place[0]} is named or passed over against the complaints"


def _noise_of_all(shards: Sequence[tuple[RoundRecord, ShardRecord]], evidence: Evidence) -> Check:
    name = "noise: at least what was charged"
    if evidence.task.mechanism.correlation is not None:
        return Check(name, None, "the server adds it, and nobody else can see whether it did", word=True)
    return _each(name, shards, lambda shard: _noise(*shard, evidence))


def _noise(record: RoundRecord, shard: ShardRecord, evidence: Evidence) -> str:
    try:
        expected = Mechanism.for_cohort(evidence.task, shard.cohort).noise_multiplier
    except MechanismError as error:
        return f"round {record.round}: {error}"
    least = evidence.task.mechanism.noise_multiplier
    if abs(expected - shard.noise_multiplier) > _CLOSE * expected or expected < least * (1 - _CLOSE):
        return f"round {record.round}: expected {expected}, at least {least}, got {shard.noise_multiplier}"
    return ""


def _successions(records: Sequence[RoundRecord], evidence: Evidence) -> list[str]:
    """Return a problem, or an empty text, for each round."""
    problems, current = [], ""
    for record in records:
        if current and record.model != current:
            problems.append(f"round {record.round}: trained {record.model[:16]}, expected {current[:16]}")
        else:
            problems.append("")
        current = evidence.released.get(record.entry or "", record.model)
    return problems


def _epsilons(records: Sequence[RoundRecord], evidence: Evidence) -> list[Check]:
    name = "round log: its epsilon is what the ledger costs"
    stated = {one.round: math.inf if one.epsilon is None else one.epsilon for one in records}
    if wrong := out_of_place(evidence.spent, stated):
        expected = evidence.spent.get(wrong, "less or more")
        return [Check(name, False, f"round {wrong}: expected {expected}, got {stated[wrong]}")]
    places = tuple(f"rounds.jsonl#{at}.record.epsilon" for at, one in enumerate(stated) if one not in evidence.spent)
    between = f"{len(places)} are only known to lie between their neighbours'"
    rest = [Check("round log: epsilon of each round", None, between, places)] if places else []
    return [Check(name, True, f"after {len(stated) - len(places)} rounds"), *rest]
