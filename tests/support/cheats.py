"""Devices that run the protocol until they cheat: what their holders, the server and the ledger make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fl_client.device.device import Device
from privacy.base.randomness import Randomness
from privacy.secagg import Client, Cohort, EncryptedShares
from privacy.secagg.client.distribution import ShareDistribution
from privacy.secagg.client.state import RoundState
from privacy.secagg.messages import decode_revealed, encode_revealed
from privacy.secagg.primitives.shamir import SHARE_BYTES
from privacy.task.states import Encoded

Chosen = Callable[[int, int], list[int]]
"""From a cheat's place and its cohort's size to the places of its victims."""


def everybody(me: int, cohort: int) -> list[int]:
    return [place for place in range(cohort) if place != me]


def first(count: int) -> Chosen:
    return lambda me, cohort: everybody(me, cohort)[:count]


@dataclass(frozen=True)
class Cheating:
    """What a device does to others; the defaults are honest."""

    garbage: Chosen = lambda *_: []
    """Boxes that do not open."""
    wrong_tags: Chosen = lambda *_: []
    """Tags that do not fit."""
    off_polynomial: bool = False
    """Shares of another secret than the one committed to."""
    complains: Chosen = lambda *_: []
    """False complaints, of dealers that served it well."""
    withholds: Chosen = lambda *_: []
    """Shares of others that it has and does not reveal."""
    withholds_own: bool = False
    """The same, of its own secret."""
    forges: int = 0
    """Its input is so far off in every coordinate."""


@dataclass(frozen=True)
class _CheatingDistribution(ShareDistribution):
    cheating: Cheating

    def distribute(self, rng: Randomness) -> dict[int, EncryptedShares]:
        own = self.state.secrets
        if self.cheating.off_polynomial:
            self.state.own = replace(own, self_secret=bytes(32))
        dealt = super().distribute(rng)
        self.state.own = own
        for holder in self._victims(self.cheating.garbage):
            dealt[holder] = replace(dealt[holder], sealed=bytes(len(dealt[holder].sealed)))
        for holder in self._victims(self.cheating.wrong_tags):
            dealt[holder] = replace(dealt[holder], mask_tag=bytes(16))
        return dealt

    def take(self, encrypted_shares: Mapping[int, EncryptedShares]) -> None:
        super().take(encrypted_shares)
        falsely = set(self._victims(self.cheating.complains)) & set(encrypted_shares)
        self.state.unusable = tuple(sorted(falsely | set(self.state.unusable)))

    def _victims(self, chosen: Chosen) -> list[int]:
        return chosen(self.me, self.cohort.params.cohort)


class CheatingClient(Client):
    cheating = Cheating()

    def masked_input(self, encoded: Encoded) -> bytes:
        return super().masked_input(Encoded(encoded.integers + np.int64(self.cheating.forges)))

    def unmask(self, request: bytes) -> bytes:
        _, cohort = self._enter_with_cohort(self._live.stage)
        me = cohort.index(self._own.identity.public)
        kept = set(self.cheating.withholds(me, cohort.params.cohort)) | ({me} if self.cheating.withholds_own else set())
        revealed = decode_revealed(super().unmask(request))
        assert all(len(share) == SHARE_BYTES for share in revealed.values())
        return encode_revealed({dealer: share for dealer, share in revealed.items() if dealer not in kept})

    def _distribution(self, state: RoundState, cohort: Cohort) -> ShareDistribution:
        me = cohort.index(self._own.identity.public)
        return _CheatingDistribution(state, cohort, me, self._agreements, self.cheating)


def corrupt(device: Device, cheating: Cheating) -> Device:
    """The same device, which cheats from its next round on."""

    def new_client() -> Client:
        client = CheatingClient(device._keys, device._certificate, device._trust, device._agreements)
        client.cheating = cheating
        return client

    device._new_client = new_client  # type: ignore[method-assign]
    return device
