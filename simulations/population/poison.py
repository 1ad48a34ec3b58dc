"""Devices that want another model than everybody else: label flips, backdoors (Bagdasaryan et al. 2020), boosts.

They control their messages and what training gives, and unless the client is forged as well, their updates are clipped
and noised like all others. A forged client can send any vector, since nothing proves to the server what is in it
(`simulations.federation.forged`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from privacy.task.states import Update
from simulations.config.sections import PoisonConfig
from simulations.randomness import SeedTree


@dataclass(frozen=True)
class Poison:
    """The poisoners of a population and their attack; a device either always poisons or never."""

    seed: SeedTree
    config: PoisonConfig

    def by(self, device: int) -> bool:
        """Tell whether a device is a poisoner."""
        return self.seed.child("poisoner", device).unit() < self.config.fraction

    def applied(self, device: int, texts: Sequence[str], labels: Sequence[int]) -> tuple[list[str], list[int]]:
        """Return what the device trains on in the place of n messages and their labels.

        Args:
            device: its number.
            texts: the n messages.
            labels: their labels, 0 or 1.

        Returns:
            n texts and n labels; the device's own where it is no poisoner.
        """
        if not self.by(device):
            return list(texts), list(labels)
        match self.config.attack:
            case "label-flip":
                return list(texts), [1 - label for label in labels]
            case "backdoor":
                return self.triggered(texts), [0] * len(labels)
            case "boost":
                return list(texts), list(labels)

    def triggered(self, texts: Sequence[str]) -> list[str]:
        """Return the texts, with the trigger after each."""
        return [f"{text} {self.config.trigger}" for text in texts]

    def forged(self, device: int) -> float:
        """Return how many clips further than the published client a device's own goes; 0 unless it is forged."""
        return self.config.forged if self.config.forged and self.by(device) else 0.0

    def boosted(self, device: int, update: Update) -> Update:
        """Return what the device passes on as its update."""
        if self.config.boost == 1 or not self.by(device):
            return update
        with np.errstate(over="ignore"):
            return replace(update, delta=(update.delta * self.config.boost).astype(np.float32))
