"""The server's side of one round: invites a cohort, splits it into shards by lot, and adds up each shard.

It learns the sum over each shard's survivors; of a device that dropped out it learns the pairwise masks, never its
self-mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from privacy.base.canonical import sha256
from privacy.base.signing import SignatureError, Signer
from privacy.mechanism.mechanism import MechanismError
from privacy.secagg.cohort import Admission, verify_advert
from privacy.secagg.errors import Aborted, Rejected, WireError
from privacy.secagg.membership.identity import Revocations
from privacy.secagg.membership.params import ParameterError
from privacy.secagg.messages import HEADER_DOMAIN, Advert, Header, InputRequest, Invitation, Stage
from privacy.secagg.primitives.keys import LowOrderKey, canonical, require_usable
from privacy.secagg.server.blame import Blame, Culprit, Party
from privacy.secagg.server.shard import Member, Request, Shard
from privacy.task.states import Total
from privacy.task.task import TaskSpec, sign_task

EXPIRY_SLACK_S = 900
"""How long a certificate has to last for its device to be in a round, in seconds.

Each member judges all certificates by its own clock, and stops at one that has ended: one device whose certificate ends
soon, and clocks that are a little ahead, would otherwise end the round for everybody.
"""


@dataclass(frozen=True)
class RoundAuthority:
    """Who calls a round: the operator, with what the enrolment authority has given it.

    Attributes:
        operator: the operator's signing key.
        authority_public: the authority's Ed25519 public key.
        revocations: the authority's newest list of devices that may no longer take part.
    """

    operator: Signer
    authority_public: bytes
    revocations: Revocations


class Server:
    """The server's state machine of one round.

    For each `Stage` in order: send `requests()`, give each reply to `receive`, then `advance()`. `receive` raises
    `Rejected` and sets that device aside. A shard with too few devices left ends there, and `advance` raises `Aborted`
    when none is left. After the last stage `totals()` are the exact sums.

    Args:
        task: the task of the round.
        round_authority: who calls the round.
        round_number: from 1.
        weights: float32[d], the model that the devices will train.
        clip: L2 bound of an update in this round: the task's, or what it has adapted to.
        devices: whom to invite.
        now: Unix time in seconds; certificates are judged by it.
        excluded: identities that are left out for now, whoever presents them.

    Raises:
        SignatureError: when the revocation list is not the authority's or out of date: no device would answer.
    """

    def __init__(
        self,
        *,
        task: TaskSpec,
        round_authority: RoundAuthority,
        round_number: int,
        weights: NDArray[np.float32],
        clip: float,
        devices: Sequence[Member],
        now: int,
        excluded: frozenset[bytes] = frozenset(),
    ) -> None:
        self._task = task
        self._excluded = excluded
        self._admission = Admission(task.population, round_authority.authority_public, round_authority.revocations, now)
        self._admission.check_list()
        self._lasting = replace(self._admission, now=now + EXPIRY_SLACK_S)
        flat = weights.astype("<f4").tobytes()
        self._model = InputRequest.encode_model(flat)
        self.header = Header(bytes.fromhex(task.id), round_number, sha256(flat), clip)
        signature = round_authority.operator.sign(HEADER_DOMAIN, self.header.encode())
        signed_task = sign_task(task, round_authority.operator)
        self._invitation = Invitation(signed_task, self.header, signature, round_authority.revocations).encode()
        self.stage: Stage | None = Stage.ADVERTISE
        self._invited = frozenset(devices)
        self._adverts: dict[Member, Advert] = {}
        self._keys: set[bytes] = set()
        self._shards: dict[int, Shard] = {}
        self._formed: dict[int, Shard] = {}
        self._shard_of: dict[Member, int] = {}
        self.ended: dict[int, str] = {}
        """Why shards ended early, by their number."""

    @property
    def shards(self) -> dict[int, Shard]:
        """The shards that have not ended early, by number; none before the cohort is known."""
        return self._shards

    @property
    def formed(self) -> Mapping[int, Shard]:
        """All shards there ever were in this round, by number."""
        return self._formed

    @property
    def blame(self) -> Blame:
        """What the round has shown of its devices so far, shards that ended included."""
        culprits, quarrels = list[Culprit](), list[tuple[Party, Party]]()
        members = {advert.identity: member for member, advert in self._adverts.items()}
        for number, shard in self._formed.items():
            adverts = shard.cohort.adverts
            parties = [Party(members[advert.identity], advert.identity) for advert in adverts]
            for place, (stage, fault, reason) in sorted(shard.faults.items()):
                member, certificate = parties[place].member, adverts[place].certificate
                culprits.append(Culprit(member, certificate, number, place, stage, fault, reason))
            quarrels += [(parties[holder], parties[dealer]) for holder, dealer in sorted(shard.quarrels)]
        return Blame(tuple(culprits), tuple(quarrels))

    @property
    def transcripts(self) -> list[str]:
        """The hex digests of what each shard is about to unmask."""
        return [shard.transcript for shard in self._shards.values()]

    def requests(self) -> dict[Member, Request]:
        """Return what to send in this stage, by member."""
        if self._current is Stage.ADVERTISE:
            return dict.fromkeys(sorted(self._invited), Request(b"", self._invitation))
        return {member: request for shard in self._shards.values() for member, request in shard.requests().items()}

    def receive(self, member: Member, body: bytes) -> None:
        """Take one device's reply of this stage.

        Raises:
            Rejected: when it is not what the protocol expects; the round goes on without it.
        """
        if self._current is Stage.ADVERTISE:
            self._take_advert(member, body)
            return
        shard = self._shards.get(self._shard_of.get(member, -1))
        if shard is None:
            raise Rejected("a reply that was not asked for")
        shard.receive(member, body)

    def advance(self) -> None:
        """Close this stage and prepare the next.

        Raises:
            Aborted: when no shard can go on; in the last stage the round has been charged by then.
        """
        stage = self._current
        if stage is Stage.ADVERTISE:
            self._settle_shards()
        else:
            for number, shard in list(self._shards.items()):
                try:
                    shard.advance()
                except Aborted as error:
                    self._end(number, str(error))
        stages = tuple(Stage)
        self.stage = stages[stages.index(stage) + 1] if stage is not Stage.UNMASK else None
        self._require_shards()

    def totals(self) -> list[Total]:
        """Return the exact sum over the survivors of each shard that came to its end.

        Raises:
            Aborted: before the end of the last stage, or when no shard came to its end.
        """
        if self.stage is not None:
            raise Aborted(f"a total was asked for at stage {self.stage}")
        totals = []
        for number, shard in list(self._shards.items()):
            try:
                totals.append(shard.total())
            except Aborted as error:
                self._end(number, str(error))
        self._require_shards()
        return totals

    def _take_advert(self, member: Member, body: bytes) -> None:
        if member not in self._invited or member in self._adverts:
            raise Rejected("a reply that was not asked for, or a second one")
        try:
            advert = Advert.decode(body)
            self._lasting.check(advert)
            verify_advert(advert, self.header)
            if advert.identity in self._excluded:
                raise Rejected("left out for what it did in an earlier round")
            require_usable(advert.certificate.agreement)
            require_usable(advert.mask_public)
        except (WireError, SignatureError, LowOrderKey) as error:
            raise Rejected(str(error)) from error
        public_keys = {advert.identity, canonical(advert.certificate.agreement), canonical(advert.mask_public)}
        if public_keys & self._keys:
            raise Rejected("an identity or a public key that has been advertised already")
        self._keys |= public_keys
        self._adverts[member] = advert

    def _settle_shards(self) -> None:
        count = self._task.aggregation.shards
        lots = {member: self.header.shard_of(advert.certificate, count) for member, advert in self._adverts.items()}
        for number in range(count):
            adverts = {member: self._adverts[member] for member, lot in lots.items() if lot == number}
            try:
                self._shards[number] = self._formed[number] = Shard(self._task, self.header, adverts, self._model)
            except (ParameterError, MechanismError) as error:
                self._end(number, f"{Stage.ADVERTISE}: {error}")
        self._shard_of = lots

    def _end(self, number: int, reason: str) -> None:
        self._shards.pop(number, None)
        self.ended[number] = reason

    def _require_shards(self) -> None:
        if not self._shards:
            raise Aborted("; ".join(sorted(set(self.ended.values()))))

    @property
    def _current(self) -> Stage:
        if self.stage is None:
            raise Aborted("the round is over")
        return self.stage
