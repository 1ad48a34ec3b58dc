"""The signed log of rounds: honest ones pass every check, and each lie is told by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from privacy.base.signing import Signer
from privacy.ledger.entries import Charge
from privacy.secagg import Stage
from privacy.secagg.membership.identity import Certificate
from privacy.secagg.server.blame import Fault
from privacy.secagg.server.record import (
    FIRST,
    ConsistencyCheck,
    RecordError,
    RoundRecord,
    charged_shards,
    complaints,
    culprits,
    line_digest,
    open_record,
    sign_record,
)
from privacy.task.states import joint_transcript
from privacy.verification.checks import Check
from privacy.verification.record_check import Evidence, check_log
from tests.support.cheats import Cheating, CheatingClient, first
from tests.support.federation import Federation
from tests.support.hostile import before, wary
from tests.support.tasks import make_task

TASK = make_task()
STRANGER = Signer.from_seed(bytes(32))


@dataclass(frozen=True)
class Log:
    """Two rounds of ten devices, one of which drops out of the second; each released a model."""

    records: tuple[RoundRecord, ...]
    evidence: Evidence
    operator: Signer

    def lines(self) -> list[bytes]:
        """Signed anew, each naming the one before."""
        lines: list[bytes] = []
        for record in self.records:
            previous = line_digest(lines[-1]) if lines else FIRST
            lines.append(sign_record(record.model_copy(update={"previous": previous}), self.operator))
        return lines

    def change(self, number: int, **fields: object) -> Log:
        changed = [record.model_copy(update=fields) if record.round == number else record for record in self.records]
        return replace(self, records=tuple(changed))

    def checks_from_a_lost_place(self) -> tuple[ConsistencyCheck, ...]:
        """Of the second round, the first of them said to be of the member that dropped out."""
        shard = self.records[1].shards[0]
        [lost] = set(range(shard.cohort)) - set(shard.survivors)
        first, *others = shard.consistency_checks
        return (first.model_copy(update={"place": lost}), *others)

    def change_shard(self, number: int, **fields: object) -> Log:
        shard = self.records[number - 1].shards[0].model_copy(update=fields)
        return self.change(number, shards=(shard,))


def record_of(number: int) -> tuple[RoundRecord, Charge, Federation]:
    federation = Federation(10, task=TASK, number=number)
    drop = {4} if number == 2 else set()
    federation.run(until=Stage.CONSISTENCY, replies=lambda at, i, m: None if at is Stage.INPUT and i in drop else m)
    return *described(federation), federation


def described(federation: Federation) -> tuple[RoundRecord, Charge]:
    """A round before its last stage."""
    server, task, number = federation.server, federation.task, federation.number
    transcript = joint_transcript(server.transcripts)
    charge = Charge.of(task, number, transcript, 100)
    record = RoundRecord(
        previous=FIRST,
        task=task.id,
        round=number,
        model=server.header.model_digest.hex(),
        reachable=100,
        invited=10,
        lost={},
        culprits=culprits(server),
        complaints=complaints(server),
        ended={},
        shards=charged_shards(server),
        transcript=transcript,
        entry=f"{number:064x}",
        aborted="",
        epsilon=1.0,
    )
    return record, charge


@pytest.fixture(scope="module")
def log() -> Log:
    rounds = [record_of(number) for number in (1, 2)]
    records, charges = (
        tuple(record for record, _, _ in rounds),
        {record.entry or "": charge for record, charge, _ in rounds},
    )
    federation = rounds[0][2]
    evidence = Evidence(
        task=TASK,
        operator_public=federation.operator.public,
        authority_public=federation.authority.public,
        charges=charges,
        released={records[0].entry or "": records[1].model},
        spent={record.round: 1.0 for record in records},
    )
    return Log(records, evidence, federation.operator)


WORD = "round log: who was invited, refused and lost, and why"
EPSILON = "round log: its epsilon is what the ledger costs"
BETWEEN = "round log: epsilon of each round"


def failures(lines: list[bytes], evidence: Evidence) -> list[Check]:
    """What did not pass, but for what nobody can verify in any log."""
    return [check for check in check_log(lines, evidence) if not check.passed and check.name != WORD]


def test_an_honest_log_passes_every_check(log: Log) -> None:
    checks = check_log(log.lines(), log.evidence)
    assert len(checks) == 16
    assert [check.name for check in checks if check.passed is None] == [WORD]
    assert failures(log.lines(), log.evidence) == []


def test_an_epsilon_that_nobody_recomputed_is_not_verified(log: Log) -> None:
    lacking = failures(log.lines(), replace(log.evidence, spent={1: 1.0}))
    assert [(check.name, check.passed, check.places) for check in lacking] == [
        (BETWEEN, None, ("rounds.jsonl#1.record.epsilon",))
    ]


def test_a_record_survives_signing(log: Log) -> None:
    assert open_record(log.lines()[0], log.operator.public) == log.records[0]


def test_one_byte_changed(log: Log) -> None:
    line = bytearray(log.lines()[0])
    for place in range(0, len(line), 97):
        spoiled = bytes(line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :])
        with pytest.raises(RecordError):
            open_record(spoiled, log.operator.public)


def test_whitespace_that_the_canonical_form_forbids(log: Log) -> None:
    spaced = json.dumps(json.loads(log.lines()[0])).encode()
    with pytest.raises(RecordError, match="canonical"):
        open_record(spaced, log.operator.public)


def test_signed_by_another(log: Log) -> None:
    forged = replace(log, operator=STRANGER).lines()
    assert [check.name for check in failures(forged, log.evidence)] == ["round log: signed by the operator"]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: lines[1:],
        lambda lines: lines[::-1],
        lambda lines: [lines[0], lines[0], lines[1]],
    ],
)
def test_lines_removed_reordered_or_repeated(log: Log, tamper: Callable[[list[bytes]], list[bytes]]) -> None:
    names = [check.name for check in failures(tamper(log.lines()), log.evidence)]
    assert "round log: complete and in order" in names


def test_the_last_line_cut_off(log: Log) -> None:
    cut = log.lines()[:1]
    passed = {check.name: check.passed for check in failures(cut, log.evidence)}
    assert passed == {"round log: every charge has its record": None}
    released = replace(log.evidence, released={record.entry or "": record.model for record in log.records})
    assert {check.name: check.passed for check in failures(cut, released)} == {
        "round log: every charge has its record": False
    }


SUMS = "round log: every charged sum is the one that was agreed on"
LEDGER = "round log: every charged sum is in the ledger"
THRESHOLDS = "secure aggregation: thresholds follow from the policy"
QUORUM = "secure aggregation: survivor sets signed by a quorum"
SURVIVORS = "secure aggregation: enough survivors"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda log: log.change_shard(1, sum_digest="ab" * 32), SUMS),
        (lambda log: log.change_shard(1, survivors=tuple(range(9))), SUMS),
        (lambda log: log.change_shard(1, survivors=tuple(range(9))), QUORUM),
        (lambda log: log.change_shard(1, table_digest="ab" * 32), QUORUM),
        (lambda log: log.change_shard(1, table_digest="ab" * 32), SUMS),
        (lambda log: log.change_shard(2, survivors=(0, 1, 2)), SURVIVORS),
        (lambda log: log.change_shard(1, survivors=(*range(9), 10)), SURVIVORS),
        (lambda log: log.change_shard(1, threshold=2), THRESHOLDS),
        (lambda log: log.change_shard(1, quorum=2), THRESHOLDS),
        (lambda log: log.change_shard(1, survivors_required=2), THRESHOLDS),
        (lambda log: log.change_shard(1, cohort=2_000), THRESHOLDS),
        (lambda log: log.change_shard(1, cohort=9), QUORUM),
        (lambda log: log.change_shard(1, cohort=9), SUMS),
        (lambda log: log.change_shard(1, consistency_checks=log.records[0].shards[0].consistency_checks[1:]), QUORUM),
        (
            lambda log: log.change_shard(1, consistency_checks=log.records[0].shards[0].consistency_checks[:1] * 6),
            QUORUM,
        ),
        (lambda log: log.change_shard(1, consistency_checks=log.records[1].shards[0].consistency_checks), QUORUM),
        (lambda log: log.change_shard(2, consistency_checks=log.checks_from_a_lost_place()), QUORUM),
        (lambda log: log.change_shard(1, noise_multiplier=2.0), "noise: at least what was charged"),
        (lambda log: log.change(2, model="cd" * 32), "models: each round trained the one released before it"),
        (lambda log: log.change(1, epsilon=0.5), EPSILON),
        (lambda log: log.change(2, epsilon=None), EPSILON),
        (lambda log: log.change(1, entry="ef" * 32), LEDGER),
        (lambda log: log.change(1, entry=log.records[1].entry), LEDGER),
        (lambda log: log.change(1, transcript=None, entry=None), SUMS),
        (lambda log: log.change(2, task="01" * 32), "round log: of this task"),
    ],
)
def test_lies_that_the_operator_signed(log: Log, change: Callable[[Log], Log], name: str) -> None:
    failed = failures(change(log).lines(), log.evidence)
    assert name in [check.name for check in failed]
    assert all(check.detail for check in failed)


def test_devices_that_nobody_enrolled(log: Log) -> None:
    evidence = replace(log.evidence, authority_public=STRANGER.public)
    assert [check.name for check in failures(log.lines(), evidence)] == [QUORUM]


CULPRITS = "secure aggregation: devices at fault, and no others, are named"
COMPLAINTS = "secure aggregation: complaints are their devices'"


@pytest.fixture(scope="module")
def troubled() -> Log:
    """A round of ten devices, of which at most one is corrupt: two complain of one dealer, which is left out."""
    federation = wary(10, 1)
    client = federation.clients[2]
    client.__class__ = CheatingClient
    client.cheating = Cheating(garbage=first(2))  # type: ignore[attr-defined]
    before(Stage.INPUT, federation)
    requests = federation.server.requests()
    for device in (*(other for other in range(10) if other != 2), 2):
        federation._receive(device, federation.step(Stage.INPUT, device, requests[device].body))
    federation.server.advance()
    federation.exchange(Stage.CONSISTENCY)
    federation.server.advance()
    record, charge = described(federation)
    evidence = Evidence(
        task=federation.task,
        operator_public=federation.operator.public,
        authority_public=federation.authority.public,
        charges={record.entry or "": charge},
        released={},
        spent={1: 1.0},
    )
    return Log((record,), evidence, federation.operator)


def test_a_culprit_that_the_complaints_show_passes(troubled: Log) -> None:
    [record] = troubled.records
    assert len(record.complaints) == 2
    assert [culprit.fault for culprit in record.culprits] == [Fault.DEALT]
    assert failures(troubled.lines(), troubled.evidence) == []


def _culprit(log: Log, **fields: object) -> Log:
    return log.change(1, culprits=(log.records[0].culprits[0].model_copy(update=fields),))


def _complaint(log: Log, **fields: object) -> Log:
    first, second = log.records[0].complaints
    return log.change(1, complaints=(first.model_copy(update=fields), second))


def _another(log: Log) -> dict[str, object]:
    """An honest device, in the culprit's place."""
    check = log.records[0].shards[0].consistency_checks[0]
    identity = Certificate.decode(bytes.fromhex(check.certificate)).identity.hex()
    return {"place": check.place, "certificate": check.certificate, "identity": identity}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda log: log.change(1, culprits=()), CULPRITS),
        (lambda log: log.change(1, culprits=log.records[0].culprits * 2), CULPRITS),
        (lambda log: log.change(1, complaints=log.records[0].complaints[:1]), CULPRITS),
        (lambda log: log.change(1, complaints=()), CULPRITS),
        (lambda log: _culprit(log, identity="ab" * 32), CULPRITS),
        (lambda log: _culprit(log, **_another(log)), CULPRITS),
        (lambda log: _culprit(log, **_another(log), fault=Fault.REPLY), CULPRITS),
        (lambda log: _culprit(log, fault=Fault.POLYNOMIAL), CULPRITS),
        (lambda log: _complaint(log, dealers=(0,)), COMPLAINTS),
        (lambda log: _complaint(log, roster="ab" * 32), COMPLAINTS),
        (lambda log: _complaint(log, cohort=11), COMPLAINTS),
        (lambda log: _complaint(log, signature="ab" * 64), COMPLAINTS),
        (lambda log: _complaint(log, certificate=log.records[0].complaints[1].certificate), COMPLAINTS),
        (lambda log: log.change(1, complaints=log.records[0].complaints * 2), COMPLAINTS),
    ],
)
def test_lies_about_culprits_that_the_operator_signed(troubled: Log, change: Callable[[Log], Log], name: str) -> None:
    failed = failures(change(troubled).lines(), troubled.evidence)
    assert name in [check.name for check in failed]
    assert all(check.detail for check in failed)


def test_culprits_that_nobody_enrolled(troubled: Log) -> None:
    evidence = replace(troubled.evidence, authority_public=STRANGER.public)
    assert {CULPRITS, COMPLAINTS} <= {check.name for check in failures(troubled.lines(), evidence)}
