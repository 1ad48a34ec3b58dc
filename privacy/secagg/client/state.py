"""What a device remembers within a round, and how it is carried over a restart or to another process."""

from __future__ import annotations

from dataclasses import dataclass, field

from privacy.mechanism.mechanism import MechanismError
from privacy.secagg.cohort import Cohort
from privacy.secagg.errors import WireError
from privacy.secagg.membership.identity import Revocations
from privacy.secagg.membership.params import ParameterError
from privacy.secagg.messages import Header, Members, Roster, SignedSurvivors, Stage, read_indexed, write_indexed
from privacy.secagg.primitives.keys import KEY_BYTES, Channel, KeyPair
from privacy.secagg.primitives.shamir import SECRET_BYTES, SHARE_BYTES
from privacy.secagg.wire import Reader, Writer
from privacy.task.task import TaskSpec, open_task

_KIND, _MARK_KIND = 65, 66
_STAGES = tuple(Stage)


@dataclass(frozen=True)
class OwnSecrets:
    """What a device masks its own input with.

    Attributes:
        mask: the key pair from which pairwise masks are agreed.
        self_secret: the self-mask secret, 32 bytes.
    """

    mask: KeyPair
    self_secret: bytes = field(repr=False)


@dataclass
class RoundState:
    """Secrets and progress of one round; all of it goes when the device refuses or has unmasked."""

    stage: Stage
    """The stage whose request comes next."""
    signed_task: bytes = field(repr=False)
    task: TaskSpec
    header: Header
    revocations: Revocations
    admitted_at: int
    """The Unix time of the invitation, in seconds; certificates are judged by it."""
    own: OwnSecrets | None
    """What this device masks its input with; None once it is made."""
    cohort: Cohort | None = None
    """The cohort that this device has checked; None before."""
    holders: tuple[int, ...] = ()
    """The places of those who hold this device's secret shares, ascending."""
    held: dict[int, tuple[bytes, bytes]] = field(default_factory=dict, repr=False)
    """Shares of others' self-mask secrets and mask keys, by the place of their dealer."""
    dealers: tuple[int, ...] = ()
    """The places of all members that distributed shares, as the server said."""
    unusable: tuple[int, ...] = ()
    """The places of the dealers whose shares this device could not use, ascending."""
    partners: tuple[int, ...] = ()
    """The places of the members that have a pairwise mask in common with this device."""
    signed_survivors: SignedSurvivors | None = None
    """What this device has signed in its consistency check."""
    channels: dict[int, Channel] = field(default_factory=dict, repr=False)
    """The channels used so far, by place; a cache that is made anew after a restart."""

    @property
    def secrets(self) -> OwnSecrets:
        """What this device masks its input with.

        Raises:
            RuntimeError: once the input is made.
        """
        if self.own is None:
            raise RuntimeError("the round's own secrets are gone")
        return self.own

    def mark(self) -> bytes:
        """Return bytes that tell this round from every other and hold nothing of it; `decode` refuses them."""
        return Writer(_MARK_KIND).raw(self.secrets.mask.public).done()

    def encode(self) -> bytes:
        """Return the whole state, secrets in the clear: whoever keeps it has to encrypt it."""
        writer = Writer(_KIND).u32(_STAGES.index(self.stage)).var(self.signed_task).var(self.header.encode())
        writer.var(self.revocations.encode()).u64(self.admitted_at)
        writer.var(self.own.mask.secret + self.own.self_secret if self.own else b"")
        writer.var(Roster(self.cohort.adverts).encode() if self.cohort else b"")
        for members in (self.holders, self.dealers, self.unusable, self.partners):
            writer.var(Members(members).encode())
        writer.var(self.signed_survivors.encode() if self.signed_survivors else b"")
        write_indexed(writer, {dealer: own + mask for dealer, (own, mask) in self.held.items()})
        return writer.done()

    @classmethod
    def decode(cls, data: bytes, operator_public: bytes) -> RoundState:
        """Take up a state where `encode` left it.

        Raises:
            WireError: when the bytes are no such state.
            TaskError: when its task is not this operator's.
        """
        reader = Reader(data, _KIND)
        stage, signed_task, header = _stage(reader), reader.var(), Header.decode(reader.var())
        task = open_task(signed_task, operator_public)
        revocations, admitted_at = Revocations.decode(reader.var()), reader.u64()
        own, roster = _own_secrets(reader.var()), reader.var()
        state = cls(stage, signed_task, task, header, revocations, admitted_at, own)
        state.cohort = _cohort(Roster.decode(roster), header, task) if roster else None
        state.holders, state.dealers, state.unusable, state.partners = (
            Members.decode(reader.var()).places for _ in range(4)
        )
        signed = reader.var()
        state.signed_survivors = SignedSurvivors.decode(signed) if signed else None
        pairs = read_indexed(reader, 2 * SHARE_BYTES)
        state.held = {dealer: (pair[:SHARE_BYTES], pair[SHARE_BYTES:]) for dealer, pair in pairs.items()}
        reader.end()
        return state


def _own_secrets(data: bytes) -> OwnSecrets | None:
    if not data:
        return None
    if len(data) != KEY_BYTES + SECRET_BYTES:
        raise WireError(f"state: expected {KEY_BYTES + SECRET_BYTES} bytes of secrets or none, got {len(data)}")
    return OwnSecrets(KeyPair(data[:KEY_BYTES]), data[KEY_BYTES:])


def _cohort(roster: Roster, header: Header, task: TaskSpec) -> Cohort:
    try:
        return Cohort.of(roster, header, task)
    except (ParameterError, MechanismError) as error:
        raise WireError(f"state: a cohort that could not have been, {error}") from error


def _stage(reader: Reader) -> Stage:
    place = reader.u32()
    if place >= len(_STAGES):
        raise WireError(f"state: expected a stage below {len(_STAGES)}, got {place}")
    return _STAGES[place]
