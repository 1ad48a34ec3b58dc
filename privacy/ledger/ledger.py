"""The privacy ledger: a round is charged, durably, before anything of it is unmasked.

Formal guarantee. What `reserve` ever returned a receipt for never costs more than the budget, across crashes, restarts
and processes with one store. There are no refunds. The ledger is append-only, hash-chained and a Merkle tree
(RFC 6962), its head signed with Ed25519 at each append; it holds no device ids. What signatures cannot catch: a signer
who rewrites history that nobody else has a head of, or who shows an old head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from pydantic import Field, ValidationError

from privacy.accounting.accountant import Spend, epsilon_of, spend
from privacy.base.canonical import Frozen
from privacy.base.errors import what_is_wrong
from privacy.base.signing import SignatureError, Signer, verify as verify_signature
from privacy.ledger.entries import (
    Abandoned,
    Body,
    Charge,
    Charged,
    Digest,
    DoubleRelease,
    Entry,
    LedgerError,
    LedgerInvalid,
    LedgerState,
    Opened,
    Receipt,
    ReceiptRefused,
    Released,
    Uncharged,
    issue_receipt,
)
from privacy.ledger.limits import BudgetExhausted, check_charge, first_overspent
from privacy.task.task import Budget, Purpose

__all__ = [
    "BudgetExhausted",
    "Charge",
    "DoubleRelease",
    "Ledger",
    "LedgerError",
    "LedgerInvalid",
    "LedgerStore",
    "LedgerTransaction",
    "Receipt",
    "ReceiptRefused",
    "SignedHead",
    "replay",
    "verify",
]

_DOMAIN = "havenfl/ledger-head/1"


class SignedHead(Frozen):
    """What the signer stands for: the number of entries and their Merkle root."""

    size: int = Field(ge=1)
    root: Digest
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")

    @classmethod
    def of(cls, size: int, root: bytes, signer: Signer) -> SignedHead:
        """Sign a Merkle tree's head.

        Args:
            size: leaves of the tree.
            root: its head, 32 bytes.
            signer: whose ledger it is.
        """
        return cls(size=size, root=root.hex(), signature=signer.sign(_DOMAIN, _head_message(size, root)).hex())

    def check_signature(self, public_key: bytes) -> None:
        """Check that the head is signed by `public_key`, whatever its entries are.

        Raises:
            LedgerInvalid: when the signature does not hold.
        """
        try:
            message = _head_message(self.size, bytes.fromhex(self.root))
            verify_signature(public_key, _DOMAIN, message, bytes.fromhex(self.signature))
        except SignatureError as error:
            raise LedgerInvalid(f"head of {self.size} entries: {error}") from error

    def check(self, ledger_state: LedgerState, public_key: bytes) -> None:
        """Check that the head is signed by `public_key`, and of the entries behind `ledger_state`.

        Raises:
            LedgerInvalid: when the signature does not hold, or the head is of other entries.
        """
        self.check_signature(public_key)
        if self.size != ledger_state.size:
            raise LedgerInvalid(f"head: expected {self.size} entries, got {ledger_state.size}")
        if self.root != ledger_state.frontier.root().hex():
            raise LedgerInvalid(f"head of {self.size} entries: expected root {self.root}, got other entries")


class LedgerTransaction(Protocol):
    """Exclusive access to the stored entries."""

    def entries(self, start: int) -> Sequence[bytes]:
        """Return the entries from number `start` on."""
        ...

    def head(self) -> bytes | None:
        """Return the head stored with the last entry; None in an empty store."""
        ...

    def append(self, seq: int, entry: bytes, head: bytes) -> None:
        """Add an entry and the head after it.

        Args:
            seq: number of the entry, counted from 0.
            entry: canonical JSON.
            head: canonical JSON of the signed head, which replaces that before.
        """
        ...


class LedgerStore(Protocol):
    """Durable storage of one ledger."""

    def transaction(self) -> AbstractContextManager[LedgerTransaction]:
        """Begin a transaction: exclusive until its end, then durable, and without effect if it ends by an exception."""
        ...


class Ledger:
    """The one way to a `Receipt`: a ledger that is opened, or started in an empty store.

    It is for one thread. From the same store, signer, clock readings and charges come the same bytes.

    Args:
        store: where entries and heads are kept.
        signer: whose ledger this is.
        population: whose devices' budget this is.
        budget: what may be spent.
        clock: gives Unix time in seconds.

    Raises:
        LedgerInvalid: when the store holds another signer's, population's or budget's ledger, or a damaged one.
    """

    def __init__(
        self, store: LedgerStore, signer: Signer, population: str, budget: Budget, clock: Callable[[], int]
    ) -> None:
        self._store, self._signer, self._budget, self._clock = store, signer, budget, clock
        self._state = LedgerState()
        opened = Opened(public_key=signer.public.hex(), population=population, budget=budget)
        with self._synchronised() as transaction:
            if self._state.opened is None:
                self._append(transaction, opened)
        if self._state.opened != opened:
            raise LedgerInvalid(
                f"entry 0: expected the ledger of this signer, of population {population} and budget {budget}, "
                "got another's"
            )

    def reserve(self, charge: Charge) -> Receipt:
        """Pay for a round; call it before unmasking, and unmask only what the receipt's transcript fixes.

        Formal guarantee: when a receipt is returned, its charge is durable and within the budget. A second call for the
        same task, round and transcript reveals nothing new and returns the same receipt. With another transcript the
        open charge is abandoned, and the new one costs as much again.

        Raises:
            BudgetExhausted: when the charge would exceed the budget; nothing is written.
            AccountantsDisagree: when no epsilon can be stated; nothing is written.
        """
        with self._synchronised() as transaction:
            before = self._state.latest.get((charge.task, charge.round))
            if before is not None and self._is_replay(before, charge):
                return issue_receipt(self._state.accounts[before].charge, before)
            check_charge(self._state, self._budget, charge.event, self._now())
            if before is not None and self._state.is_open(before):
                self._append(transaction, Abandoned(charge_hash=before, reason="superseded by another transcript"))
            self._append(transaction, Charged(charge=charge))
            charge_hash = self._state.tail
        return issue_receipt(charge, charge_hash)

    def find(self, task: str, number: int, transcript: str) -> Receipt | None:
        """Return the receipt of a round's last charge, whatever became of it; nothing is charged.

        Args:
            task: id of the task.
            number: of the round.
            transcript: what the charge was for, hex SHA-256; a charge for another one is not found.
        """
        with self._synchronised():
            charged = self._state.latest.get((task, number))
            if charged is None or self._state.accounts[charged].charge.transcript != transcript:
                return None
            return issue_receipt(self._state.accounts[charged].charge, charged)

    def unsettled(self, task: str, number: int) -> Receipt | None:
        """Return the receipt of a round's charge that was neither released nor abandoned; None where there is none.

        Args:
            task: id of the task.
            number: of the round.
        """
        with self._synchronised():
            charged = self._state.latest.get((task, number))
            if charged is None or not self._state.is_open(charged):
                return None
            return issue_receipt(self._state.accounts[charged].charge, charged)

    def released(self, receipt: Receipt, model_digest: str) -> None:
        """Record which model, by hex SHA-256, a charge paid for; for a second time with that model, nothing happens.

        Raises:
            DoubleRelease: when it paid for another model.
            ReceiptRefused: when the charge was abandoned or is not of this ledger.
        """
        with self._synchronised() as transaction:
            account = self._state.accounts.get(receipt.entry_hash)
            if account is None or account.model_digest != model_digest:
                self._state.check_release(receipt.entry_hash, model_digest)
                self._append(transaction, Released(charge_hash=receipt.entry_hash, model_digest=model_digest))

    def abandoned(self, receipt: Receipt, reason: str) -> None:
        """Record that a charge led to no release; it stays spent. For a second time, nothing happens.

        Raises:
            ReceiptRefused: when the charge was released or is not of this ledger.
        """
        with self._synchronised() as transaction:
            account = self._state.accounts.get(receipt.entry_hash)
            if account is None or not account.abandoned:
                self._state.check_abandon(receipt.entry_hash)
                self._append(transaction, Abandoned(charge_hash=receipt.entry_hash, reason=reason))

    def spent(self) -> Spend:
        """Return what all charges cost together at the budget's delta.

        Raises:
            AccountantsDisagree: when no epsilon can be stated.
        """
        with self._synchronised():
            return spend(self._state.counts, self._budget.delta)

    def epsilon(self) -> float:
        """Return the epsilon of `spent`, sooner.

        Raises:
            AccountantsDisagree: when no epsilon can be stated.
        """
        with self._synchronised():
            return epsilon_of(self._state.counts, self._budget.delta)

    def released_models(self, task: str) -> list[str]:
        """Return the digests of the models that charges of a task paid for, in the order of their charges.

        Args:
            task: the task's id.
        """
        with self._synchronised():
            accounts = [account for account in self._state.accounts.values() if account.charge.task == task]
        return [account.model_digest for account in accounts if account.model_digest is not None]

    def declare_uncharged(self, purpose: Purpose, what: str, why: str) -> None:
        """Record a use of the population's data that no charge covers; every later report names it.

        For a second time with the same words, nothing happens.

        Args:
            purpose: what the data were used for.
            what: the use, in 1 to 1,000 characters.
            why: why it costs nothing, or why its cost is not known.
        """
        use = Uncharged(purpose=purpose, what=what, why=why)
        with self._synchronised() as transaction:
            if use not in self._state.uncharged:
                self._append(transaction, use)

    def entries(self) -> tuple[bytes, ...]:
        """Return all entries, as canonical JSON."""
        with self._store.transaction() as transaction:
            return tuple(transaction.entries(0))

    def head(self) -> SignedHead:
        """Return the signed head of all entries.

        Raises:
            LedgerInvalid: when the store holds none.
        """
        with self._store.transaction() as transaction:
            return _parsed_head(transaction.head())

    @contextmanager
    def _synchronised(self) -> Iterator[LedgerTransaction]:
        try:
            with self._store.transaction() as transaction:
                self._catch_up(transaction)
                yield transaction
        except BaseException:
            self._state = LedgerState()  # what was committed is unknown here: read it again
            raise

    def _catch_up(self, transaction: LedgerTransaction) -> None:
        for raw in transaction.entries(self._state.size):
            self._state.apply(raw)
        if self._state.size or transaction.head() is not None:
            _parsed_head(transaction.head()).check(self._state, self._signer.public)

    def _append(self, transaction: LedgerTransaction, body: Body) -> None:
        entry = Entry(seq=self._state.size, previous=self._state.tail, time=self._now(), body=body)
        raw = entry.canonical()
        self._state.apply(raw)
        head = SignedHead.of(self._state.size, self._state.frontier.root(), self._signer)
        transaction.append(entry.seq, raw, head.canonical())

    def _now(self) -> int:
        """Return the time, never before the last entry's: a clock set back must not take charges out of a window."""
        return max(self._clock(), self._state.time)

    def _is_replay(self, charge_hash: str, charge: Charge) -> bool:
        account = self._state.accounts[charge_hash]
        return account.charge == charge and not account.abandoned


def verify(entries: Sequence[bytes], head: SignedHead, public_key: bytes) -> tuple[Entry, ...]:
    """Recompute a whole ledger and return its parsed entries.

    Checked: canonical form, numbers, chain, times, Merkle root, signature, population, each release paid by exactly one
    charge of its own, and the budget after every charge.

    Args:
        entries: canonical JSON, from the first entry on.
        head: what the signer stands for.
        public_key: the signer's, 32 bytes, from a trusted place.

    Raises:
        LedgerInvalid: when an entry is wrong; the message names the first.
        AccountantsDisagree: when the spend cannot be recomputed.
    """
    return _verified(entries, head, public_key)[0]


def replay(entries: Sequence[bytes], head: SignedHead, public_key: bytes) -> LedgerState:
    """Recompute a whole ledger as `verify` does, and return what its entries add up to.

    Args:
        entries: canonical JSON, from the first entry on.
        head: what the signer stands for.
        public_key: the signer's, 32 bytes, from a trusted place.

    Raises:
        LedgerInvalid: when an entry is wrong; the message names the first.
        AccountantsDisagree: when the spend cannot be recomputed.
    """
    return _verified(entries, head, public_key)[1]


def _verified(entries: Sequence[bytes], head: SignedHead, public_key: bytes) -> tuple[tuple[Entry, ...], LedgerState]:
    ledger_state = LedgerState()
    parsed = tuple(ledger_state.apply(raw) for raw in entries)
    head.check(ledger_state, public_key)
    if ledger_state.opened is None or ledger_state.opened.public_key != public_key.hex():
        raise LedgerInvalid("entry 0: expected a ledger opened by this key, got another's")
    over = first_overspent(ledger_state, ledger_state.opened.budget)
    if over is not None:
        account, limit = over
        raise LedgerInvalid(
            f"entry {account.seq}: expected at most epsilon {limit.epsilon} in {limit.span}, got more with this charge"
        )
    return parsed, ledger_state


def _parsed_head(raw: bytes | None) -> SignedHead:
    if raw is None:
        raise LedgerInvalid("head: expected a signed head, got none")
    try:
        return SignedHead.model_validate_json(raw)
    except ValidationError as error:
        raise LedgerInvalid(f"head: {what_is_wrong(error)}") from error


def _head_message(size: int, root: bytes) -> bytes:
    return size.to_bytes(8, "big") + root
