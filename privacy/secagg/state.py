"""What a device remembers within a round, and how it is carried from one process to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privacy.secagg.cohort import Cohort
from privacy.secagg.keys import KeyPair
from privacy.secagg.messages import Header, Roster, Stage, Survivors
from privacy.secagg.shamir import SHARE_BYTES
from privacy.secagg.wire import Reader, Writer
from privacy.task import TaskSpec, open_task

_KIND = 64
_STAGES = tuple(Stage)


@dataclass
class RoundState:
    """Secrets and progress of one round. All of it goes when the device refuses or has unmasked."""

    stage: Stage
    signed_task: bytes = field(repr=False)
    task: TaskSpec
    header: Header
    channel: KeyPair
    mask: KeyPair
    self_secret: bytes = field(repr=False)
    cohort: Cohort | None = None
    held: dict[int, bytes] = field(default_factory=dict, repr=False)
    """Pairs of shares, of the self-mask secret and of the mask key, by the member who dealt them."""
    dealers: tuple[int, ...] = ()
    """The members whose pairwise masks are in this device's masked vector, itself included."""
    survivors: tuple[int, ...] = ()
    channel_secrets: dict[int, bytes] = field(default_factory=dict, repr=False)
    """Channel secrets by member: a cache of what `channel` gives, not carried to another process."""

    def encode(self) -> bytes:
        """The whole state, secrets in the clear: where it is kept must be as private as the device's keys."""
        writer = Writer(_KIND).u32(_STAGES.index(self.stage)).var(self.signed_task).var(self.header.encode())
        writer.raw(self.channel.secret).raw(self.mask.secret).raw(self.self_secret)
        writer.var(Roster(self.cohort.adverts).encode() if self.cohort else b"")
        _write_held(writer, self.held)
        return writer.var(Survivors(self.dealers).encode()).var(Survivors(self.survivors).encode()).done()

    @classmethod
    def decode(cls, data: bytes, operator_public: bytes) -> RoundState:
        """Take up a state where `encode` left it.

        Raises:
            WireError, TaskError: when the bytes are not such a state under this operator.
        """
        reader = Reader(data, _KIND)
        stage, signed_task, header = _STAGES[reader.u32()], reader.var(), Header.decode(reader.var())
        task = open_task(signed_task, operator_public)
        channel, mask, self_secret = KeyPair(reader.raw(32)), KeyPair(reader.raw(32)), reader.raw(32)
        state = cls(stage, signed_task, task, header, channel, mask, self_secret)
        roster = reader.var()
        state.cohort = Cohort.of(Roster.decode(roster), header, task) if roster else None
        state.held = {reader.u32(): reader.raw(2 * SHARE_BYTES) for _ in range(reader.count(4 + 2 * SHARE_BYTES))}
        state.dealers = Survivors.decode(reader.var()).members
        state.survivors = Survivors.decode(reader.var()).members
        reader.end()
        return state


def _write_held(writer: Writer, held: Mapping[int, bytes]) -> None:
    writer.u32(len(held))
    for member, pair in sorted(held.items()):
        writer.u32(member).raw(pair)
