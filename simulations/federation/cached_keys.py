"""Key agreement between simulated devices, computed once for both ends of a pair.

X25519 gives both ends the same secret, so that a process that plays both need not compute it twice. For simulations
alone: a real device knows no secret but its own. Every message is formed and checked all the same.
"""

from __future__ import annotations

from typing import ClassVar

from privacy.secagg.primitives.keys import DeviceKeys, KeyPair

_WAITING = 1 << 16
"""Most secrets kept for their other end; of devices that were lost in between, some are never asked for."""


class NeighbourPair(KeyPair):
    """A key pair whose agreements are remembered until the other end asks for them."""

    _waiting: ClassVar[dict[frozenset[bytes], bytes]] = {}

    def agree(self, public_key: bytes) -> bytes:
        """Return the secret agreed with the owner of `public_key`: 32 bytes.

        What waits is known by both public keys, so it is what this end would compute.

        Raises:
            LowOrderKey: when the public key is of low order.
        """
        ends = frozenset((self.public, public_key))
        if (secret := self._waiting.pop(ends, None)) is not None:
            return secret
        if len(self._waiting) >= _WAITING:
            self._waiting.clear()
        secret = self._waiting[ends] = super().agree(public_key)
        return secret


class NeighbourKeys(DeviceKeys):
    """The keys of a simulated device: those of a real one, but for the memory of agreements."""

    @staticmethod
    def pair(secret: bytes) -> KeyPair:
        """Return the key pair of a secret of 32 bytes."""
        return NeighbourPair(secret)
