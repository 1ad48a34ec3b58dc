"""What the audits run: from the updates of a round's devices to the sum that the server decodes.

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
    """A round; all that is random in it, but for the public rotation, must come from the randomness it is given."""

    def __call__(self, updates: Sequence[Update], number: int, rng: Randomness) -> Total:
        """Run a round.

        Args:
            updates: those of the devices in the sum, all honest.
            number: the round's number, from which its public rotation follows.
            rng: source of rounding and noise.

        Returns:
            The sum as the server gets it.
        """
        ...


@dataclass(frozen=True)
class Audited:
    """A task's round, and what is claimed about it.

    Attributes:
        task: the task.
        cohort: devices in the round, with those that drop out and those that are corrupt.

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
        """The number of devices whose noise the account counts on, which need not be whole."""
        return self.task.counted(self.cohort)

    @property
    def devices(self) -> int:
        """The number of devices in the sum, all honest: as many as are counted on, rounded up."""
        return math.ceil(self.counted - 1e-9)  # a fraction of 0.3 leaves 7.000000000000001 of 10

    @property
    def surplus(self) -> float:
        """The variance of the sum's noise over the one that is accounted, at least 1."""
        return self.devices / self.counted

    @property
    def claimed_mu(self) -> float:
        """The mu of one round for a device that is surely in it: amplification by sampling is not part of a round."""
        return 1 / self.task.mechanism.noise_multiplier

    @property
    def silent(self) -> Update:
        """An update of zeros, the other side of the adjacency."""
        return self.update(np.zeros(self.task.model.dimension, np.float32))

    def update(self, delta: NDArray[np.float32], statistics: float = 0.0) -> Update:
        """Return an update of this delta, every statistic at this fraction of its bound."""
        return Update(delta, {statistic.name: statistics * statistic.bound for statistic in self.task.statistics})

    def decoded(self, total: Total) -> NDArray[np.float64]:
        """Decode a sum: float64[length], in units of the sensitivity.

        A device then counts for at most 1, and noise has the multiplier as its standard deviation.
        """
        return Mechanism.for_cohort(self.task, total.cohort).decode(total) / self.task.contribution_bound


@dataclass(frozen=True)
class Shipped:
    """The pipeline of this package.

    Attributes:
        mechanism: encodes the updates; others than `for_cohort`'s own are for tests of the audit.
        cohort: devices in the round.
    """

    mechanism: Mechanism
    cohort: int

    @classmethod
    def of(cls, audited: Audited) -> Shipped:
        """Return the pipeline that the audits run unless they are given another."""
        return cls(audited.mechanism, audited.cohort)

    def __call__(self, updates: Sequence[Update], number: int, rng: Randomness) -> Total:
        """Run a round: encode every update, and add the encodings up modulo the task's modulus."""
        rotation = round_rotation(number)
        sums = np.zeros(self.mechanism.task.length, np.int64)
        for update in updates:
            sums += self.mechanism.encode(update, rotation, rng).integers
        return total(self.mechanism.task, sums, self.cohort, len(updates), number)


def total(task: TaskSpec, sums: NDArray[np.int64], cohort: int, survivors: int, number: int) -> Total:
    """Return a sum as the server gets it: reduced to the words that devices send.

    Args:
        task: the task, for the modulus.
        sums: int64[length], the exact sum of the encodings.
        cohort: devices in the round.
        survivors: devices in the sum.
        number: the round's number.
    """
    bits = task.aggregation.modulus_bits
    reduced = unpack(pack(sums, bits), bits, sums.size)
    transcript = sha256(b"havenfl/audit/transcript/1", str(number).encode()).hex()
    return Total(reduced, cohort, survivors, round_rotation(number), transcript)


def round_rotation(number: int) -> bytes:
    """Return the seed of a round's public rotation, 32 bytes, another one for each number."""
    return sha256(b"havenfl/audit/rotation/1", str(number).encode())


class Tape:
    """A source that gives once more what it gave: what is run with it again differs in nothing but what it is given."""

    def __init__(self, source: Randomness) -> None:
        self._source, self._given, self._at = source, bytearray(), 0

    @property
    def origin(self) -> Origin:
        """That of the source behind it."""
        return self._source.origin

    def token(self, size: int) -> bytes:
        """Return the next `size` bytes, from the source where they were not given before."""
        end = self._at + size
        if end > len(self._given):
            self._given += self._source.token(end - len(self._given))
        taken, self._at = bytes(self._given[self._at : end]), end
        return taken

    def rewind(self) -> None:
        """Begin again with the first byte that was given."""
        self._at = 0


@dataclass(frozen=True)
class Predictable:
    """Bytes that anybody can recompute, to see whether they are taken where the system's were promised."""

    origin: Origin = "seeded"

    def token(self, size: int) -> bytes:
        """Return `size` zeros."""
        return bytes(size)
