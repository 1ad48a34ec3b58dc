"""The server's side of one shard, from its roster on: relays secret shares, adds up masked vectors, unmasks the sum.

It holds one accumulator whatever the cohort.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from privacy.base.canonical import sha256
from privacy.base.signing import SignatureError
from privacy.secagg.cohort import Cohort
from privacy.secagg.errors import Aborted, Rejected, WireError
from privacy.secagg.membership.graph import NeighbourTable
from privacy.secagg.messages import (
    Advert,
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
    encode_consistency_checks,
)
from privacy.secagg.primitives import keys, shamir
from privacy.secagg.primitives.keys import share_tag
from privacy.secagg.primitives.masking import Words, add_masks, unpack, word_count, word_type
from privacy.task.states import Total
from privacy.task.task import TaskSpec


@dataclass(frozen=True)
class Recovery:
    """Secrets of the dealers, checked against what they advertised.

    Attributes:
        cohort: the shard's cohort.
        holders: places of those who hold each dealer's secret shares, by dealer; in a complete graph its own too.
        survivors: places of those dealers whose masked vectors are in the sum.
        shares: secret shares that came, by dealer, then holder; each is what its dealer vouched for.
    """

    cohort: Cohort
    holders: Mapping[int, frozenset[int]]
    survivors: frozenset[int]
    shares: Mapping[int, Mapping[int, bytes]] = field(repr=False)

    def seeds(self) -> tuple[list[bytes], list[bytes]]:
        """Return the seeds of masks to add and to subtract, so that only the survivors' inputs stay.

        Raises:
            Aborted: when a dealer's secret cannot be recovered, naming the dealer by its place.
        """
        add: list[bytes] = []
        survivors = sorted(self.survivors)
        own = self._secrets(survivors, self._is_self_mask_secret)
        subtract = [keys.self_mask_seed(own[survivor], self.cohort.transcript, survivor) for survivor in survivors]
        dropped = [dealer for dealer in sorted(set(self.holders) - self.survivors) if self._partners(dealer)]
        for dealer, secret in self._secrets(dropped, self._is_mask_key).items():
            for survivor, seed in self._pair_seeds(dealer, keys.KeyPair(secret)):
                # The survivor added this mask if its place is the lower one.
                (subtract if survivor < dealer else add).append(seed)
        return add, subtract

    def _pair_seeds(self, dropped: int, pair: keys.KeyPair) -> Iterator[tuple[int, bytes]]:
        for survivor in self._partners(dropped):
            shared = pair.agree(self.cohort.adverts[survivor].mask_public)
            yield survivor, keys.pair_mask_seed(shared, self.cohort.transcript, dropped, survivor)

    def _partners(self, dropped: int) -> list[int]:
        """Return the survivors that masked with a dropped dealer: either holds a secret share of the other."""
        holders = self.holders[dropped]
        return sorted(
            survivor for survivor in self.survivors if survivor in holders or dropped in self.holders[survivor]
        )

    def _secrets(self, dealers: Sequence[int], fits: Callable[[int, bytes], bool]) -> dict[int, bytes]:
        threshold = self.cohort.params.threshold
        given = {dealer: self._usable(dealer, threshold) for dealer in dealers}
        secrets = dict(zip(dealers, shamir.combine(list(given.values()), threshold), strict=True))
        liars = [dealer for dealer, secret in secrets.items() if not fits(dealer, secret)]
        if liars:
            raise Aborted(f"unmask: members {liars} distributed shares that do not make up their secrets")
        return secrets

    def _usable(self, dealer: int, threshold: int) -> Mapping[int, bytes]:
        """Return shares of a dealer's secret, its own one only where the others are too few: nobody vouches for it."""
        shares = self.shares.get(dealer, {})
        others = {holder: share for holder, share in shares.items() if holder != dealer}
        if len(shares) < threshold:
            raise Aborted(f"unmask: expected {threshold} shares of member {dealer}'s secret, got {len(shares)}")
        return others if len(others) >= threshold else shares

    def _is_self_mask_secret(self, dealer: int, secret: bytes) -> bool:
        advert = self.cohort.adverts[dealer]
        return keys.commitment(secret, advert.identity) == advert.commitment

    def _is_mask_key(self, dealer: int, secret: bytes) -> bool:
        return keys.KeyPair(secret).public == self.cohort.adverts[dealer].mask_public


Member = int
"""The caller's name for a device, kept apart from its place in the roster."""


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
        self._answered: set[Member] = set()
        self._encrypted_shares: dict[int, dict[int, EncryptedShares]] = {}
        self._sum = self._empty_sum()
        self._summed: set[int] = set()
        self._told = Survivors(Members(()))
        self.signed_survivors = self._told.signed_survivors
        """What the survivors sign; an empty set before all inputs are in."""
        self._consistency_checks: dict[int, bytes] = {}
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
        return dict.fromkeys(self._asked, Request(b"", common))

    def receive(self, member: Member, body: bytes) -> None:
        """Take one device's reply of this stage.

        Raises:
            Rejected: when it is not what the protocol expects; the round goes on without it.
        """
        if member not in self._asked or member in self._answered:
            raise Rejected("a reply that was not asked for, or a second one")
        take = {
            Stage.SHARE: self._take_shares,
            Stage.INPUT: self._take_masked,
            Stage.CONSISTENCY: self._take_consistency_check,
            Stage.UNMASK: self._take_revealed,
        }[self._current]
        try:
            take(self._index[member], body)
        except (WireError, SignatureError) as error:
            raise Rejected(str(error)) from error
        self._answered.add(member)

    def advance(self) -> None:
        """Close this stage and prepare the next.

        Raises:
            Aborted: when too few devices are left to go on; in the last stage the round has been charged by then.
        """
        stage = self._current
        if len(self._answered) < (need := self._needed(stage)):
            raise Aborted(f"{stage}: expected at least {need} devices, got {len(self._answered)}")
        self._asked = tuple(member for member in self._asked if member in self._answered)
        self._answered = set()
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
        recovery = Recovery(self.cohort, self._holders(), frozenset(self._summed), self._revealed)
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
        self._sum += decode_masked(body, self._task.aggregation.modulus_bits, self._task.length)
        self._summed.add(me)

    def _take_consistency_check(self, me: int, body: bytes) -> None:
        signature = decode_consistency_check(body)
        self.cohort.verify_consistency(me, self.signed_survivors, signature)
        self._consistency_checks[me] = signature

    def _take_revealed(self, me: int, body: bytes) -> None:
        shares = decode_revealed(body)
        for dealer, share in shares.items():
            self._check_share(dealer, me, share)
        for dealer, share in shares.items():
            self._revealed[dealer][me] = share

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

    def _needed(self, stage: Stage) -> int:
        match stage:
            case Stage.CONSISTENCY:
                return self.cohort.params.quorum
            case Stage.UNMASK:
                return self.cohort.params.threshold
            case _:
                return self.cohort.params.survivors_required

    def _holders(self) -> dict[int, frozenset[int]]:
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
                return encode_consistency_checks(
                    dict(sorted(self._consistency_checks.items())[: self.cohort.params.quorum])
                )

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
