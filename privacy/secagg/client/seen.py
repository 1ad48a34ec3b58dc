"""What a device remembers of the past, so that no server can make it repeat itself, and no message lock it out."""

from __future__ import annotations

from dataclasses import dataclass, field

APART = 64
"""How many answered rounds are told apart; those below them all count as answered."""
LIST_LEAP = 1_000_000
"""How far above the newest list that a device has seen the next one's number may be."""


@dataclass(frozen=True)
class Rounds:
    """The rounds of one task that a device has answered, in little room.

    A set and not the last number, so that a far number, signed by mistake or malice, uses up itself and not all below.

    Attributes:
        floor: up to here every round counts as answered.
        above: those above it that were answered, ascending; at most `APART`, and `floor` + 1 is not among them.
    """

    floor: int = 0
    above: tuple[int, ...] = ()

    def __contains__(self, number: int) -> bool:
        return number <= self.floor or number in self.above

    @property
    def last(self) -> int:
        """The greatest round that was answered; 0 when none was."""
        return self.above[-1] if self.above else self.floor

    def adding(self, number: int) -> Rounds:
        """Return the rounds with one more."""
        floor, above = self.floor, sorted({*self.above, number})
        if len(above) > APART:
            floor = above[0]
        while above and above[0] <= floor + 1:
            floor = max(floor, above.pop(0))
        return Rounds(floor, tuple(above))


@dataclass(frozen=True)
class Seen:
    """What a device remembers of the past, durably.

    Attributes:
        rounds: the rounds of this task that it has answered.
        list_number: the number of the newest revocation list; 0 before the first.
        list_digest: what that list was; empty where only its number is known.
        time: the latest Unix time, in seconds, at which it took an invitation: its clock cannot go back behind that.
    """

    rounds: Rounds = field(default_factory=Rounds)
    list_number: int = 0
    list_digest: bytes = b""
    time: int = 0
