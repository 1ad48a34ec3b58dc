"""An independent witness: someone who remembers the last head of a ledger they saw, and signs only its successors.

Guarantee. Two checkpoints that one honest witness cosigned are of one history: the ledger's signer can no longer
rewrite or cut what lies before the later one without showing a fork to whoever asks the witness. What comes after the
last checkpoint is the signer's word alone, and so is all of it if the witness works with the signer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from privacy.base.canonical import Frozen
from privacy.base.signing import SignatureError, Signer, verify
from privacy.ledger.entries import Digest
from privacy.ledger.ledger import LedgerInvalid, SignedHead
from privacy.ledger.merkle import leaf_hash, root_of, roots_by_consistency

_DOMAIN = "havenfl/witness/1"


class WitnessError(ValueError):
    """A head that cannot be cosigned, or a cosignature that does not hold; the message says which."""


class Checkpoint(Frozen):
    """A ledger's head as a witness saw it."""

    schema_id: Literal["havenfl/checkpoint/1"] = "havenfl/checkpoint/1"
    ledger_key: Digest
    """Ed25519 public key of the ledger's signer, in hex."""
    head: SignedHead
    time: int = Field(ge=0)
    """When the head was cosigned, by the witness's clock: Unix time in seconds."""
    witness: Digest
    """Ed25519 public key of the witness, in hex."""
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")

    def check(self, witness: bytes, ledger_key: bytes) -> None:
        """Check who cosigned, and whose ledger it is.

        Args:
            witness: the witness's public key, 32 bytes.
            ledger_key: that of the ledger's signer.

        Raises:
            WitnessError: when this is not by that witness, or not of the ledger of that key.
        """
        if (self.witness, self.ledger_key) != (witness.hex(), ledger_key.hex()):
            raise WitnessError(
                f"checkpoint: expected witness {witness.hex()[:16]} and ledger key {ledger_key.hex()[:16]}, "
                f"got {self.witness[:16]} and {self.ledger_key[:16]}"
            )
        try:
            verify(witness, _DOMAIN, _message(self.ledger_key, self.head, self.time), bytes.fromhex(self.signature))
            self.head.check_signature(ledger_key)
        except (SignatureError, LedgerInvalid) as error:
            raise WitnessError(f"checkpoint: {error}") from error

    def check_extended(self, entries: Sequence[bytes]) -> None:
        """Check that a ledger's entries begin with all that this checkpoint covers.

        Raises:
            WitnessError: when they do not.
        """
        size = self.head.size
        if len(entries) < size:
            raise WitnessError(f"checkpoint: witnessed {size} entries, but the ledger has only {len(entries)}")
        root = root_of([leaf_hash(entry) for entry in entries[:size]]).hex()
        if root != self.head.root:
            raise WitnessError(
                f"checkpoint: witnessed root {self.head.root[:16]} over {size} entries, but the ledger has "
                f"{root[:16]}: its past was rewritten"
            )


def cosign(
    last: Checkpoint | None, head: SignedHead, proof: Sequence[bytes], ledger_key: bytes, *, witness: Signer, time: int
) -> Checkpoint:
    """Cosign a head that continues what this witness cosigned last; the caller must not lose the result.

    Args:
        last: what this witness cosigned last of this ledger; None only the first time.
        head: what is to be cosigned.
        proof: `privacy.ledger.merkle.consistency_proof` from `last` to `head`; empty the first time.
        ledger_key: public key of the ledger's signer, 32 bytes.
        witness: who cosigns.
        time: the witness's clock, Unix time in seconds.

    Raises:
        WitnessError: when the head is not the ledger's, is older, or is of another history.
    """
    try:
        head.check_signature(ledger_key)
    except LedgerInvalid as error:
        raise WitnessError(str(error)) from error
    if last is not None:
        last.check(witness.public, ledger_key)
        _check_continues(last.head, head, proof)
    message = _message(ledger_key.hex(), head, time)
    return Checkpoint(
        ledger_key=ledger_key.hex(),
        head=head,
        time=time,
        witness=witness.public.hex(),
        signature=witness.sign(_DOMAIN, message).hex(),
    )


def _check_continues(last: SignedHead, head: SignedHead, proof: Sequence[bytes]) -> None:
    if head.size < last.size:
        raise WitnessError(f"head: expected at least the {last.size} entries seen before, got {head.size}")
    try:
        roots = roots_by_consistency(bytes.fromhex(last.root), last.size, head.size, proof)
    except ValueError as error:
        raise WitnessError(f"head: {error}") from error
    if roots != (bytes.fromhex(last.root), bytes.fromhex(head.root)):
        raise WitnessError(
            f"head: expected a continuation of root {last.root[:16]} over {last.size} entries, got {head.root[:16]} "
            f"over {head.size}: the ledger was forked; keep both heads as evidence"
        )


def _message(ledger_key: str, head: SignedHead, time: int) -> bytes:
    return bytes.fromhex(ledger_key) + head.size.to_bytes(8, "big") + bytes.fromhex(head.root) + time.to_bytes(8, "big")
