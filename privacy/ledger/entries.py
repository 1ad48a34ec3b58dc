"""What the ledger's entries say, and the one way to apply them: used to append, and again by whoever verifies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from privacy.accounting.events import Event, PoissonGaussian, round_event
from privacy.base.canonical import Frozen
from privacy.base.errors import what_is_wrong
from privacy.ledger.merkle import Frontier, leaf_hash
from privacy.task.task import Budget, Purpose, TaskSpec

_LEDGER_ONLY = object()


class Charge(Frozen):
    """What one round asks to spend."""

    task: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Id of the task."""
    population: str = Field(min_length=1, max_length=64)
    round: int = Field(ge=1)
    purpose: Purpose
    event: Event
    reachable: int | None = Field(default=None, ge=1)
    """Devices that coins were thrown for, which anyone may know and the event follows from; None where no coins are."""
    transcript: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hex SHA-256 that fixes the masked sum and its survivor set: what unmasking would reveal."""

    @model_validator(mode="after")
    def _drawn_from_somebody(self) -> Charge:
        if isinstance(self.event, PoissonGaussian) != (self.reachable is not None):
            raise ValueError("reachable: expected the devices that coins were thrown for, if and only if they were")
        return self

    @classmethod
    def of(cls, task: TaskSpec, number: int, transcript: str, reachable: int | None = None) -> Charge:
        """Make the charge of a round.

        Args:
            task: the task, as signed.
            number: the round, counted from 1.
            transcript: what fixes the sums that unmasking would reveal, hex SHA-256.
            reachable: devices that the cohort was drawn from; None only where no coins are thrown.
        """
        event = round_event(task, number, reachable)
        return cls(
            task=task.id,
            population=task.population,
            round=number,
            purpose=task.purpose,
            event=event,
            reachable=reachable if isinstance(event, PoissonGaussian) else None,
            transcript=transcript,
        )

    def follows_from(self, task: TaskSpec) -> bool:
        """Tell whether the event is what the task says of this round, drawn from as many devices."""
        return self.event == round_event(task, self.round, self.reachable)


@dataclass(frozen=True)
class Receipt:
    """Proof that a charge is durably in the ledger; a sum is unmasked and decoded only against one.

    Attributes:
        charge: what was paid for.
        entry_hash: RFC 6962 leaf hash, in hex, of the ledger entry that holds the charge.

    Raises:
        TypeError: when built by anything but `issue_receipt`.
    """

    charge: Charge
    entry_hash: str
    _token: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._token is not _LEDGER_ONLY:
            raise TypeError("Receipt: expected one from Ledger.reserve, got a direct construction; reserve the charge")


def issue_receipt(charge: Charge, entry_hash: str) -> Receipt:
    """Make a receipt. For `Ledger` alone, once the entry is durable: anywhere else it forges a payment."""
    return Receipt(charge, entry_hash, _LEDGER_ONLY)


GENESIS = "0" * 64
"""What the first entry names as its predecessor."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in hex."""


class LedgerError(RuntimeError):
    """The ledger refuses; nothing was written."""


class LedgerInvalid(LedgerError):
    """The entries are not what a ledger's signer could have written in good faith; the message names the entry."""


class ReceiptRefused(LedgerError):
    """A receipt cannot be settled in this way."""


class DoubleRelease(ReceiptRefused):
    """One charge cannot pay for two different models."""


class Opened(Frozen):
    """The first entry: whose ledger it is, and what may be spent."""

    kind: Literal["opened"] = "opened"
    schema_id: Literal["havenfl/ledger/3"] = "havenfl/ledger/3"
    public_key: Digest
    """Ed25519 public key, in hex."""
    population: str = Field(min_length=1, max_length=64)
    budget: Budget


class Charged(Frozen):
    """A round was paid for, before anything of it was unmasked."""

    kind: Literal["charge"] = "charge"
    charge: Charge


class Released(Frozen):
    """A charge led to a release: what it paid for."""

    kind: Literal["released"] = "released"
    charge_hash: Digest
    """Leaf hash of the charge's entry."""
    model_digest: Digest


class Abandoned(Frozen):
    """A charge led to no release. It still counts: what was unmasked may have been seen."""

    kind: Literal["abandoned"] = "abandoned"
    charge_hash: Digest
    """Leaf hash of the charge's entry."""
    reason: str = Field(min_length=1, max_length=1000)


class Uncharged(Frozen):
    """The population's data were used outside any charge: named, so that no report can forget it."""

    kind: Literal["uncharged"] = "uncharged"
    purpose: Purpose
    what: str = Field(min_length=1, max_length=1000)
    why: str = Field(min_length=1, max_length=1000)
    """Why the use costs nothing, or why its cost is not known."""


Body = Annotated[Opened | Charged | Released | Abandoned | Uncharged, Field(discriminator="kind")]


class Entry(Frozen):
    """One line of the ledger."""

    seq: int = Field(ge=0)
    """Number of the entry, counted from 0."""
    previous: Digest
    """Leaf hash of the entry before, or GENESIS."""
    time: int = Field(ge=0)
    """Unix time in seconds by the ledger's clock; never less than that of the entry before."""
    body: Body


@dataclass
class Account:
    """One charge and what became of it.

    Attributes:
        charge: what was asked for.
        seq: number of the charge's entry.
        time: of that entry, Unix time in seconds.
        model_digest: what the charge paid for; None as long as nothing was released.
        abandoned: why it led to no release; empty as long as it may.
    """

    charge: Charge
    seq: int
    time: int
    model_digest: str | None = None
    abandoned: str = ""


@dataclass
class LedgerState:
    """The state after a prefix of the entries.

    Attributes:
        frontier: the Merkle tree of the entries.
        tail: leaf hash of the last entry.
        opened: the first entry's body; None before it.
        time: of the last entry, Unix time in seconds.
        accounts: charges by the leaf hash of their entry, in order.
        counts: how often each event was charged, whatever became of it.
        uncharged: uses of the data outside any charge, in order.
        latest: leaf hash of the last charge of each (task, round).
    """

    frontier: Frontier = field(default_factory=Frontier)
    tail: str = GENESIS
    opened: Opened | None = None
    time: int = 0
    accounts: dict[str, Account] = field(default_factory=dict)
    counts: Counter[Event] = field(default_factory=Counter)
    uncharged: list[Uncharged] = field(default_factory=list)
    latest: dict[tuple[str, int], str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of entries that were applied."""
        return self.frontier.size

    def charged_since(self, time: int) -> Counter[Event]:
        """Return how often each event was charged at `time` or later."""
        latest_first = reversed(self.accounts.values())
        recent = takewhile(lambda account: account.time >= time, latest_first)
        return Counter(account.charge.event for account in recent)

    def apply(self, raw: bytes) -> Entry:
        """Check one entry against the state, and advance.

        Raises:
            LedgerInvalid: when the entry, which is named, is malformed, out of place or contradicts an earlier one.
        """
        entry = self._parsed(raw)
        try:
            leaf = leaf_hash(raw)
            self._apply(entry, leaf.hex())
        except LedgerError as error:
            raise LedgerInvalid(f"entry {self.size}: {error}") from error
        self.frontier.append(leaf)
        self.tail, self.time = leaf.hex(), entry.time
        return entry

    def _parsed(self, raw: bytes) -> Entry:
        try:
            entry = Entry.model_validate_json(raw)
        except ValidationError as error:
            raise LedgerInvalid(f"entry {self.size}: {what_is_wrong(error)}") from error
        if entry.canonical() != raw:
            raise LedgerInvalid(f"entry {self.size}: expected RFC 8785 canonical JSON, got another encoding")
        if entry.seq != self.size:
            raise LedgerInvalid(f"entry {self.size}: expected seq {self.size}, got {entry.seq}")
        if entry.previous != self.tail:
            raise LedgerInvalid(f"entry {self.size}: expected previous {self.tail}, got {entry.previous}")
        if entry.time < self.time:
            raise LedgerInvalid(f"entry {self.size}: expected a time of {self.time} or later, got {entry.time}")
        return entry

    def _apply(self, entry: Entry, leaf: str) -> None:
        body = entry.body
        if isinstance(body, Opened) != (entry.seq == 0):
            raise LedgerInvalid(f"expected `opened` first and only there, got `{body.kind}`")
        if isinstance(body, Opened):
            self.opened = body
        elif isinstance(body, Charged):
            self._charge(body.charge, entry, leaf)
        elif isinstance(body, Uncharged):
            self.uncharged.append(body)
        elif isinstance(body, Released):
            self.check_release(body.charge_hash, body.model_digest)
            self.accounts[body.charge_hash].model_digest = body.model_digest
        else:
            self.check_abandon(body.charge_hash)
            self.accounts[body.charge_hash].abandoned = body.reason

    def _charge(self, charge: Charge, entry: Entry, leaf: str) -> None:
        if self.opened is not None and charge.population != self.opened.population:
            raise LedgerInvalid(f"expected population {self.opened.population}, got {charge.population}")
        before = self.latest.get((charge.task, charge.round))
        if before is not None and self.is_open(before):
            raise LedgerInvalid(f"round {charge.round} has an open charge in entry {self.accounts[before].seq}")
        self.accounts[leaf] = Account(charge, entry.seq, entry.time)
        self.counts[charge.event] += 1
        self.latest[charge.task, charge.round] = leaf

    def is_open(self, charge_hash: str) -> bool:
        """Tell whether a charge of this ledger was neither released nor abandoned."""
        account = self.accounts[charge_hash]
        return account.model_digest is None and not account.abandoned

    def check_release(self, charge_hash: str, model_digest: str) -> None:
        """Check that a charge may be recorded as having paid for a model.

        Raises:
            ReceiptRefused: when the charge was abandoned or is not of this ledger.
            DoubleRelease: when it paid for a model already.
        """
        account = self._account(charge_hash)
        if account.abandoned:
            raise ReceiptRefused(f"round {account.charge.round}: the charge in entry {account.seq} was abandoned")
        if account.model_digest is not None:
            raise DoubleRelease(
                f"round {account.charge.round}: the charge in entry {account.seq} paid for model "
                f"{account.model_digest}, got {model_digest}"
            )

    def check_abandon(self, charge_hash: str) -> None:
        """Check that a charge may be recorded as having led to no release.

        Raises:
            ReceiptRefused: when the charge is settled or not of this ledger.
        """
        account = self._account(charge_hash)
        if not self.is_open(charge_hash):
            raise ReceiptRefused(f"round {account.charge.round}: the charge in entry {account.seq} is settled")

    def _account(self, charge_hash: str) -> Account:
        if charge_hash not in self.accounts:
            raise ReceiptRefused(f"charge {charge_hash}: expected one of this ledger, got an unknown one")
        return self.accounts[charge_hash]
