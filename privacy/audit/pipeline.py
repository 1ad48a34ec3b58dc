"""What is audited: from the updates of a round's devices to the sum that the server decodes.

The shipped pipeline is the code that devices and server run, but for the masks of secure aggregation, which cancel
exactly. It is run as the account's worst case: drop-outs are missing, and devices assumed corrupt add no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.base.canonical import sha256
from privacy.base.randomness import Origin, Randomness
from privacy.mechanism.mechanism import Mechanism
from privacy.secagg.primitives.masking import pack, unpack
from privacy.task.states import Total, Update
from privacy.task.task import TaskSpec


class Pipeline(Protocol):
    """A round. All that is random in it, but for the public rotation, must come from `rng`."""

    def __call__(self, updates: Sequence[Update], number: int, rng: Randomness) -> Total:
        """The sum of these honest devices' updates, in round `number`."""
        ...


@dataclass(frozen=True)
class Audited:
    """A task's round of `cohort` devices, and what is claimed about it.

    Raises:
        ValueError: when the task adds no noise, so that nothing is claimed.
    """

    task: TaskSpec
    cohort: int

    def __post_init__(self) -> None:
        if not self.task.mechanism.noise_multiplier:
            raise ValueError("noise_multiplier: expected more than 0, got 0; without noise there is nothing to audit")

    @property
    def mechanism(self) -> Mechanism:
        """The shipped mechanism, which the devices and the server compute alike."""
        return Mechanism.for_cohort(self.task, self.cohort)

    @property
    def counted(self) -> float:
        """How many devices' noise the account counts on."""
        policy = self.task.aggregation
        return self.cohort * (1 - policy.corrupt_fraction - policy.dropout_fraction)

    @property
    def devices(self) -> int:
        """Devices in the sum, all honest: as many as are counted on, rounded up."""
        return math.ceil(self.counted - 1e-9)  # a share of 0.3 leaves 7.000000000000001 of 10

    @property
    def surplus(self) -> float:
        """Variance of the sum's noise over that which is accounted."""
        return self.devices / self.counted

    @property
    def claimed_mu(self) -> float:
        """Of one round, for a device that is surely in it: amplification by sampling is not part of a round."""
        return 1 / self.task.mechanism.noise_multiplier

    @property
    def silent(self) -> Update:
        """An update of zeros, the other side of the adjacency."""
        return self.update(np.zeros(self.task.model.dimension, np.float32))

    def update(self, delta: NDArray[np.float32], statistics: float = 0.0) -> Update:
        """An update, every statistic at this share of its bound."""
        return Update(delta, {one.name: statistics * one.bound for one in self.task.statistics})

    def decoded(self, total: Total) -> NDArray[np.float64]:
        """float64[length], in units of the sensitivity: a device counts for at most 1, noise for the multiplier."""
        return Mechanism.for_cohort(self.task, total.cohort).decode(total) / self.task.contribution_bound


@dataclass(frozen=True)
class Shipped:
    """The pipeline of this package; `mechanism` encodes, others than `for_cohort`'s own are for tests of the audit."""

    mechanism: Mechanism
    cohort: int

    @classmethod
    def of(cls, audited: Audited) -> Shipped:
        """What is run when nothing else is given."""
        return cls(audited.mechanism, audited.cohort)

    def __call__(self, updates: Sequence[Update], number: int, rng: Randomness) -> Total:
        rotation = round_rotation(number)
        sums = np.zeros(self.mechanism.task.length, np.int64)
        for update in updates:
            sums += self.mechanism.encode(update, rotation, rng).integers
        return total(self.mechanism.task, sums, self.cohort, len(updates), number)


def total(task: TaskSpec, sums: NDArray[np.int64], cohort: int, survivors: int, number: int) -> Total:
    """The sums int64[length] as the server gets them: reduced to the words that devices send."""
    bits = task.aggregation.modulus_bits
    reduced = unpack(pack(sums, bits), bits, sums.size)
    transcript = sha256(b"havenfl/audit/transcript/1", str(number).encode()).hex()
    return Total(reduced, cohort, survivors, round_rotation(number), transcript)


def round_rotation(number: int) -> bytes:
    """A public rotation of its own for each round."""
    return sha256(b"havenfl/audit/rotation/1", str(number).encode())


@dataclass(frozen=True)
class Constant:
    """Every byte the same: noise takes one value, and rounding one direction, whatever is encoded.

    The difference of two encodings is then exactly that of their rounded contributions.
    """

    byte: int
    origin: Origin = "seeded"

    def token(self, size: int) -> bytes:
        return bytes([self.byte]) * size
