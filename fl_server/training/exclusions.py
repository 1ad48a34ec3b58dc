"""Devices that later rounds do without for a time, because of what they did in earlier ones.

A coordinator keeps them with its checkpoint. It revokes nobody: that is for good, and the enrolment authority's to do.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from privacy.base.canonical import Frozen
from privacy.secagg.server.blame import Blame, Party, fewest_behind

EXCLUSION_ROUNDS = 1_000
"""For how many rounds a device is left out. What one device can cost, it can cost once in so many rounds."""

_Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Device(Frozen):
    """A device by the two names that it has.

    Attributes:
        identity: its Ed25519 public key, in hex: whoever presents it later is left out.
        node: where it was reached, so that it is not invited again.
    """

    identity: _Identity
    node: int

    @classmethod
    def of(cls, party: Party) -> _Device:
        return cls(identity=party.identity.hex(), node=party.member)


class _Culprit(Frozen):
    round: int
    device: _Device


class _Quarrel(Frozen):
    round: int
    holder: _Device
    dealer: _Device


class Exclusions(Frozen):
    """What rounds have shown of devices, as long as it counts.

    Attributes:
        culprits: devices at fault, and in which round it showed.
        quarrels: pairs of which one device lies and nobody can tell which, in rounds that this ended.
    """

    culprits: tuple[_Culprit, ...] = ()
    quarrels: tuple[_Quarrel, ...] = ()

    def after(self, number: int, blame: Blame) -> Exclusions:
        """Return the exclusions after a round: with what it showed, without what is over by the next round.

        Args:
            number: the round's.
            blame: what the round showed.
        """
        culprits = [
            _Culprit(round=number, device=_Device(identity=culprit.certificate.identity.hex(), node=culprit.member))
            for culprit in blame.culprits
        ]
        quarrels = [
            _Quarrel(round=number, holder=_Device.of(holder), dealer=_Device.of(dealer))
            for holder, dealer in blame.quarrels
        ]
        first = number + 1 - EXCLUSION_ROUNDS
        return Exclusions(
            culprits=tuple(culprit for culprit in (*self.culprits, *culprits) if culprit.round >= first),
            quarrels=tuple(quarrel for quarrel in (*self.quarrels, *quarrels) if quarrel.round >= first),
        )

    @property
    def identities(self) -> frozenset[bytes]:
        """The identities that the next round leaves out."""
        return frozenset(bytes.fromhex(device.identity) for device in self._devices)

    @property
    def nodes(self) -> frozenset[int]:
        """The nodes that the next round does not invite."""
        return frozenset(device.node for device in self._devices)

    @property
    def _devices(self) -> set[_Device]:
        """All culprits, and of those who quarrel the fewest without whom nobody is left that accuses another.

        A dealer that serves ten holders badly is one device against ten. The same ten, if it is they who lie, are left
        out in the honest dealers' place as soon as each of them has quarrelled with more dealers than they are.
        """
        guilty = {culprit.device for culprit in self.culprits}
        pairs = {(quarrel.holder, quarrel.dealer) for quarrel in self.quarrels}
        named = {device.identity: device for pair in pairs for device in pair}
        apart, _ = fewest_behind(
            ((holder.identity, dealer.identity) for holder, dealer in pairs if not guilty & {holder, dealer}), 0
        )
        return guilty | {named[identity] for identity in apart}
