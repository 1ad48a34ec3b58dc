"""Checks of a release directory against the operator's key and the ledger that paid for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from safetensors import SafetensorError

from privacy.base.signing import SignatureError
from privacy.ledger.entries import LedgerState
from privacy.ledger.merkle import leaf_hash, root_of
from privacy.release.files import MODEL_FILE, STATEMENT_FILE, model_digest, open_statement, unpack_tensors
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check

_SIGNED = "release: signed by the operator, every file whole"


def check_release(
    files: Mapping[str, bytes], operator: bytes, task: TaskSpec, entries: Sequence[bytes], ledger_state: LedgerState
) -> list[Check]:
    """Check a release's statement, its digests, the ledger's head in it, and that exactly this model was paid for.

    Args:
        files: all files of the release directory, by name.
        operator: the operator's Ed25519 public key.
        task: the task that the release is to be of.
        entries: the ledger's entries, in order.
        ledger_state: the same ledger, verified.
    """
    try:
        digests, predicate = open_statement(files[STATEMENT_FILE], operator)
    except SignatureError as error:
        return [Check(_SIGNED, False, str(error))]
    wrong = _damaged(files, digests)
    if wrong:
        return [Check(_SIGNED, False, f"{wrong}: expected what the statement's digest says, got other bytes")]
    signed = Check(_SIGNED, True, f"{len(digests)} files")
    checks = [signed, _task(predicate, task), _ledger(predicate, entries), _paid(files[MODEL_FILE], task, ledger_state)]
    return checks if task.simulation.fleet is None else [*checks, _marked(predicate)]


def _damaged(files: Mapping[str, bytes], digests: Mapping[str, str]) -> str | None:
    """Return the first file, by name, whose bytes are not what the statement says; None when all are."""
    actual = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != STATEMENT_FILE}
    return next((name for name in sorted({*digests, *actual}) if digests.get(name) != actual.get(name)), None)


def _task(predicate: dict[str, Any], task: TaskSpec) -> Check:
    stated = str(predicate.get("task"))
    detail = task.id[:16] if stated == task.id else f"expected {task.id[:16]}, got {stated[:16]}"
    return Check("release: of this task", stated == task.id, detail)


def _marked(predicate: dict[str, Any]) -> Check:
    marked = predicate.get("extrapolated") is True
    detail = "as `extrapolated`, which nobody serves" if marked else "expected `extrapolated`, got none"
    return Check("release: signed as extrapolated to a fleet", marked, detail)


def _ledger(predicate: dict[str, Any], entries: Sequence[bytes]) -> Check:
    name, head = "release: of this ledger", predicate.get("ledger")
    size, stated = (head.get("size"), str(head.get("root"))) if isinstance(head, dict) else (None, "")
    if not isinstance(size, int) or not 1 <= size <= len(entries):
        return Check(name, False, f"expected a head of at most {len(entries)} entries, got {size}")
    root = root_of([leaf_hash(entry) for entry in entries[:size]]).hex()
    detail = f"{size} entries" if root == stated else f"expected root {root[:16]}, got {stated[:16]}"
    return Check(name, root == stated, detail)


def _paid(model: bytes, task: TaskSpec, ledger_state: LedgerState) -> Check:
    name = "release: its model was charged"
    try:
        weights = unpack_tensors(model, task.model)
    except (KeyError, ValueError, SafetensorError) as error:
        return Check(name, False, f"{MODEL_FILE}: expected the task's tensors, got {error!r}")
    if weights.shape != (task.model.dimension,) or not np.isfinite(weights).all():
        return Check(name, False, f"{MODEL_FILE}: expected {task.model.dimension} finite numbers, got others")
    digest = model_digest(weights)
    own = [account for account in ledger_state.accounts.values() if account.charge.task == task.id]
    paid = [account.charge.round for account in own if account.model_digest == digest]
    if not paid:
        return Check(name, False, f"expected a charge that paid for model {digest[:16]}, got none")
    return Check(name, True, f"round {paid[-1]}, model {digest[:16]}")
