from __future__ import annotations

import pytest

from privacy.base.signing import Signer
from privacy.ledger.ledger import SignedHead
from privacy.ledger.merkle import consistency_proof, leaf_hash, root_of
from privacy.ledger.witness import Checkpoint, WitnessError, cosign

LEDGER, WITNESS, STRANGER = (Signer.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
ENTRIES = [b"entry %d" % number for number in range(12)]


def head_of(entries: list[bytes], signer: Signer = LEDGER) -> SignedHead:
    return SignedHead.of(len(entries), root_of([leaf_hash(entry) for entry in entries]), signer)


def next_checkpoint(last: Checkpoint | None, entries: list[bytes], signer: Signer = LEDGER) -> Checkpoint:
    leaves = [leaf_hash(entry) for entry in entries]
    proof = consistency_proof(leaves, last.head.size) if last and last.head.size <= len(entries) else []
    return cosign(last, head_of(entries, signer), proof, LEDGER.public, witness=WITNESS, time=1_000)


def test_a_ledger_that_only_grows_is_cosigned_at_every_size() -> None:
    last: Checkpoint | None = None
    for size in range(1, len(ENTRIES) + 1):
        last = next_checkpoint(last, ENTRIES[:size])
        last.check(WITNESS.public, LEDGER.public)
        last.check_extended(ENTRIES)
    assert last is not None
    assert next_checkpoint(last, ENTRIES).head == last.head


def test_a_rewritten_past_is_not_cosigned_and_is_called_a_fork() -> None:
    last = next_checkpoint(None, ENTRIES[:5])
    forked = [*ENTRIES[:3], b"another", *ENTRIES[4:]]
    with pytest.raises(WitnessError, match="forked"):
        next_checkpoint(last, forked)
    with pytest.raises(WitnessError, match="rewritten"):
        last.check_extended(forked)


def test_a_cut_tail_is_not_cosigned() -> None:
    last = next_checkpoint(None, ENTRIES)
    with pytest.raises(WitnessError, match="at least the 12 entries seen before, got 9"):
        next_checkpoint(last, ENTRIES[:9])
    with pytest.raises(WitnessError, match="witnessed 12 entries, but the ledger has only 9"):
        last.check_extended(ENTRIES[:9])


def test_a_head_by_another_key_is_not_cosigned() -> None:
    with pytest.raises(WitnessError, match="no valid signature"):
        next_checkpoint(None, ENTRIES, STRANGER)


def test_a_proof_that_is_too_short_is_refused() -> None:
    last = next_checkpoint(None, ENTRIES[:5])
    with pytest.raises(WitnessError, match="head: proof"):
        cosign(last, head_of(ENTRIES), [], LEDGER.public, witness=WITNESS, time=1_000)


@pytest.mark.parametrize(
    "changes",
    [{"time": 1_001}, {"signature": "00" * 64}, {"head": head_of(ENTRIES[:4])}, {"head": head_of(ENTRIES, STRANGER)}],
)
def test_a_changed_checkpoint_does_not_hold(changes: dict[str, object]) -> None:
    checkpoint = next_checkpoint(None, ENTRIES[:5])
    with pytest.raises(WitnessError, match="no valid signature"):
        checkpoint.model_copy(update=changes).check(WITNESS.public, LEDGER.public)


def test_another_witness_or_ledger_is_named() -> None:
    checkpoint = next_checkpoint(None, ENTRIES)
    for witness, ledger in ((STRANGER, LEDGER), (WITNESS, STRANGER)):
        with pytest.raises(WitnessError, match="checkpoint: expected witness"):
            checkpoint.check(witness.public, ledger.public)


def test_a_witness_does_not_go_on_from_another_witness() -> None:
    other = cosign(None, head_of(ENTRIES[:5]), [], LEDGER.public, witness=STRANGER, time=1_000)
    with pytest.raises(WitnessError, match="expected witness"):
        next_checkpoint(other, ENTRIES)
