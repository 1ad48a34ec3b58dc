"""A round's charge, and the proof that it was paid; apart from the ledger so that a device needs no accountant."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field

from privacy.accounting.events import Event, round_event
from privacy.base.canonical import Frozen
from privacy.task.task import Purpose, TaskSpec

_LEDGER_ONLY = object()


class Charge(Frozen):
    """What one round asks to spend."""

    task: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Id of the task."""
    population: str = Field(min_length=1, max_length=64)
    round: int = Field(ge=1)
    purpose: Purpose
    event: Event
    transcript: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hex SHA-256 that fixes the masked sum and its survivor set: what unmasking would reveal."""

    @classmethod
    def of(cls, task: TaskSpec, number: int, transcript: str) -> Charge:
        """For round `number` of the task."""
        return cls(
            task=task.id,
            population=task.population,
            round=number,
            purpose=task.purpose,
            event=round_event(task, number),
            transcript=transcript,
        )


@dataclass(frozen=True)
class Receipt:
    """Proof that a charge is durably in the ledger; a sum is unmasked and decoded only against one.

    Raises:
        TypeError: when built by anything but `issue_receipt`.
    """

    charge: Charge
    entry_hash: str
    """Hex RFC 6962 leaf hash of the ledger entry that holds the charge."""
    _token: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._token is not _LEDGER_ONLY:
            raise TypeError("Receipt: expected one from Ledger.reserve, got a direct construction; reserve the charge")


def issue_receipt(charge: Charge, entry_hash: str) -> Receipt:
    """For `Ledger.reserve` alone, once the entry is durable: anywhere else it forges a payment."""
    return Receipt(charge, entry_hash, _LEDGER_ONLY)
