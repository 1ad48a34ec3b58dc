"""Key agreement between simulated devices: X25519 gives both ends of a pair the same secret, so one process that plays
both computes it once.

For simulations alone: a real device knows no secret but its own. Every message is formed and checked all the same.
"""

from __future__ import annotations

from typing import ClassVar

from privacy.secagg.primitives.keys import DeviceKeys, KeyPair

_WAITING = 1 << 16
"""Secrets kept for their other end; of devices that were lost in between some are never asked for."""


class NeighbourPair(KeyPair):
    """A key pair whose agreements are remembered until the other end asks for them."""

    _waiting: ClassVar[dict[frozenset[bytes], bytes]] = {}

    def agree(self, public_key: bytes) -> bytes:
        """See `KeyPair.agree`. What waits is known by both public keys, so it is what this end would compute."""
        ends = frozenset((self.public, public_key))
        if (shared := self._waiting.pop(ends, None)) is not None:
            return shared
        if len(self._waiting) >= _WAITING:
            self._waiting.clear()
        shared = self._waiting[ends] = super().agree(public_key)
        return shared


class NeighbourKeys(DeviceKeys):
    """Keys of a simulated device."""

    @staticmethod
    def pair(secret: bytes) -> KeyPair:
        """See `DeviceKeys.pair`."""
        return NeighbourPair(secret)
