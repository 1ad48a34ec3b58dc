"""The device's side of one round.

Threat model: a server that lies, together with up to `corrupt_fraction` of the cohort. Before it sends anything a
device checks what it was sent; after the first check that fails it has wiped its keys and never answers again in this
round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from privacy.base.canonical import sha256
from privacy.base.randomness import Randomness, require_origin
from privacy.base.signing import SignatureError
from privacy.mechanism.mechanism import Mechanism, MechanismError
from privacy.secagg.client.distribution import ShareDistribution
from privacy.secagg.client.seen import LIST_LEAP, Seen
from privacy.secagg.client.state import OwnSecrets, RoundState
from privacy.secagg.cohort import Admission, Cohort, admit
from privacy.secagg.errors import Refused, WireError
from privacy.secagg.membership.graph import NeighbourTable
from privacy.secagg.membership.identity import Certificate, PolicyError, Revocations, Trust, verify_once
from privacy.secagg.membership.params import ParameterError
from privacy.secagg.messages import (
    ADVERT_DOMAIN,
    COMPLAINT_DOMAIN,
    CONSISTENCY_DOMAIN,
    HEADER_DOMAIN,
    Advert,
    Complaint,
    InputRequest,
    Invitation,
    Roster,
    Stage,
    Survivors,
    decode_consistency_checks,
    encode_consistency_check,
    encode_encrypted_shares,
    encode_masked,
    encode_revealed,
)
from privacy.secagg.primitives import keys, shamir
from privacy.secagg.primitives.keys import Agreements, DeviceKeys, LowOrderKey
from privacy.secagg.primitives.masking import add_masks, pack
from privacy.task.states import Encoded
from privacy.task.task import TaskError, TaskSpec, open_task

_T = TypeVar("_T")

_NO = (WireError, SignatureError, TaskError, PolicyError, ParameterError, MechanismError, LowOrderKey)


class Client:
    """One device in one round: `advertise`, `share`, `open_input`, `masked_input`, `check_consistency` and `unmask`.

    They are called in this order. Each takes the server's request and gives the reply. The caller remembers durably
    what `advertise` has `Seen`, also across restarts.

    Args:
        own: the device's keys.
        certificate: the authority's word on them.
        trust: the keys and the policy that are pinned in the device.
        agreements: the device's secrets with others, kept from round to round for speed.

    Raises:
        Refused: by every method that takes a request, with the reason, when it is not what an honest server would send;
            the device has then wiped its keys, and refuses whatever else comes in this round.
    """

    def __init__(self, own: DeviceKeys, certificate: Certificate, trust: Trust, agreements: Agreements) -> None:
        self._own = own
        self._certificate = certificate
        self._trust = trust
        self._agreements = agreements
        self._state: RoundState | None = None
        self._over = False

    def __repr__(self) -> str:
        return f"Client(stage={self._state.stage if self._state else 'wiped' if self._over else Stage.ADVERTISE})"

    @property
    def task(self) -> TaskSpec:
        """The task of the round that this device is in."""
        return self._live.task

    @property
    def round(self) -> int:
        """The number of the round that this device is in."""
        return self._live.header.round

    @property
    def expects(self) -> Stage | None:
        """The stage whose request comes next; None when there is no round, or it is over."""
        return self._state.stage if self._state else None

    @property
    def rotation(self) -> bytes:
        """The public seed of this round's rotation, 32 bytes."""
        return self._live.header.rotation

    @property
    def mechanism(self) -> Mechanism:
        """The mechanism that encodes the update, as this device has computed it from task and cohort."""
        return self._enter_with_cohort(Stage.INPUT)[1].mechanism

    def snapshot(self) -> bytes:
        """Return the round's state, secrets in the clear; empty when there is none."""
        return self._state.encode() if self._state else b""

    def durable(self) -> bytes:
        """Return as much of the round as may be kept on a disk; empty when there is none.

        A copy of a disk can be put back. Before its input is made, a round's own secrets would let such a copy deal
        them to another cohort, or mask another update with them; so no copy may have them, and what is returned only
        tells this round from others. Once it is made, the state is without them.
        """
        if self._state is None:
            return b""
        return self._state.encode() if self._state.own is None else self._state.mark()

    def resume(self, snapshot: bytes) -> None:
        """Take up a round where `snapshot` left it.

        Raises:
            WireError: when the bytes are no such state.
            TaskError: when its task is not the operator's.
        """
        self._state = RoundState.decode(snapshot, self._trust.operator) if snapshot else None

    def open_task(self, request: bytes) -> TaskSpec:
        """Return the task of an invitation, verified to be the operator's, before any key is made."""
        return self._verified_task(self._parse(Invitation.decode, request))

    def advertise(self, request: bytes, seen: Seen, now: int, rng: Randomness) -> tuple[bytes, Seen]:
        """Check an invitation, and make this device's keys for the round.

        Args:
            request: the invitation.
            seen: what the device remembers of earlier rounds of this task.
            now: Unix time in seconds; where it is behind what was seen before, that counts.
            rng: source of the keys.

        Returns:
            The keys, signed by the certified identity; and what to remember durably before they are sent.

        Raises:
            RandomnessError: when the source is not the one that the task promises.
        """
        self._require(self._state is None and not self._over, "a second invitation to the same round")
        invitation = self._parse(Invitation.decode, request)
        self._require(now >= 0, f"this device's clock is before 1970, at {now} s")
        now = max(now, seen.time)
        task = self._check_invitation(invitation, seen, now)
        require_origin(task.randomness, rng)
        self._state = RoundState(
            Stage.SHARE,
            invitation.signed_task,
            task,
            invitation.header,
            invitation.revocations,
            now,
            OwnSecrets(self._own.pair(rng.token(keys.KEY_BYTES)), rng.token(shamir.SECRET_BYTES)),
        )
        revocations = invitation.revocations
        rounds = seen.rounds.adding(invitation.header.round)
        return self._own_advert(self._state).encode(), Seen(rounds, revocations.number, revocations.digest, now)

    def share(self, request: bytes, rng: Randomness) -> bytes:
        """Check the roster, and return Shamir shares of both secrets, encrypted for each of this device's holders.

        Raises:
            RandomnessError: when the source is not the one that the task promises.
        """
        state = self._enter(Stage.SHARE)
        require_origin(state.task.randomness, rng)
        cohort = state.cohort = self._check_roster(state, self._parse(Roster.decode, request))
        encrypted_shares = self._attempt(lambda: self._distribution(state, cohort).distribute(rng))
        state.stage = Stage.INPUT
        return encode_encrypted_shares(encrypted_shares)

    def open_input(self, request: bytes) -> NDArray[np.float32]:
        """Take in the secret shares that this device is to hold, and return the model to train: float32[d]."""
        state, cohort = self._enter_with_cohort(Stage.INPUT)
        self._require(not state.dealers, "a second input request")
        message = self._parse(InputRequest.decode, request)
        me, dealers = cohort.index(self._own.identity.public), set(message.dealers)
        self._require(me in dealers, "the server says that this device distributed no shares")
        self._require(max(dealers) < cohort.params.cohort, "shares from outside the cohort")
        self._require(set(message.encrypted_shares) <= dealers - {me}, "shares from a member who distributed none")
        self._require(len(dealers) >= cohort.params.survivors_required, "fewer dealers than devices that must survive")
        self._require_live_holders(state, cohort, dealers)
        distribution = self._distribution(state, cohort)
        self._attempt(lambda: distribution.take(message.encrypted_shares), "a key that its device did not sign")
        state.dealers = message.dealers
        return self._open_model(state, message.weights)

    def masked_input(self, encoded: Encoded) -> bytes:
        """Return the encoded update under all its masks, and with it a complaint of the dealers whose shares fail.

        There is one input per round, for ever. A complaint changes none of its masks: what becomes of the dealer shows
        in the survivor set, which this device checks and signs like any other.

        What it was masked with is gone with it: from here on the round's state cannot make another.

        Args:
            encoded: int64[length] of the task's length.
        """
        state, cohort = self._enter_with_cohort(Stage.INPUT)
        self._require(bool(state.dealers), "an input before the shares were opened")
        expected = (state.task.length,)
        self._require(encoded.integers.shape == expected, "an update of another length than the task's")
        self._require(encoded.integers.dtype == np.int64, "an update of other numbers than int64")
        words = pack(encoded.integers, state.task.aggregation.modulus_bits)
        add_masks(words, *self._attempt(self._distribution(state, cohort).mask_seeds))
        state.own = None
        state.stage = Stage.CONSISTENCY
        return encode_masked(words, self._complaint(state, cohort))

    def check_consistency(self, request: bytes) -> bytes:
        """Check the survivor set and sign it, so that no quorum can be told another one (Bonawitz et al. 2017)."""
        state, cohort = self._enter_with_cohort(Stage.CONSISTENCY)
        survivors = self._parse(Survivors.decode, request)
        me, members = cohort.index(self._own.identity.public), set(survivors.members.places)
        self._require(me in members, "the server says that this device dropped out")
        self._require(members <= set(state.dealers), "a survivor that distributed no shares")
        enough = len(members) >= cohort.params.survivors_required
        self._require(enough, "fewer survivors than the noise was sized for")
        self._require_live_holders(state, cohort, members)
        self._require_own_neighbours(state, cohort, survivors)
        state.signed_survivors = survivors.signed_survivors
        state.stage = Stage.UNMASK
        statement = cohort.consistency_statement(state.signed_survivors)
        distribution = self._distribution(state, cohort)
        tags = {other: distribution.channel(other).check_tag(statement) for other in members & set(state.partners)}
        return encode_consistency_check(self._own.identity.sign(CONSISTENCY_DOMAIN, statement), tags)

    def unmask(self, request: bytes) -> bytes:
        """Verify that a quorum signed this device's survivor set, and return one secret share a dealer.

        Of a survivor it is a share of the self-mask secret, of a dropped device one of the mask key: never both. With
        the reply the round's secrets are gone.
        """
        state, cohort = self._enter_with_cohort(Stage.UNMASK)
        survivors = self._verify_quorum(state, cohort, *self._parse(decode_consistency_checks, request))
        shares = {dealer: own if dealer in survivors else mask for dealer, (own, mask) in state.held.items()}
        self.withdraw()
        return encode_revealed(shares)

    def withdraw(self) -> None:
        """Forget the round's secrets and answer nothing more."""
        self._state = None
        self._over = True

    # Checks: each refuses by wiping first.

    def _verified_task(self, invitation: Invitation) -> TaskSpec:
        header, operator = invitation.header, self._trust.operator
        task = self._attempt(lambda: open_task(invitation.signed_task, operator))
        self._attempt(lambda: verify_once(operator, HEADER_DOMAIN, header.encode(), invitation.signature))
        self._require(header.task_id.hex() == task.id, "a round of another task than the one it came with")
        # Where it adapts, any: sensitivity and noise are fixed in steps of the grid, whatever it is.
        own = task.mechanism.adaptive is not None or header.clip == task.mechanism.clip
        self._require(own, "a clip that is not the task's")
        return task

    def _check_invitation(self, invitation: Invitation, seen: Seen, now: int) -> TaskSpec:
        task, header = self._verified_task(invitation), invitation.header
        self._attempt(lambda: self._trust.policy.check(task))
        admission = Admission(task.population, self._trust.authority, invitation.revocations, now)
        self._attempt(admission.check_list)
        self._attempt(lambda: self._certificate.check(task.population, self._trust.authority, now))
        self._require(header.round not in seen.rounds, f"round {header.round}, which was answered or is long gone")
        self._require(header.round <= task.rounds, f"round {header.round} of a task of {task.rounds}")
        begins_as_stated = header.round > 1 or header.model_digest.hex() == task.initial.digest
        self._require(begins_as_stated, "a first round that begins with another model than the task's")
        self._check_newer(invitation.revocations, seen)
        return task

    def _check_newer(self, revocations: Revocations, seen: Seen) -> None:
        number, least = revocations.number, seen.list_number
        self._require(number >= least, f"revocation list {number}, after list {least}")
        # A number near the end of its range would be the last list for ever.
        self._require(number <= least + LIST_LEAP, f"revocation list {number}, too far after list {least}")
        same = number > least or seen.list_digest in (b"", revocations.digest)
        self._require(same, f"revocation list {number}, other than the one of that number seen before")

    def _check_roster(self, state: RoundState, roster: Roster) -> Cohort:
        self._require(self._own_advert(state) in roster.adverts, "a cohort without this device's own keys")
        admission = Admission(state.task.population, self._trust.authority, state.revocations, state.admitted_at)
        return self._attempt(lambda: admit(roster, state.header, state.task, admission))

    def _require_live_holders(self, state: RoundState, cohort: Cohort, live: set[int]) -> None:
        """Require that those who can recover this device's mask include honest members that it masked with."""
        alive = len(live & set(state.holders))
        self._require(alive >= cohort.params.threshold, "fewer live holders of this device's shares than the threshold")

    def _require_own_neighbours(self, state: RoundState, cohort: Cohort, survivors: Survivors) -> None:
        """Require that this device's row of the neighbour table is what it drew, and its column whom it masked with."""
        me, places = cohort.index(self._own.identity.public), survivors.members.places
        table = self._attempt(lambda: NeighbourTable.decode(survivors.neighbour_table, places, cohort.params))
        if cohort.params.complete:
            return
        holders, members = set(state.holders), set(places)
        self._require(table.drawn_by(me) == holders, "other holders of this device's shares than it drew")
        masking = holders & members | table.who_drew(me)
        self._require(masking == set(state.partners) & members, "other neighbours than this device masked with")

    def _open_model(self, state: RoundState, weights: bytes) -> NDArray[np.float32]:
        self._require(sha256(weights) == state.header.model_digest, "another model than the one announced")
        model = np.frombuffer(weights, "<f4") if len(weights) % 4 == 0 else np.empty(0, "<f4")
        self._require(model.size == state.task.model.dimension, "a model of another length than the task's")
        return model.astype(np.float32)

    def _verify_quorum(
        self, state: RoundState, cohort: Cohort, checks: Mapping[int, bytes], tags: Mapping[int, bytes]
    ) -> set[int]:
        """Return the survivors, once a quorum has vouched for them to this device: by tag, or else by signature."""
        signed = state.signed_survivors
        if signed is None:
            raise self._refusal("consistency checks before this device's own")
        self._require(set(checks) <= set(signed.members.places), "a consistency check from outside the survivor set")
        self._require(len(checks) >= cohort.params.quorum, "fewer consistency checks than the quorum")
        statement, distribution = cohort.consistency_statement(signed), self._distribution(state, cohort)
        tagged = tags.keys() & set(state.partners)
        for member in sorted(checks)[: cohort.params.quorum]:
            if member in tagged and distribution.channel(member).vouches(tags[member], statement):
                continue
            self._attempt(
                partial(cohort.verify_consistency, member, signed, checks[member]),
                "a consistency check of another survivor set",
            )
        return set(signed.members.places)

    def _complaint(self, state: RoundState, cohort: Cohort) -> Complaint | None:
        """Return this device's signed word on dealers whose shares it could not use; None where all are usable."""
        if not state.unusable:
            return None
        statement = cohort.complaint_statement(state.unusable)
        return Complaint(state.unusable, self._own.identity.sign(COMPLAINT_DOMAIN, statement))

    def _distribution(self, state: RoundState, cohort: Cohort) -> ShareDistribution:
        return ShareDistribution(state, cohort, cohort.index(self._own.identity.public), self._agreements)

    def _own_advert(self, state: RoundState) -> Advert:
        """Make this device's advert, anew from its secrets: Ed25519 signatures are deterministic."""
        identity, own = self._own.identity, state.secrets
        commitment = keys.commitment(own.self_secret, identity.public)
        advert = Advert(self._certificate, own.mask.public, commitment, signature=b"")
        return replace(advert, signature=identity.sign(ADVERT_DOMAIN, advert.signed_part(state.header)))

    @property
    def _live(self) -> RoundState:
        if self._state is None:
            raise Refused("this round is over, or has not begun, for this device")
        return self._state

    def _enter(self, stage: Stage) -> RoundState:
        state = self._live
        self._require(state.stage == stage, f"a request of stage {stage} at stage {state.stage}")
        return state

    def _enter_with_cohort(self, stage: Stage) -> tuple[RoundState, Cohort]:
        state = self._enter(stage)
        if state.cohort is None:
            raise self._refusal("a request before the cohort was known")
        return state, state.cohort

    def _parse(self, decode: Callable[[bytes], _T], data: bytes) -> _T:
        return self._attempt(lambda: decode(data))

    def _attempt(self, work: Callable[[], _T], unsigned: str = "") -> _T:
        """Refuse the round when the protocol's own rules say no to some work; anything else that it raises is a defect.

        Args:
            work: what to do.
            unsigned: what a signature that does not verify means here.
        """
        try:
            return work()
        except _NO as error:
            named = unsigned and isinstance(error, SignatureError)
            raise self._refusal(f"{unsigned}: {error}" if named else str(error)) from error

    def _require(self, condition: bool, reason: str) -> None:
        if not condition:
            raise self._refusal(reason)

    def _refusal(self, reason: str) -> Refused:
        self.withdraw()
        return Refused(reason)
