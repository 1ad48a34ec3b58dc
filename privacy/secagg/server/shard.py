"""The server's side of one shard, from its roster on: relays secret shares, adds up masked vectors, unmasks the sum.

It holds one accumulator whatever the cohort, so a masked vector that was added stays in the sum: a shard ends where one
turns out to be of a device at fault. Before anything can be charged it makes sure that every secret can be recovered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from privacy.base.canonical import sha256
from privacy.base.signing import SignatureError
from privacy.secagg.cohort import Cohort
from privacy.secagg.errors import Aborted, Rejected, WireError
from privacy.secagg.membership.graph import NeighbourTable
from privacy.secagg.messages import (
    Advert,
    Complaint,
    EncryptedShares,
    Header,
    InputRequest,
    Members,
    Roster,
    Stage,
    Survivors,
    decode_consistency_check,
    decode_encrypted_shares,
    decode_masked,
    decode_revealed,
    encode_consistency_tags,
    encode_signatures,
)
from privacy.secagg.primitives.keys import share_tag
from privacy.secagg.primitives.masking import Words, add_masks, unpack, word_count, word_type
from privacy.secagg.server.blame import Fault, judge
from privacy.secagg.server.recovery import Recovery
from privacy.task.states import Total
from privacy.task.task import TaskSpec

Member = int
"""The caller's name for a device, kept apart from its place in the roster."""
_NAMED = 8
"""How many identities a reason holds."""


@dataclass(frozen=True)
class Request:
    """What one device is sent; many requests hold one object for the part that they have in common.

    Attributes:
        own: the part for this device alone.
        common: the part that all devices of the shard are sent.
    """

    own: bytes = field(repr=False)
    common: bytes = field(repr=False)

    @property
    def body(self) -> bytes:
        """The whole request, as the device takes it."""
        return self.own + self.common


class Shard:
    """Stages share to unmask of one shard: send `requests()`, give each reply to `receive`, then `advance()`.

    Args:
        task: the round's task.
        header: the round's header.
        adverts: the members' keys, verified.
        model: the part of every input request that holds the model, encoded once for all shards.

    Raises:
        ParameterError: when so many devices cannot keep the task's policy.
        MechanismError: when no mechanism for so many devices keeps the task's claim.
    """

    def __init__(self, task: TaskSpec, header: Header, adverts: Mapping[Member, Advert], model: bytes) -> None:
        self._task, self._header, self._model = task, header, model
        members = sorted(adverts, key=lambda member: adverts[member].identity)
        self._index = {member: place for place, member in enumerate(members)}
        self.cohort = Cohort.of(Roster(tuple(adverts[member] for member in members)), header, task)
        self._stage: Stage | None = Stage.SHARE
        self._asked = tuple(members)
        self._replied: set[Member] = set()
        self._answered: set[Member] = set()
        self._encrypted_shares: dict[int, dict[int, EncryptedShares]] = {}
        self._sum = self._empty_sum()
        self._summed: set[int] = set()
        self._told = Survivors(Members(()))
        self.signed_survivors = self._told.signed_survivors
        """What the survivors sign; an empty set before all inputs are in."""
        self.complaints: dict[int, Complaint] = {}
        """The verified complaints, by the holder's place."""
        self.faults: dict[int, tuple[Stage, Fault, str]] = {}
        """What devices did wrong, by place: when it showed, what it was, and the same in words."""
        self.quarrels: frozenset[tuple[int, int]] = frozenset()
        """The places of holder and dealer of the complaints that ended the shard, and show no fault of either."""
        self._complained_of: Counter[int] = Counter()
        self._bad_dealers: frozenset[int] = frozenset()
        self._suspected: frozenset[tuple[int, int]] = frozenset()
        self._consistency_checks: dict[int, bytes] = {}
        self._consistency_tags: dict[int, dict[int, bytes]] = {}
        self._revealed: dict[int, dict[int, bytes]] = defaultdict(dict)

    @property
    def survivors(self) -> Members:
        """The members whose masked vectors are in the sum; none before all inputs are in."""
        return self.signed_survivors.members

    @property
    def consistency_checks(self) -> Mapping[int, bytes]:
        """The survivors' verified signatures over the survivor set, by place."""
        return self._consistency_checks

    @property
    def sum_digest(self) -> bytes:
        """The SHA-256 of the masked sum."""
        return sha256(self._sum.tobytes())

    @property
    def transcript(self) -> str:
        """The hex digest of cohort, survivor set and masked sum: what is about to be unmasked, and nothing else."""
        return total_transcript(self.cohort.consistency_statement(self.signed_survivors), self.sum_digest)

    def requests(self) -> dict[Member, Request]:
        """Return what to send in this stage, by member."""
        common = self._common_part()
        if self._stage is Stage.INPUT:
            return {member: Request(self._shares_for(member), common) for member in self._asked}
        if self._stage is Stage.UNMASK:
            return {member: Request(self._tags_for(member), common) for member in self._asked}
        return dict.fromkeys(self._asked, Request(b"", common))

    def receive(self, member: Member, body: bytes) -> None:
        """Take one device's reply of this stage.

        Raises:
            Rejected: when it is not what the protocol expects; the round goes on without it.
        """
        if member not in self._asked or member in self._replied:
            raise Rejected("a reply that was not asked for, or a second one")
        self._replied.add(member)
        take = {
            Stage.SHARE: self._take_shares,
            Stage.INPUT: self._take_masked,
            Stage.CONSISTENCY: self._take_consistency_check,
            Stage.UNMASK: self._take_revealed,
        }[self._current]
        try:
            take(self._index[member], body)
        except (WireError, SignatureError) as error:
            self._accuse(self._index[member], Fault.REPLY, str(error))
            raise Rejected(str(error)) from error
        self._answered.add(member)

    def advance(self) -> None:
        """Close this stage and prepare the next.

        Raises:
            Aborted: when too few devices are left to go on, when one at fault is in the sum, or when a secret could not
                be recovered; in the last stage the round has been charged by then.
        """
        stage = self._current
        if stage is Stage.INPUT:
            self._settle_complaints()
        if len(self._answered) < (need := self._needed(stage)):
            raise Aborted(f"{stage}: expected at least {need} devices, got {len(self._answered)}")
        self._asked = tuple(member for member in self._asked if member in self._answered)
        self._replied, self._answered = set(), set()
        if stage in (Stage.INPUT, Stage.CONSISTENCY):
            self._require_recoverable(stage)
        if stage is Stage.INPUT:
            self._tell_survivors()
        stages = tuple(Stage)
        self._stage = stages[stages.index(stage) + 1] if stage is not Stage.UNMASK else None

    def total(self) -> Total:
        """Remove the masks, and return the exact sum over the survivors.

        Raises:
            Aborted: before the end of the last stage, or when a secret cannot be recovered from the shares that came.
        """
        if self._stage is not None:
            raise Aborted(f"a total was asked for at stage {self._stage}")
        recovery = self._recovery(self._revealed)
        self._require_shares(recovery, Stage.UNMASK)
        if liars := recovery.liars():
            for dealer in liars:
                self._accuse(
                    dealer, Fault.POLYNOMIAL, "dealt secret shares that do not make up its secret", Stage.UNMASK
                )
            raise Aborted(f"unmask: {self._named(liars)} dealt secret shares that do not make up their secrets")
        words = self._sum.copy()
        add_masks(words, *recovery.seeds())
        sums = unpack(words, self._task.aggregation.modulus_bits, self._task.length)
        cohort = self.cohort.params.cohort
        return Total(sums, cohort, len(self._summed), self._header.rotation, self.transcript)

    # Replies, a stage each.

    def _take_shares(self, me: int, body: bytes) -> None:
        encrypted_shares, params = decode_encrypted_shares(body), self.cohort.params
        expected = params.cohort - 1 if params.complete else params.degree
        if len(encrypted_shares) != expected or me in encrypted_shares or max(encrypted_shares) >= params.cohort:
            raise WireError(f"shares: expected {expected} for other members, got {len(encrypted_shares)}")
        self._encrypted_shares[me] = encrypted_shares

    def _take_masked(self, me: int, body: bytes) -> None:
        words, complaint = decode_masked(body, self._task.aggregation.modulus_bits, self._task.length)
        if complaint:
            self._take_complaint(me, complaint)
        if self._complained_of[me] > self.cohort.params.corrupt:
            raise Rejected("input: of a device that more holders complain of than may be corrupt")
        self._sum += words
        self._summed.add(me)

    def _take_complaint(self, me: int, complaint: Complaint) -> None:
        """Keep a complaint; of one that complains of too many, nothing else is taken.

        Raises:
            WireError: when it names a dealer that gave this device nothing.
            SignatureError: when the device did not sign it.
            Rejected: when it names more dealers than may be corrupt.
        """
        if any(me not in self._encrypted_shares.get(dealer, ()) for dealer in complaint.dealers):
            raise WireError("complaint: of a member that gave this device no shares")
        self.cohort.verify_complaint(me, complaint)
        self.complaints[me] = complaint
        self._complained_of.update(complaint.dealers)
        if len(complaint.dealers) > self.cohort.params.corrupt:
            raise Rejected("input: complains of more dealers than may be corrupt")

    def _take_consistency_check(self, me: int, body: bytes) -> None:
        signature, tags = decode_consistency_check(body)
        self.cohort.verify_consistency(me, self.signed_survivors, signature)
        self._consistency_checks[me], self._consistency_tags[me] = signature, tags

    def _take_revealed(self, me: int, body: bytes) -> None:
        shares = decode_revealed(body)
        for dealer, share in shares.items():
            self._check_share(dealer, me, share)
        for dealer, share in shares.items():
            self._revealed[dealer][me] = share
        if withheld := len(self._held[me] - set(self._refused(me)) - shares.keys()):
            self._accuse(me, Fault.WITHHELD, f"kept back {withheld} of the secret shares that it holds")

    def _check_share(self, dealer: int, holder: int, share: bytes) -> None:
        """Require that a revealed share is what its dealer vouched for.

        Nobody vouches for a dealer's share of its own secret: the recovered secret is checked as a whole.
        """
        if dealer not in self._encrypted_shares or (dealer == holder and not self.cohort.params.complete):
            raise WireError("revealed shares: of a member that distributed none")
        if dealer == holder:
            return
        encrypted_shares = self._encrypted_shares[dealer].get(holder)
        if encrypted_shares is None:
            raise WireError("revealed shares: of a member that gave this device none")
        kind, tag = (
            (b"own", encrypted_shares.own_tag) if dealer in self._summed else (b"mask", encrypted_shares.mask_tag)
        )
        if share_tag(self.cohort.transcript, (dealer, holder), kind, share) != tag:
            raise WireError("revealed shares: one is not what its dealer gave")

    # Between the stages.

    def _settle_complaints(self) -> None:
        """Name those whom the complaints show to be at fault, and require that none of them is in the sum."""
        corrupt = self.cohort.params.corrupt
        verdict = judge({holder: complaint.dealers for holder, complaint in self.complaints.items()}, corrupt)
        for dealer in verdict.dealers:
            self._accuse(dealer, Fault.DEALT, f"more than {corrupt} holders cannot use the secret shares that it dealt")
        for holder in verdict.accusers - verdict.dealers:
            self._accuse(holder, Fault.COMPLAINED, f"complained of more than {corrupt} dealers")
        self._bad_dealers, self._suspected = verdict.dealers, verdict.suspected
        if too_late := sorted(verdict.dealers & self._summed):
            raise Aborted(f"{Stage.INPUT}: {self._named(too_late)} dealt secret shares that holders cannot use")

    def _require_recoverable(self, stage: Stage) -> None:
        """Require that those who are left hold enough usable shares of every secret that will be needed.

        A dealer that somebody complains of is not relied on for a share of its own secret.
        """
        left, unusable = {self._index[member] for member in self._asked}, self._complainers()
        usable = {
            dealer: dict.fromkeys((holders & left) - unusable.get(dealer, frozenset()), b"")
            for dealer, holders in self._holders.items()
        }
        self._require_shares(self._recovery(usable), stage)

    def _require_shares(self, recovery: Recovery, stage: Stage) -> None:
        """Require that no secret is short of shares; where complaints are what is missing, they ended the shard."""
        short = recovery.short()
        if not short:
            return
        self.quarrels = frozenset((holder, dealer) for holder, dealer in self._suspected if dealer in short)
        if guilty := sorted(short.keys() & self._bad_dealers):
            raise Aborted(f"{stage}: {self._named(guilty)} dealt secret shares that holders cannot use")
        need, got = self.cohort.params.threshold, min(short.values())
        raise Aborted(f"{stage}: expected {need} usable shares of each secret, got {got} of one")

    def _recovery(self, shares: Mapping[int, Mapping[int, bytes]]) -> Recovery:
        return Recovery(self.cohort, self._holders, frozenset(self._summed), shares)

    def _complainers(self) -> dict[int, set[int]]:
        """Return who has no usable share of the dealers complained of: those who complain, and the dealer itself."""
        complainers: dict[int, set[int]] = {}
        for holder, complaint in self.complaints.items():
            for dealer in complaint.dealers:
                complainers.setdefault(dealer, {dealer}).add(holder)
        return complainers

    def _needed(self, stage: Stage) -> int:
        match stage:
            case Stage.CONSISTENCY:
                return self.cohort.params.quorum
            case Stage.UNMASK:
                return self.cohort.params.threshold
            case _:
                return self.cohort.params.survivors_required

    def _accuse(self, place: int, fault: Fault, reason: str, stage: Stage | None = None) -> None:
        """Name a device; what it was first found to have done stands."""
        self.faults.setdefault(place, (stage or self._current, fault, reason))

    def _named(self, places: Sequence[int]) -> str:
        """Return the identities of members, for a reason."""
        names = [self.cohort.adverts[place].identity.hex() for place in places[:_NAMED]]
        more = len(places) - len(names)
        return f"devices {', '.join(names)}" + (f" and {more} more" if more else "")

    def _refused(self, holder: int) -> tuple[int, ...]:
        """Return the dealers that a holder complains of."""
        complaint = self.complaints.get(holder)
        return complaint.dealers if complaint else ()

    @cached_property
    def _held(self) -> dict[int, set[int]]:
        """The dealers of whose secrets each member was given a share, itself included in a complete graph."""
        held: dict[int, set[int]] = defaultdict(set)
        for dealer, holders in self._holders.items():
            for holder in holders:
                held[holder].add(dealer)
        return held

    @cached_property
    def _holders(self) -> dict[int, frozenset[int]]:
        """Who was given a share of each dealer's secrets; fixed from the end of the second stage on."""
        itself = self.cohort.params.complete
        return {
            dealer: frozenset(encrypted_shares) | ({dealer} if itself else frozenset())
            for dealer, encrypted_shares in self._encrypted_shares.items()
        }

    def _shares_for(self, member: Member) -> bytes:
        """Return a member's own part of the input request."""
        me = self._index[member]
        encrypted_shares = {
            dealer: by_holder[me] for dealer, by_holder in sorted(self._encrypted_shares.items()) if me in by_holder
        }
        return InputRequest(encrypted_shares, tuple(sorted(self._encrypted_shares)), b"").encode_own()

    def _tags_for(self, member: Member) -> bytes:
        """Return a member's own part of the last request: what the quorum tells it over channels of their own."""
        me, tags = self._index[member], self._consistency_tags
        return encode_consistency_tags({sender: tags[sender][me] for sender in self._quorum if me in tags[sender]})

    @property
    def _quorum(self) -> list[int]:
        """The members whose signatures devices are shown."""
        return sorted(self._consistency_checks)[: self.cohort.params.quorum]

    def _common_part(self) -> bytes:
        """Return what all devices are sent in this stage."""
        match self._current:
            case Stage.SHARE:
                return Roster(self.cohort.adverts).encode()
            case Stage.INPUT:
                return self._model
            case Stage.CONSISTENCY:
                return self._told.encode()
            case _:
                return encode_signatures({member: self._consistency_checks[member] for member in self._quorum})

    def _tell_survivors(self) -> None:
        places = tuple(sorted(self._summed))
        self._told = Survivors(
            Members(places), NeighbourTable.of(self._encrypted_shares, places, self.cohort.params).encode()
        )
        self.signed_survivors = self._told.signed_survivors

    def _empty_sum(self) -> Words:
        bits, length = self._task.aggregation.modulus_bits, self._task.length
        return np.zeros(word_count(bits, length), word_type(bits))

    @property
    def _current(self) -> Stage:
        if self._stage is None:
            raise Aborted("the shard's round is over")
        return self._stage


def total_transcript(statement: bytes, sum_digest: bytes) -> str:
    """Return the hex digest that a shard's charge is bound to; anyone can recompute it from a round's record.

    Args:
        statement: what the survivors signed.
        sum_digest: SHA-256 of the masked sum.
    """
    return sha256(b"havenfl/secagg/total/3", statement, sum_digest).hex()
