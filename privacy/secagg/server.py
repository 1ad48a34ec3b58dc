"""The server's side of one shard of one round: relays keys and shares, folds masked vectors into one sum, unmasks it.

It holds one accumulator whatever the cohort. It learns the sum over the survivors; of a device that dropped out it
learns the pairwise masks, never its self-mask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.canonical import sha256
from privacy.mechanism import MechanismError
from privacy.secagg.cohort import Admission, Cohort, repeated_key, verify_advert
from privacy.secagg.errors import Aborted, Rejected, WireError
from privacy.secagg.identity import Revocations
from privacy.secagg.keys import share_tag
from privacy.secagg.masking import add_masks
from privacy.secagg.messages import (
    HEADER_DOMAIN,
    Advert,
    Dealt,
    Header,
    InputRequest,
    Invitation,
    Members,
    Roster,
    Stage,
    decode_dealt,
    decode_echo,
    decode_masked,
    decode_revealed,
    encode_echoes,
)
from privacy.secagg.packing import Words, unpack, word_count, word_type
from privacy.secagg.params import ParameterError, Parameters
from privacy.secagg.recovery import Recovery
from privacy.signing import SignatureError, Signer
from privacy.states import Total
from privacy.task import TaskSpec, sign_task

Member = int
"""The caller's name for a device, kept apart from its place in the roster."""


@dataclass(frozen=True)
class Request:
    """What one device is sent; many requests share one object for the part that they have in common."""

    own: bytes = field(repr=False)
    common: bytes = field(repr=False)

    @property
    def body(self) -> bytes:
        """What the device takes."""
        return self.own + self.common


@dataclass(frozen=True)
class Convener:
    """Who calls a round: the operator's key, the authority's public one, and its list of revoked devices."""

    operator: Signer
    authority_public: bytes
    revocations: Revocations


class Server:
    """One shard. For each `Stage` in order: send `requests()`, give each reply to `receive`, then `advance()`.

    `receive` raises `Rejected` and sets that device aside; `advance` raises `Aborted` when too few are left.
    After the last stage `total()` is the exact sum.
    """

    def __init__(
        self,
        *,
        task: TaskSpec,
        convener: Convener,
        round_number: int,
        weights: NDArray[np.float32],
        devices: Sequence[Member],
        now: int,
        shard: int = 0,
    ) -> None:
        """
        Args:
            round_number: from 1.
            weights: float32[d], the model that the devices will train.
            devices: whom to invite.
            now: Unix time in seconds; certificates and the revocation list are judged by it.
        """
        self._task = task
        self._admission = Admission(task.population, convener.authority_public, convener.revocations, now)
        self._weights = weights.astype("<f4").tobytes()
        self.header = Header(bytes.fromhex(task.id), round_number, shard, sha256(self._weights))
        signature = convener.operator.sign(HEADER_DOMAIN, self.header.encode())
        signed_task = sign_task(task, convener.operator)
        self._invitation = Invitation(signed_task, self.header, signature, convener.revocations).encode()
        self.stage: Stage | None = Stage.ADVERTISE
        self._asked = tuple(devices)
        self._answered: set[Member] = set()
        self._adverts: dict[Member, Advert] = {}
        self._index: dict[Member, int] = {}
        self._dealt: dict[int, dict[int, Dealt]] = {}
        self._sum = self._empty_sum()
        self._survivors: list[int] = []
        self._echoes: dict[int, bytes] = {}
        self._revealed: dict[int, dict[int, bytes]] = defaultdict(dict)

    @property
    def parameters(self) -> Parameters:
        """Thresholds of the cohort; known once keys are advertised."""
        return self.cohort.params

    @property
    def survivors(self) -> Members:
        """The members whose masked vectors are in the sum so far."""
        return Members(tuple(sorted(self._survivors)))

    @property
    def echoes(self) -> Mapping[int, bytes]:
        """The survivors' signatures over the survivor set, by place."""
        return self._echoes

    @property
    def sum_digest(self) -> bytes:
        """SHA-256 of the masked sum."""
        return sha256(self._sum.tobytes())

    @property
    def transcript(self) -> str:
        """Hex digest of cohort, survivor set and masked sum: what is about to be unmasked, and nothing else."""
        return total_transcript(self.cohort.transcript, self.survivors, self.sum_digest)

    def requests(self) -> dict[Member, Request]:
        """What to send to whom in this stage."""
        common = self._common_part()
        if self._current is Stage.INPUT:
            return {member: Request(self._dealt_to(member), common) for member in self._asked}
        return dict.fromkeys(self._asked, Request(b"", common))

    def receive(self, member: Member, body: bytes) -> None:
        """Take one device's reply of this stage.

        Raises:
            Rejected: when it is not what the protocol expects; the round goes on without it.
        """
        if member not in self._asked or member in self._answered:
            raise Rejected("a reply that was not asked for, or a second one")
        take = {
            Stage.ADVERTISE: self._take_advert,
            Stage.SHARE: self._take_shares,
            Stage.INPUT: self._take_masked,
            Stage.ECHO: self._take_echo,
            Stage.UNMASK: self._take_revealed,
        }[self._current]
        try:
            take(member, body)
        except (WireError, SignatureError) as error:
            raise Rejected(str(error)) from error
        self._answered.add(member)

    def advance(self) -> None:
        """Close this stage and prepare the next.

        Raises:
            Aborted: when too few devices are left to go on; nothing has been revealed before the last stage.
        """
        stage = self._current
        if stage is Stage.ADVERTISE:
            self._settle_cohort()
        if len(self._answered) < (need := self._needed(stage)):
            raise Aborted(f"{stage}: expected at least {need} devices, got {len(self._answered)}")
        self._asked = tuple(member for member in self._asked if member in self._answered)
        self._answered = set()
        stages = tuple(Stage)
        self.stage = stages[stages.index(stage) + 1] if stage is not Stage.UNMASK else None

    def total(self) -> Total:
        """Remove the masks: the exact sum over the survivors.

        Raises:
            Aborted: when a secret cannot be recovered from the shares that came.
        """
        if self.stage is not None:
            raise Aborted(f"a total was asked for at stage {self.stage}")
        survivors, transcript = frozenset(self._survivors), self.transcript
        recovery = Recovery(self.cohort, self._holders(), survivors, self._revealed)
        words = self._sum.copy()
        add_masks(words, *recovery.seeds())
        sums = unpack(words, self._task.aggregation.modulus_bits, self._task.length)
        return Total(sums, self.parameters.cohort, len(survivors), self.header.rotation, transcript)

    # Replies, a stage each.

    def _take_advert(self, member: Member, body: bytes) -> None:
        advert = Advert.decode(body)
        self._admission.check(advert)
        verify_advert(advert, self.header)
        if advert.identity in {other.identity for other in self._adverts.values()}:
            raise Rejected("an identity that has advertised already")
        if repeated_key((*self._adverts.values(), advert)):
            raise Rejected("a public key that another device has advertised")
        self._adverts[member] = advert

    def _take_shares(self, member: Member, body: bytes) -> None:
        dealt, me, params = decode_dealt(body), self._index[member], self.parameters
        expected = params.cohort - 1 if params.complete else params.degree
        if len(dealt) != expected or me in dealt or max(dealt) >= params.cohort:
            raise WireError(f"shares: expected {expected} for other members, got {len(dealt)}")
        self._dealt[me] = dealt

    def _take_masked(self, member: Member, body: bytes) -> None:
        self._sum += decode_masked(body, self._task.aggregation.modulus_bits, self._task.length)
        self._survivors.append(self._index[member])

    def _take_echo(self, member: Member, body: bytes) -> None:
        signature, index = decode_echo(body), self._index[member]
        self.cohort.verify_echo(index, self.survivors, signature)
        self._echoes[index] = signature

    def _take_revealed(self, member: Member, body: bytes) -> None:
        shares, me = decode_revealed(body), self._index[member]
        for dealer, share in shares.items():
            self._check_share(dealer, me, share)
        for dealer, share in shares.items():
            self._revealed[dealer][me] = share

    def _check_share(self, dealer: int, holder: int, share: bytes) -> None:
        """A dealer's own share of its own secret nobody vouches for: the recovered secret is checked as a whole."""
        if dealer not in self._dealt or (dealer == holder and not self.parameters.complete):
            raise WireError("revealed shares: of a member that dealt none")
        if dealer == holder:
            return
        dealt = self._dealt[dealer].get(holder)
        if dealt is None:
            raise WireError("revealed shares: of a member that dealt this device none")
        kind, tag = (b"own", dealt.own_tag) if dealer in self._survivors else (b"mask", dealt.mask_tag)
        if share_tag(self.cohort.transcript, (dealer, holder), kind, share) != tag:
            raise WireError("revealed shares: one is not what its dealer gave")

    # Between the stages.

    def _settle_cohort(self) -> None:
        members = sorted(self._adverts, key=lambda member: self._adverts[member].identity)
        self._index = {member: place for place, member in enumerate(members)}
        roster = Roster(tuple(self._adverts[member] for member in members))
        try:
            self.cohort = Cohort.of(roster, self.header, self._task)
        except (ParameterError, MechanismError) as error:
            raise Aborted(f"{Stage.ADVERTISE}: {error}") from error

    def _needed(self, stage: Stage) -> int:
        match stage:
            case Stage.ECHO:
                return self.parameters.quorum
            case Stage.UNMASK:
                return self.parameters.threshold
            case _:
                return self.parameters.survivors_required

    def _holders(self) -> dict[int, frozenset[int]]:
        itself = self.parameters.complete
        return {
            dealer: frozenset(dealt) | ({dealer} if itself else frozenset()) for dealer, dealt in self._dealt.items()
        }

    def _dealt_to(self, member: Member) -> bytes:
        me = self._index[member]
        dealt = {dealer: boxes[me] for dealer, boxes in sorted(self._dealt.items()) if me in boxes}
        return InputRequest(dealt, (), b"").encode_own()

    def _common_part(self) -> bytes:
        """What all devices are sent in this stage."""
        match self._current:
            case Stage.ADVERTISE:
                return self._invitation
            case Stage.SHARE:
                return Roster(self.cohort.adverts).encode()
            case Stage.INPUT:
                return InputRequest({}, tuple(sorted(self._dealt)), self._weights).encode_common()
            case Stage.ECHO:
                return self.survivors.encode()
            case Stage.UNMASK:
                return encode_echoes(self._echoes)

    def _empty_sum(self) -> Words:
        bits, length = self._task.aggregation.modulus_bits, self._task.length
        return np.zeros(word_count(bits, length), word_type(bits))

    @property
    def _current(self) -> Stage:
        if self.stage is None:
            raise Aborted("the round is over")
        return self.stage


def total_transcript(cohort: bytes, survivors: Members, sum_digest: bytes) -> str:
    """Hex digest that a shard's charge is bound to: anyone can recompute it from a round's record."""
    return sha256(b"havenfl/secagg/total/2", survivors.signed_part(cohort), sum_digest).hex()
