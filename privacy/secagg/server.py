"""The server's side of one round: relays keys and shares, folds masked vectors into one sum, removes the masks.

It holds one accumulator of length d whatever the cohort. It learns the sum over the survivors; of a device that
dropped out it learns the pairwise masks, never its self-mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.canonical import sha256
from privacy.secagg.cohort import Cohort, check_advert, repeated_key
from privacy.secagg.errors import Aborted, Rejected, WireError
from privacy.secagg.identity import verify_once
from privacy.secagg.masking import WORD, add_masks
from privacy.secagg.messages import (
    ECHO_DOMAIN,
    HEADER_DOMAIN,
    Advert,
    DealtShares,
    Header,
    InputRequest,
    Invitation,
    Roster,
    Stage,
    Survivors,
    decode_echo,
    decode_masked,
    decode_revealed,
    encode_echoes,
)
from privacy.secagg.params import ParameterError, Parameters
from privacy.secagg.recovery import Recovery
from privacy.signing import SignatureError, Signer
from privacy.states import Total
from privacy.task import TaskSpec, sign_task

Member = int
"""The caller's name for a device, kept apart from its index in the roster."""


class Server:
    """One round. For each `Stage` in order: send `requests()`, give each reply to `receive`, then `advance()`.

    `receive` raises `Rejected` and sets that device aside; `advance` raises `Aborted` when too few are left.
    After the last stage `total()` is the exact sum.
    """

    def __init__(
        self,
        *,
        task: TaskSpec,
        operator: Signer,
        authority_public: bytes,
        round_number: int,
        weights: NDArray[np.float32],
        devices: Sequence[Member],
    ) -> None:
        """
        Args:
            authority_public: Ed25519 public key of the enrolment authority.
            round_number: from 1.
            weights: float32[d], the model that the devices will train.
            devices: whom to invite.
        """
        self._task = task
        self._authority = authority_public
        self._weights = weights.astype("<f4").tobytes()
        self._header = Header(bytes.fromhex(task.id), round_number, sha256(self._weights))
        signature = operator.sign(HEADER_DOMAIN, self._header.encode())
        self._invitation = Invitation(sign_task(task, operator), self._header, signature).encode()
        self.stage: Stage | None = Stage.ADVERTISE
        self._asked = tuple(devices)
        self._answered: set[Member] = set()
        self._adverts: dict[Member, Advert] = {}
        self._index: dict[Member, int] = {}
        self._dealt: dict[int, tuple[bytes, ...]] = {}
        self._sum: NDArray[np.uint32] = np.zeros(task.model.dimension, WORD)
        self._survivors: tuple[int, ...] = ()
        self._echoes: dict[int, bytes] = {}
        self._revealed: dict[int, dict[int, bytes]] = {}

    @property
    def parameters(self) -> Parameters:
        """Thresholds of the cohort; known once keys are advertised."""
        return self._cohort.params

    @property
    def transcript(self) -> str:
        """Hex digest of cohort, survivor set and masked sum: what is about to be unmasked, and nothing else."""
        survivors = Survivors(self._survivors).signed_part(self._cohort.transcript)
        return sha256(b"havenfl/secagg/total/1", survivors, sha256(self._sum.tobytes())).hex()

    def requests(self) -> dict[Member, bytes]:
        """What to send to whom in this stage."""
        if self._current is Stage.INPUT:
            return {member: self._input_request(member) for member in self._asked}
        return dict.fromkeys(self._asked, self._common_request())

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
        need = self.parameters.threshold if stage in {Stage.ECHO, Stage.UNMASK} else self.parameters.survivors_required
        if len(self._answered) < need:
            raise Aborted(f"{stage}: expected at least {need} devices, got {len(self._answered)}")
        self._survivors = tuple(sorted(self._survivors))
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
        recovery = Recovery(self._cohort, tuple(sorted(self._dealt)), self._survivors, self._revealed)
        transcript = self.transcript
        total = self._sum.copy()
        add_masks(total, *recovery.seeds())
        return Total(total, self.parameters.cohort, len(self._survivors), transcript)

    # Replies, a stage each.

    def _take_advert(self, member: Member, body: bytes) -> None:
        advert = Advert.decode(body)
        check_advert(advert, self._header, self._task.population, self._authority)
        if advert.identity in {other.identity for other in self._adverts.values()}:
            raise Rejected("an identity that has advertised already")
        if repeated_key((*self._adverts.values(), advert)):
            raise Rejected("a public key that another device has advertised")
        self._adverts[member] = advert

    def _take_shares(self, member: Member, body: bytes) -> None:
        dealt = DealtShares.decode(body).sealed
        if len(dealt) != self.parameters.cohort - 1:
            raise WireError(f"shares: expected {self.parameters.cohort - 1}, got {len(dealt)}")
        self._dealt[self._index[member]] = dealt

    def _take_masked(self, member: Member, body: bytes) -> None:
        self._sum += decode_masked(body, self._sum.size)
        self._survivors = (*self._survivors, self._index[member])

    def _take_echo(self, member: Member, body: bytes) -> None:
        signature, index = decode_echo(body), self._index[member]
        signed = Survivors(self._survivors).signed_part(self._cohort.transcript)
        verify_once(self._cohort.adverts[index].identity, ECHO_DOMAIN, signed, signature)
        self._echoes[index] = signature

    def _take_revealed(self, member: Member, body: bytes) -> None:
        shares = decode_revealed(body)
        if not set(shares) <= set(self._dealt):
            raise WireError("revealed shares: a member that dealt none")
        self._revealed[self._index[member]] = shares

    # Between the stages.

    def _settle_cohort(self) -> None:
        members = sorted(self._adverts, key=lambda member: self._adverts[member].identity)
        self._index = {member: place for place, member in enumerate(members)}
        roster = Roster(tuple(self._adverts[member] for member in members))
        try:
            self._cohort = Cohort.of(roster, self._header, self._task)
        except ParameterError as error:
            raise Aborted(f"{Stage.ADVERTISE}: {error}") from error

    def _input_request(self, member: Member) -> bytes:
        """What each dealer sealed for this member: dealers skip themselves, so places above them shift by one."""
        me = self._index[member]
        sealed = {dealer: boxes[me - (me > dealer)] for dealer, boxes in self._dealt.items() if dealer != me}
        return InputRequest(sealed, self._weights).encode()

    def _common_request(self) -> bytes:
        """The request of a stage in which all devices are sent the same."""
        match self._current:
            case Stage.ADVERTISE:
                return self._invitation
            case Stage.SHARE:
                return Roster(self._cohort.adverts).encode()
            case Stage.ECHO:
                return Survivors(self._survivors).encode()
            case _:
                return encode_echoes(self._echoes)

    @property
    def _current(self) -> Stage:
        if self.stage is None:
            raise Aborted("the round is over")
        return self.stage
