"""One frozen type per state of the data: each step of a round takes only what the step before it made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Update:
    """What one device learnt: float32[d]. It is never sent."""

    delta: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Encoded:
    """A clipped, rounded and noised update in Z_{2^32}: uint32[d]. It leaves the device only under masks."""

    residues: NDArray[np.uint32] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Total:
    """The exact sum of a round's survivors in Z_{2^32}.

    Attributes:
        residues: uint32[d].
        cohort: how many devices shared keys; the noise of each was sized for this number.
        survivors: how many devices are in the sum.
        transcript: hex digest of the cohort, the survivor set and the masked sum that was unmasked.
    """

    residues: NDArray[np.uint32] = field(repr=False)
    cohort: int
    survivors: int
    transcript: str
