"""Checks of the ledger: signatures, chain, budget, and that its file holds nothing else."""

from __future__ import annotations

from pydantic import ValidationError

from privacy.accounting.accountant import AccountantsDisagree, Spend, confirmed_spend
from privacy.base.errors import what_is_wrong
from privacy.ledger.entries import LedgerState
from privacy.ledger.ledger import LedgerInvalid, SignedHead, replay
from privacy.ledger.merkle import Frontier, leaf_hash
from privacy.ledger.witness import WitnessError
from privacy.verification.checks import Check
from privacy.verification.evidence import Files

_HEADS = "ledger: each entry's signed head"
_FILE = "ledger: nothing else in its file"
_LEDGER = "ledger: signed, chained and whole"
_ACCOUNTANTS = "epsilon: both accountants agree"
_WITNESS = "ledger: continues what a witness saw"


def check_ledger(files: Files) -> tuple[Check, LedgerState | None]:
    """Replay the ledger under the operator's key; also return its state, or None when it does not verify."""
    head = files.head
    if head is None:
        return Check(_LEDGER, False, "expected a signed head with the last entry, got none"), None
    try:
        ledger_state = replay(files.entries, head, files.operator)
    except (LedgerInvalid, AccountantsDisagree) as error:
        return Check(_LEDGER, False, str(error)), None
    population = f"of population {ledger_state.opened.population}, " if ledger_state.opened else ""
    return Check(_LEDGER, True, f"{population}{ledger_state.size} entries, root {head.root[:16]}"), ledger_state


def check_rest_of_ledger(files: Files) -> list[Check]:
    """Check the head stored with each entry, and that the ledger's file holds nothing else."""
    checks, frontier = [], Frontier()
    for seq, (entry, stored) in enumerate(zip(files.entries, files.heads, strict=True)):
        frontier.append(leaf_hash(entry))
        if problem := _misplaced(stored, frontier, files.operator):
            checks.append(Check(_HEADS, False, f"entry {seq}: {problem}"))
            break
    else:
        checks.append(Check(_HEADS, True, f"{len(files.heads)} heads"))
    if files.pending:
        checks.append(Check(_FILE, None, "a write-ahead log lies beside it; `fl-server export-ledger` makes one file"))
    elif files.strays:
        checks.append(Check(_FILE, False, f"expected a ledger's tables alone, got {'; '.join(files.strays)}"))
    else:
        checks.append(
            Check(_FILE, True, "its tables, rows and triggers; bytes in unused parts of a page are not looked at")
        )
    return checks


def check_witnessed(files: Files) -> Check:
    """Check that the ledger continues what a witness cosigned."""
    checkpoint = files.checkpoint
    if checkpoint is None or files.witness is None:
        return Check(_WITNESS, None, "no --checkpoint was given: a signer could show an old or another history")
    try:
        checkpoint.check(files.witness, files.operator)
        checkpoint.check_extended(files.entries)
    except WitnessError as error:
        return Check(_WITNESS, False, str(error))
    later = len(files.entries) - checkpoint.head.size
    detail = f"the first {checkpoint.head.size} entries"
    return Check(_WITNESS, True, f"{detail}; {later} later ones are the signer's word alone" if later else detail)


def recomputed_spend(ledger_state: LedgerState) -> tuple[Check, Spend | None]:
    """Recompute what the ledger costs at the delta of its own budget, which no report can choose."""
    if ledger_state.opened is None:
        return Check(_ACCOUNTANTS, None, "the ledger is empty"), None
    try:
        spent = confirmed_spend(ledger_state.counts, ledger_state.opened.budget.delta)
    except AccountantsDisagree as error:
        return Check(_ACCOUNTANTS, False, str(error)), None
    first = f"{spent.epsilon} at {spent.delta:g} by {spent.accountant}"
    return Check(_ACCOUNTANTS, True, f"{first}; at most {spent.second_epsilon:.4f} by {spent.second_accountant}"), spent


def _misplaced(stored: bytes, frontier: Frontier, operator: bytes) -> str:
    """Return what is wrong with the head stored with an entry; nothing when it is that of the entries so far."""
    try:
        head = SignedHead.model_validate_json(stored)
        head.check_signature(operator)
    except ValidationError as error:
        return what_is_wrong(error)
    except LedgerInvalid as error:
        return str(error)
    right = (head.size, head.root) == (frontier.size, frontier.root().hex()) and head.canonical() == stored
    return "" if right else "expected the head of the entries so far, in canonical JSON, got another"
