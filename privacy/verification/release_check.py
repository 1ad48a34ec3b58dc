"""Checks of a release directory against the operator's key and the ledger that paid for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError

from privacy.base.canonical import canonical_json
from privacy.base.errors import what_is_wrong
from privacy.base.signing import SignatureError
from privacy.ledger.entries import LedgerState
from privacy.ledger.ledger import LedgerInvalid, SignedHead
from privacy.ledger.merkle import leaf_hash, root_of
from privacy.release.files import (
    CARD_FILE,
    MODEL_FILE,
    STATEMENT_FILE,
    model_digest,
    open_statement,
    release_name,
    unpack_tensors,
)
from privacy.report.figures import card_marking
from privacy.report.model import EpsilonReport
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check
from privacy.verification.comparison import compared
from privacy.verification.evidence import KEY_FILE, Registry
from privacy.verification.spent import course

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
    checks = [signed, _task(predicate, task), _ledger(predicate, entries, operator)]
    checks.append(_paid(files[MODEL_FILE], task, ledger_state))
    if predicate.get("parent") is not None:
        checks.append(Check("release: its parent", None, "nothing shows which release came before", word=True))
    return [*checks, _marked(predicate, task)]


def check_registry(registry: Registry, operator: bytes) -> list[Check]:
    """Check that nothing but releases lies beside a release, each of them signed and whole, under its own name.

    Args:
        registry: the directory that the release lies in.
        operator: the operator's Ed25519 public key.
    """
    name = "release: nothing unsigned lies beside it"
    if registry.key is not None and registry.key.strip() != operator.hex():
        return [Check(name, False, f"release/{KEY_FILE}: expected the operator's key, got another")]
    if registry.others:
        return [Check(name, False, f"expected releases and channels alone, got {', '.join(registry.others)}")]
    for directory, files in registry.releases.items():
        if problem := _unsigned(directory, files, operator):
            return [Check(name, False, f"{directory}: {problem}")]
    older = len(registry.releases) - 1
    return [Check(name, True, f"{older} other releases, of whose models only the signature was checked")]


def _unsigned(directory: str, files: Mapping[str, bytes], operator: bytes) -> str:
    try:
        digests, _ = open_statement(files[STATEMENT_FILE], operator)
    except SignatureError as error:
        return str(error)
    if wrong := _damaged(files, digests):
        return f"{wrong} is not what was signed"
    expected = release_name(digests)
    return "" if directory == expected else f"expected the directory's name to be {expected}"


def _damaged(files: Mapping[str, bytes], digests: Mapping[str, str]) -> str | None:
    """Return the first file, by name, whose bytes are not what the statement says; None when all are."""
    actual = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != STATEMENT_FILE}
    return next((name for name in sorted({*digests, *actual}) if digests.get(name) != actual.get(name)), None)


def _task(predicate: dict[str, Any], task: TaskSpec) -> Check:
    stated = str(predicate.get("task"))
    detail = task.id[:16] if stated == task.id else f"expected {task.id[:16]}, got {stated[:16]}"
    return Check("release: of this task", stated == task.id, detail)


def _marked(predicate: dict[str, Any], task: TaskSpec) -> Check:
    """Check that the statement says whether its model is of a fleet that was never asked, and nothing unknown."""
    name, fleet = "release: signed as what it is", task.simulation.fleet is not None
    if unknown := predicate.keys() - {"task", "parent", "ledger", "extrapolated"}:
        return Check(name, False, f"expected no more than is known here, got {', '.join(sorted(unknown))}")
    if predicate.get("extrapolated") is not fleet:
        return Check(name, False, f"expected extrapolated {fleet}, got {predicate.get('extrapolated')}")
    return Check(name, True, "as `extrapolated`, which nobody serves" if fleet else "not extrapolated")


def check_card(
    data: bytes, task: TaskSpec, report: EpsilonReport | None, ledger_state: LedgerState, last_round: int | None
) -> list[Check]:
    """Check a model card; its threshold, and how that was chosen, are the server's word.

    Args:
        data: the card's file.
        task: the task that the model was trained for, tied to the ledger.
        report: the run's report; None where there is none.
        ledger_state: the verified ledger.
        last_round: the last round of the log; None where there is none.
    """
    try:
        card = json.loads(data)
    except ValueError as error:
        return [Check(f"{CARD_FILE}: its figures follow", False, f"expected JSON: {error}")]
    if not isinstance(card, dict) or canonical_json(card) != data:
        return [Check(f"{CARD_FILE}: its figures follow", False, "expected an object in RFC 8785 canonical JSON")]
    expected = {} if report is None else card_marking(task, report)
    return compared(CARD_FILE, card, expected | course(task, ledger_state, last_round), word=True)


def _ledger(predicate: dict[str, Any], entries: Sequence[bytes], operator: bytes) -> Check:
    name = "release: of this ledger"
    try:
        head = SignedHead.model_validate(predicate.get("ledger"))
        head.check_signature(operator)
    except (ValidationError, LedgerInvalid) as error:
        return Check(name, False, what_is_wrong(error) if isinstance(error, ValidationError) else str(error))
    if head.size > len(entries):
        return Check(name, False, f"expected a head of at most {len(entries)} entries, got {head.size}")
    root = root_of([leaf_hash(entry) for entry in entries[: head.size]]).hex()
    detail = f"{head.size} entries" if root == head.root else f"expected root {root[:16]}, got {head.root[:16]}"
    return Check(name, root == head.root, detail)


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
