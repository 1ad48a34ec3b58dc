"""Rounds of a real ledger as a coordinator runs them, with what a reviewer would find of each on disk."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fl_server.ledger_store import open_ledger_store
from privacy.accounting.events import BoundedGaussian
from privacy.base.canonical import Frozen
from privacy.base.files import write_atomically
from privacy.base.signing import Signer
from privacy.ledger.entries import Charged, Entry, Released
from privacy.ledger.ledger import Charge, Ledger, LedgerStore, SignedHead, verify
from privacy.task.task import Budget

TASK = "ab" * 32
SIGNER = Signer.from_seed(b"\x07" * 32)
ROUNDS = 7
WITHOUT_RELEASE = 2
"""The round that is abandoned after its sum was unmasked."""
RESTARTS = frozenset({3, 5})
"""Rounds before which the store is closed and opened again."""
CLOCK = (1_000_000, 1_000_000_000, 0, 60)
"""What a clock says that is set, in turn, far ahead and back."""


class Marker(Frozen):
    """What was shown to somebody: a sum, or a model."""

    charge: Charge
    entry_hash: str
    model: str = ""


@dataclass(frozen=True)
class Run:
    """One attempt at the rounds that are still to do.

    Attributes:
        where: of the ledger, as `open_ledger_store` takes it.
        directory: of markers and checkpoint.
        attempt: the cohorts of two attempts differ, and with them transcripts and models.
        point: called between any two steps.
    """

    where: str
    directory: Path
    attempt: int = 0
    point: Callable[[], None] = lambda: None

    def all_rounds(self) -> None:
        """Run until every round has its checkpoint."""
        ledger = self._open()
        for number in range(rounds_done(self.directory) + 1, ROUNDS + 1):
            if number in RESTARTS:
                del ledger
                ledger = self._open()
            self._round(ledger, number)
            self.point()
            write_atomically(self.directory / "checkpoint", str(number).encode())
            self.point()

    def _open(self) -> Ledger:
        jumping = itertools.cycle(CLOCK)
        return open_ledger(open_ledger_store(self.where), clock=lambda: next(jumping))

    def _round(self, ledger: Ledger, number: int) -> None:
        shown = [marker for marker in markers(self.directory, "release") if marker.charge.round == number]
        if shown:
            receipt = ledger.find(shown[0].charge.task, number, shown[0].charge.transcript)
            assert receipt is not None, "a model was shown that nothing paid for"
            ledger.released(receipt, shown[0].model)
            return
        charge = charge_of(number, self.attempt)
        receipt = ledger.reserve(charge)
        self.point()
        self._show("unmask", Marker(charge=charge, entry_hash=receipt.entry_hash))
        if number == WITHOUT_RELEASE:
            ledger.abandoned(receipt, "the clip failed")
            return
        marker = Marker(charge=charge, entry_hash=receipt.entry_hash, model=model_of(charge))
        self._show("release", marker)
        ledger.released(receipt, marker.model)

    def _show(self, kind: str, marker: Marker) -> None:
        path = self.directory / f"{kind}-{marker.charge.round}-{marker.charge.transcript[:16]}.json"
        write_atomically(path, marker.canonical())
        self.point()


def open_ledger(store: LedgerStore, budget: Budget | None = None, clock: Callable[[], int] = lambda: 0) -> Ledger:
    return Ledger(store, SIGNER, "demo", budget or Budget(delta=1e-6), clock)


def charge_of(number: int, attempt: int = 0) -> Charge:
    event = BoundedGaussian(task=TASK, noise_multiplier=4.0, max_participations=3)
    transcript = hashlib.sha256(f"{number} {attempt}".encode()).hexdigest()
    return Charge(task=TASK, population="demo", purpose="training", round=number, event=event, transcript=transcript)


def model_of(charge: Charge) -> str:
    return hashlib.sha256(charge.transcript.encode()).hexdigest()


def rounds_done(directory: Path) -> int:
    path = directory / "checkpoint"
    return int(path.read_bytes()) if path.exists() else 0


def markers(directory: Path, kind: str) -> list[Marker]:
    return [Marker.model_validate_json(path.read_bytes()) for path in sorted(directory.glob(f"{kind}-*.json"))]


def check(where: str, directory: Path) -> tuple[bytes, ...]:
    """The entries, when the ledger verifies and has paid for everything that was shown."""
    entries = verified(where)
    parsed = tuple(map(Entry.model_validate_json, entries))
    charges = [entry.body.charge for entry in parsed if isinstance(entry.body, Charged)]
    shown = markers(directory, "unmask") + markers(directory, "release")
    for marker in shown:
        assert marker.charge in charges, f"round {marker.charge.round} was shown and not paid for"
    check_releases(parsed, markers(directory, "release"))
    return entries


def verified(where: str) -> tuple[bytes, ...]:
    """The entries, when they and their head verify."""
    with open_ledger_store(where).transaction() as transaction:
        entries, head = tuple(transaction.entries(0)), transaction.head()
    if head is None:
        assert not entries
    else:
        verify(entries, SignedHead.model_validate_json(head), SIGNER.public)
    return entries


def check_releases(entries: tuple[Entry, ...], shown: list[Marker]) -> None:
    """At most one model for each round, in the ledger and outside, and the same."""
    models: dict[int, str] = {marker.charge.round: marker.model for marker in shown}
    assert len(models) == len(shown), "a round was released twice"
    released = [entry.body.model_digest for entry in entries if isinstance(entry.body, Released)]
    assert len(released) == len(set(released))
    assert set(released) <= set(models.values()), "the ledger speaks of a model that was not shown"


def check_finished(where: str, directory: Path, before: tuple[bytes, ...]) -> None:
    """All rounds were brought to their ends, and nothing was rewritten on the way."""
    entries = check(where, directory)
    assert entries[: len(before)] == before
    assert rounds_done(directory) == ROUNDS
    released = [entry for entry in map(Entry.model_validate_json, entries) if isinstance(entry.body, Released)]
    assert len(released) == len(markers(directory, "release")) == ROUNDS - 1
