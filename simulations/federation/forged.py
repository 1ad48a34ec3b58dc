"""Clients that are forged: what they mask is longer than the clip allows, which nothing proves to the server.

They take part in the protocol as anybody does. The vector that they send is in the ring like any other, and goes far
beyond the clip in the direction of the update that they want in the sum.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fl_client.device.device import Device
from privacy.base.randomness import Randomness
from privacy.mechanism.mechanism import Mechanism
from privacy.mechanism.rotation import rotate
from privacy.secagg import Client
from privacy.task.states import Encoded, Update


@dataclass(frozen=True)
class ForgedMechanism(Mechanism):
    """A mechanism that keeps no bound.

    Attributes:
        beyond: how much further than the published client it goes along the update, in clips.
    """

    beyond: float

    @classmethod
    def of(cls, mechanism: Mechanism, beyond: float) -> ForgedMechanism:
        """Return what stands in a forged client in the place of `mechanism`."""
        return cls(**{field.name: getattr(mechanism, field.name) for field in fields(Mechanism)}, beyond=beyond)

    def encode(self, update: Update, rotation: bytes, rng: Randomness) -> Encoded:
        """Encode an update as the published client does, then go `beyond` clips further in its direction.

        Args:
            update: what the device wants in the sum, float32[d].
            rotation: public 32-byte seed of the round's rotation.
            rng: source of rounding and noise.

        Returns:
            int64[length], to be masked.

        Raises:
            MechanismError: when the update is not finite or has another length, or a statistic is missing.
        """
        honest = super().encode(update, rotation, rng)
        contribution, exact = np.zeros(self.task.length), update.delta.astype(np.float64)
        if norm := float(np.linalg.norm(exact)):
            contribution[: exact.size] = exact * (self.beyond * self.task.mechanism.clip / norm)
        further = np.rint(rotate(contribution, rotation) * self.scale).astype(np.int64)
        return Encoded(honest.integers + further)


class _ForgedClient(Client):
    beyond = 0.0

    @property
    def mechanism(self) -> Mechanism:
        return ForgedMechanism.of(super().mechanism, self.beyond)


class ForgedDevice(Device):
    """A device whose client is forged."""

    def __init__(self, beyond: float, **device: Any) -> None:
        """Take up the round that the store remembers, if there is one.

        Args:
            beyond: how much further than the published client it goes along its update, in clips.
            device: what a `Device` takes.
        """
        self._beyond = beyond
        super().__init__(**device)

    def _new_client(self) -> Client:
        client = _ForgedClient(self._keys, self._certificate, self._trust, self._agreements)
        client.beyond = self._beyond
        return client
