"""The device's side of one round.

Threat model: a server that lies, together with up to `corrupt_share` of the cohort. Before it sends anything a device
checks what it was sent; after the first check that fails it has wiped its keys and never answers again in this round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from cryptography.exceptions import InvalidTag
from numpy.typing import NDArray

from privacy.canonical import sha256
from privacy.randomness import Randomness
from privacy.secagg import keys, shamir
from privacy.secagg.cohort import Cohort, check_advert, repeated_key
from privacy.secagg.errors import Refused, WireError
from privacy.secagg.identity import Certificate, verify_once
from privacy.secagg.keys import KeyPair
from privacy.secagg.masking import WORD, add_masks
from privacy.secagg.messages import (
    ADVERT_DOMAIN,
    ECHO_DOMAIN,
    HEADER_DOMAIN,
    Advert,
    DealtShares,
    InputRequest,
    Invitation,
    Roster,
    Stage,
    Survivors,
    decode_echoes,
    encode_echo,
    encode_masked,
    encode_revealed,
)
from privacy.secagg.params import ParameterError, Parameters
from privacy.secagg.state import RoundState
from privacy.signing import SignatureError, Signer
from privacy.states import Encoded
from privacy.task import TaskError, TaskSpec, open_task

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Trust:
    """The two Ed25519 public keys that are pinned in the SDK."""

    operator: bytes
    authority: bytes


class Client:
    """One device in one round: `advertise`, `share`, `open_input`, `masked_input`, `echo`, `unmask`, in this order.

    Each takes the server's request, gives the reply, and raises `Refused`, with the reason, when the request is not
    what an honest server would send. The caller remembers `last_round` durably, also across restarts.
    """

    def __init__(self, identity: Signer, certificate: Certificate, trust: Trust) -> None:
        self._identity = identity
        self._certificate = certificate
        self._trust = trust
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
    def parameters(self) -> Parameters:
        """Thresholds of the cohort, as this device has computed them."""
        return self._enter_with_cohort(Stage.INPUT)[1].params

    def snapshot(self) -> bytes:
        """The round's state, secrets in the clear, for a host whose every message runs in another process."""
        return self._state.encode() if self._state else b""

    def resume(self, snapshot: bytes) -> None:
        """Take up a round where `snapshot` left it."""
        self._state = RoundState.decode(snapshot, self._trust.operator) if snapshot else None

    def open_invitation(self, request: bytes) -> tuple[TaskSpec, int]:
        """The verified task and round number of an invitation, before any key is made."""
        invitation = self._parse(Invitation.decode, request)
        return self._verify(invitation), invitation.header.round

    def advertise(self, request: bytes, last_round: int, rng: Randomness) -> bytes:
        """Keys for this round, signed by the certified identity."""
        self._require(self._state is None and not self._over, "a second invitation to the same round")
        invitation = self._parse(Invitation.decode, request)
        task, header = self._verify(invitation), invitation.header
        self._require(header.round > last_round, f"round {header.round}, when round {last_round} was answered before")
        self._require(header.round <= task.rounds, f"round {header.round} of a task of {task.rounds}")
        channel, mask, own = KeyPair(rng.token(32)), KeyPair(rng.token(32)), rng.token(32)
        self._state = RoundState(Stage.SHARE, invitation.signed_task, task, header, channel, mask, own)
        return self._own_advert(self._state).encode()

    def share(self, request: bytes, rng: Randomness) -> bytes:
        """Shamir shares of both secrets, sealed to each member of the cohort."""
        state = self._enter(Stage.SHARE)
        cohort = state.cohort = self._check_roster(state, self._parse(Roster.decode, request))
        me = cohort.index(self._identity.public)
        pairs = _deal(state, cohort, rng)
        state.held[me] = pairs[me]
        state.stage = Stage.INPUT
        sealed = [self._seal(state, cohort, (me, to), pair) for to, pair in enumerate(pairs) if to != me]
        return DealtShares(tuple(sealed)).encode()

    def open_input(self, request: bytes) -> NDArray[np.float32]:
        """Take in the shares dealt to this device, and return the model to train: float32[d]."""
        state, cohort = self._enter_with_cohort(Stage.INPUT)
        self._require(not state.dealers, "a second input request")
        message = self._parse(InputRequest.decode, request)
        me, members = cohort.index(self._identity.public), range(cohort.params.cohort)
        dealers = {*message.sealed, me}
        self._require(me not in message.sealed and dealers <= set(members), "shares from outside the cohort")
        self._require(len(dealers) >= cohort.params.survivors_required, "fewer dealers than devices that must survive")
        self._unseal(state, cohort, message.sealed)
        state.dealers = tuple(sorted(dealers))
        return self._open_model(state, message.weights)

    def masked_input(self, encoded: Encoded) -> bytes:
        """The encoded update under all its masks. There is one input per round, for ever."""
        state, cohort = self._enter_with_cohort(Stage.INPUT)
        self._require(bool(state.dealers), "an input before the shares were opened")
        expected = (state.task.model.dimension,)
        self._require(encoded.residues.shape == expected, "an update of another length than the task's model")
        vector = encoded.residues.astype(WORD, copy=True)
        add_masks(vector, *self._mask_seeds(state, cohort))
        state.stage = Stage.ECHO
        return encode_masked(vector)

    def echo(self, request: bytes) -> bytes:
        """Sign the survivor set, so that no two devices can be told different ones."""
        state, cohort = self._enter_with_cohort(Stage.ECHO)
        survivors = self._parse(Survivors.decode, request)
        members = set(survivors.members)
        self._require(cohort.index(self._identity.public) in members, "the server says that this device dropped out")
        self._require(members <= set(state.dealers), "a survivor that never shared keys")
        enough = len(members) >= cohort.params.survivors_required
        self._require(enough, "fewer survivors than the noise was sized for")
        state.survivors = survivors.members
        state.stage = Stage.UNMASK
        return encode_echo(self._identity.sign(ECHO_DOMAIN, survivors.signed_part(cohort.transcript)))

    def unmask(self, request: bytes) -> bytes:
        """One share per dealer, of one kind; then the round's secrets are gone."""
        state, cohort = self._enter_with_cohort(Stage.UNMASK)
        self._check_echoes(state, cohort, self._parse(decode_echoes, request))
        shares = {dealer: _reveal(state, dealer) for dealer in state.dealers if dealer in state.held}
        self.withdraw()
        return encode_revealed(shares)

    def withdraw(self) -> None:
        """Forget the round's secrets and answer nothing more."""
        self._state = None
        self._over = True

    # Checks: each refuses by wiping first.

    def _verify(self, invitation: Invitation) -> TaskSpec:
        header = invitation.header
        try:
            task = open_task(invitation.signed_task, self._trust.operator)
            verify_once(self._trust.operator, HEADER_DOMAIN, header.encode(), invitation.signature)
        except (TaskError, SignatureError) as error:
            raise self._refusal(str(error)) from error
        self._require(header.task_id.hex() == task.id, "a round of another task than the one it came with")
        return task

    def _check_roster(self, state: RoundState, roster: Roster) -> Cohort:
        self._require(self._own_advert(state) in roster.adverts, "a cohort without this device's own keys")
        self._require(not repeated_key(roster.adverts), "a key that occurs twice in the cohort")
        try:
            for advert in roster.adverts:
                check_advert(advert, state.header, state.task.population, self._trust.authority)
            return Cohort.of(roster, state.header, state.task)
        except (SignatureError, ParameterError) as error:
            raise self._refusal(str(error)) from error

    def _open_model(self, state: RoundState, weights: bytes) -> NDArray[np.float32]:
        self._require(sha256(weights) == state.header.model_digest, "another model than the one announced")
        model = np.frombuffer(weights, "<f4") if len(weights) % 4 == 0 else np.empty(0, "<f4")
        self._require(model.size == state.task.model.dimension, "a model of another length than the task's")
        return model.astype(np.float32)

    def _check_echoes(self, state: RoundState, cohort: Cohort, echoes: Mapping[int, bytes]) -> None:
        self._require(set(echoes) <= set(state.survivors), "an echo from outside the survivor set")
        self._require(len(echoes) >= cohort.params.threshold, "fewer echoes than the threshold")
        signed = Survivors(state.survivors).signed_part(cohort.transcript)
        try:
            for member, signature in echoes.items():
                verify_once(cohort.adverts[member].identity, ECHO_DOMAIN, signed, signature)
        except SignatureError as error:
            raise self._refusal(f"an echo of another survivor set: {error}") from error

    # The work.

    def _own_advert(self, state: RoundState) -> Advert:
        """This device's advert, made anew from its secrets: Ed25519 signatures are deterministic."""
        advert = Advert(
            self._certificate,
            state.channel.public,
            state.mask.public,
            keys.commitment(state.self_secret, self._identity.public),
            signature=b"",
        )
        return replace(advert, signature=self._identity.sign(ADVERT_DOMAIN, advert.signed_part(state.header)))

    def _seal(self, state: RoundState, cohort: Cohort, route: tuple[int, int], pair: bytes) -> bytes:
        sender, recipient = route
        return keys.seal(self._channel(state, cohort, recipient), cohort.transcript, sender, recipient, pair)

    def _unseal(self, state: RoundState, cohort: Cohort, sealed: Mapping[int, bytes]) -> None:
        """Open what opens. A dealer of garbage must not silence this device; with too few shares it stops."""
        me = cohort.index(self._identity.public)
        for sender, box in sealed.items():
            shared = self._channel(state, cohort, sender)
            try:
                state.held[sender] = keys.unseal(shared, cohort.transcript, sender, me, box)
            except InvalidTag:
                continue
        self._require(len(state.held) >= cohort.params.threshold, "fewer shares that open than the threshold")

    def _mask_seeds(self, state: RoundState, cohort: Cohort) -> tuple[list[bytes], list[bytes]]:
        """Seeds to add and to subtract: of two members the lower one adds what the higher one subtracts."""
        me = cohort.index(self._identity.public)
        plus, minus = [keys.self_mask_seed(state.self_secret, cohort.transcript, me)], list[bytes]()
        for other in state.dealers:
            if other != me:
                shared = self._agree(state.mask, cohort.adverts[other].mask_public)
                seed = keys.pair_mask_seed(shared, cohort.transcript, me, other)
                (plus if me < other else minus).append(seed)
        return plus, minus

    def _channel(self, state: RoundState, cohort: Cohort, other: int) -> bytes:
        if other not in state.channel_secrets:
            public_key = cohort.adverts[other].channel_public
            state.channel_secrets[other] = self._agree(state.channel, public_key)
        return state.channel_secrets[other]

    def _agree(self, pair: KeyPair, public_key: bytes) -> bytes:
        try:
            return pair.agree(public_key)
        except ValueError as error:
            raise self._refusal("a public key of low order") from error

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

    def _parse(self, decode: Callable[[bytes], Parsed], data: bytes) -> Parsed:
        try:
            return decode(data)
        except WireError as error:
            raise self._refusal(str(error)) from error

    def _require(self, condition: bool, reason: str) -> None:
        if not condition:
            raise self._refusal(reason)

    def _refusal(self, reason: str) -> Refused:
        self.withdraw()
        return Refused(reason)


def _reveal(state: RoundState, dealer: int) -> bytes:
    """The share of a survivor's self-mask secret, or of a dropped device's mask key; never both."""
    pair = state.held[dealer]
    return pair[: shamir.SHARE_BYTES] if dealer in state.survivors else pair[shamir.SHARE_BYTES :]


def _deal(state: RoundState, cohort: Cohort, rng: Randomness) -> list[bytes]:
    threshold, holders = cohort.params.threshold, cohort.params.cohort
    own = shamir.split(state.self_secret, threshold, holders, rng)
    mask = shamir.split(state.mask.secret, threshold, holders, rng)
    return [one + other for one, other in zip(own, mask, strict=True)]
