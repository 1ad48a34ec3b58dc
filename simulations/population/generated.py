"""Devices whose messages are made when they are drawn, so that a population's size costs no memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from fl_client.training.training import Examples
from privacy.features.encoding import encode_texts
from privacy.task.task import InputSpec
from simulations.population.generator import ChatGenerator
from simulations.population.poison import Poison

_KEPT = 4_096
"""How many devices' examples a process remembers: some 10 MB."""


@dataclass(frozen=True)
class GeneratedPopulation:
    """A `Population` in which device i is user i of the generator."""

    devices: int
    generator: ChatGenerator
    features: InputSpec
    poison: Poison = field(repr=False)

    @property
    def empty_devices(self) -> int:
        """See `Population.empty_devices`; every user writes something."""
        return 0

    @property
    def messages(self) -> None:
        """See `Population.messages`; nobody counts them."""
        return None

    def of(self, device: int, number: int) -> Examples:  # noqa: ARG002
        """See `Population.of`; nobody writes anything after the start."""
        return _examples(self, device)


@lru_cache(maxsize=_KEPT)
def _examples(population: GeneratedPopulation, device: int) -> Examples:
    chat = population.generator.of(device)
    texts, labels = population.poison.applied(device, chat.texts, chat.labels.tolist())
    return Examples(encode_texts(population.features, texts), np.array(labels, np.float32))
