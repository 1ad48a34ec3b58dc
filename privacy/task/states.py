"""One frozen type per state of the data: each step of a round takes only what the step before it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.base.canonical import sha256


@dataclass(frozen=True, eq=False)
class Update:
    """What one device learnt, float32[d], and its statistics by name. It is never sent."""

    delta: NDArray[np.float32] = field(repr=False)
    statistics: Mapping[str, float] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class Encoded:
    """A clipped, rotated, rounded and noised contribution: int64[length]. It leaves the device only under masks."""

    integers: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Total:
    """The exact sum over one shard's survivors, as long as no coordinate leaves the modulus.

    Attributes:
        sums: int64[length], the sum itself.
        cohort: how many devices shared keys; the noise of each was sized for this number.
        survivors: how many devices are in the sum.
        rotation: public 32-byte seed of the rotation that the devices applied; None for a sum that no modulus confines,
            which needs none.
        transcript: hex digest of the cohort, the survivor set and the masked sum that was unmasked.
    """

    sums: NDArray[np.int64] = field(repr=False)
    cohort: int
    survivors: int
    rotation: bytes | None
    transcript: str


def joint_transcript(shards: Sequence[str]) -> str:
    """Return the hex digest of what a round is about to unmask.

    Args:
        shards: transcripts of the round's shards, in hex.

    Returns:
        Of a single shard its own transcript, of several the SHA-256 of theirs.
    """
    if len(shards) == 1:
        return shards[0]
    return sha256(b"havenfl/secagg/shards/1", *map(bytes.fromhex, shards)).hex()
