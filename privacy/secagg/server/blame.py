"""Who is at fault in a round, as far as anybody can tell.

A dealer's encrypted shares open under a secret of dealer and holder alone, so of a complaint nobody else can tell
which of the two lies. What decides is their number: with at most c corrupt devices in a cohort, an honest dealer is
complained of by at most c holders, and an honest holder complains of at most c dealers. More than c is a fault, fewer
are suspected pairs and prove nothing. A server that spoils what it relays can make honest devices complain of honest
dealers; it gains nothing from it, since it may leave out whom it likes in any case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from privacy.secagg.membership.identity import Certificate
from privacy.secagg.messages import Stage

_Party = TypeVar("_Party", bound=Hashable)


class Fault(StrEnum):
    """What a device did; the values are in signed records, and never change."""

    REPLY = "reply"
    """It sent a reply that is not what the protocol expects."""
    DEALT = "dealt"
    """More holders than may be corrupt complained of the secret shares that it dealt."""
    COMPLAINED = "complained"
    """It complained of more dealers than may be corrupt."""
    POLYNOMIAL = "polynomial"
    """The secret shares that it dealt lie on no polynomial that gives the secret which it had committed itself to."""
    WITHHELD = "withheld"
    """It kept back a secret share that it had not complained of."""


@dataclass(frozen=True)
class Culprit:
    """A device that the protocol shows to be at fault.

    Attributes:
        member: the caller's name for it.
        certificate: the authority's word on its identity.
        shard: the number of its shard.
        place: its place in the shard's roster.
        stage: when it showed.
        fault: what the device did.
        reason: the same in words.
    """

    member: int
    certificate: Certificate
    shard: int
    place: int
    stage: Stage
    fault: Fault
    reason: str


@dataclass(frozen=True)
class Party:
    """One of two devices that cannot both be honest.

    Attributes:
        member: the caller's name for it.
        identity: its Ed25519 public key.
    """

    member: int
    identity: bytes


@dataclass(frozen=True)
class Blame:
    """What a round says of its devices, for those that follow.

    Attributes:
        culprits: devices at fault.
        quarrels: pairs of holder and dealer of which one lies, where this ended a shard; too few to tell which.
    """

    culprits: tuple[Culprit, ...] = ()
    quarrels: tuple[tuple[Party, Party], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What follows from a cohort's complaints.

    Attributes:
        dealers: places of those that dealt shares which more than c holders could not use.
        accusers: places of those that complained of more than c dealers.
        suspected: the holders and dealers of all other complaints, by place.
    """

    dealers: frozenset[int]
    accusers: frozenset[int]
    suspected: frozenset[tuple[int, int]]


def judge(complaints: Mapping[int, Collection[int]], corrupt: int) -> Verdict:
    """Return what follows from complaints.

    Formal guarantee: with at most `corrupt` corrupt members and a server that relays what it is sent, no honest member
    is at fault. Whoever has the most complaints, given or taken, is judged first, and those complaints are settled by
    it: so also where more are corrupt than assumed, a dealer that served nobody does not make liars of its holders.

    Args:
        complaints: places of the dealers that each holder complains of, by its place.
        corrupt: how many members may be corrupt.
    """
    # A member that deals and complains is two parties: places stand for dealers, their complements for holders.
    guilty, rest = fewest_behind({(~holder, dealer) for holder in complaints for dealer in complaints[holder]}, corrupt)
    return Verdict(
        dealers=frozenset(party for party in guilty if party >= 0),
        accusers=frozenset(~party for party in guilty if party < 0),
        suspected=frozenset((~holder, dealer) for holder, dealer in rest),
    )


def fewest_behind(
    pairs: Iterable[tuple[_Party, _Party]], limit: int
) -> tuple[list[_Party], frozenset[tuple[_Party, _Party]]]:
    """Return parties that are in more than `limit` pairs, those of most pairs first; a party settles all its pairs.

    Args:
        pairs: of accuser and accused; among parties of as many pairs, one that is accused comes first.
        limit: at 0 no pair is left over, and the parties are a small cover of all pairs.

    Returns:
        The parties, and the pairs that none of them is in.
    """
    others: dict[_Party, set[_Party]] = defaultdict(set)
    pairs = set(pairs)
    accused = {second for _, second in pairs}
    for first, second in pairs:
        others[first].add(second)
        others[second].add(first)
    found: list[_Party] = []
    order = sorted(others, key=lambda party: (party not in accused, party))
    while order:
        worst = max(order, key=lambda party: len(others[party]))
        if len(others[worst]) <= limit:
            break
        found.append(worst)
        for other in others.pop(worst):
            others[other].discard(worst)
        order.remove(worst)
    settled = set(found)
    return found, frozenset((first, second) for first, second in pairs if not (first in settled or second in settled))
