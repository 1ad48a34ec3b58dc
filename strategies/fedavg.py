"""Federated averaging with server momentum (Hsu, Qi and Brown 2019) over released sums."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.mechanism import Release


@dataclass(frozen=True, eq=False)
class ModelState:
    """The global model and what the optimiser remembers: float32[d] each."""

    weights: NDArray[np.float32] = field(repr=False)
    momentum: NDArray[np.float32] = field(repr=False)

    @classmethod
    def start(cls, weights: NDArray[np.float32]) -> ModelState:
        return cls(weights, np.zeros_like(weights))


@dataclass(frozen=True)
class FedAvgM:
    """model += learning_rate * v, where v = momentum * v + sum / expected_cohort.

    The divisor is a public constant of the task, never the realised cohort: that would make the sensitivity of the
    average depend on who came.
    """

    learning_rate: float
    momentum: float
    expected_cohort: float

    def step(self, state: ModelState, release: Release) -> ModelState:
        """The next global model; deterministic in float32."""
        mean = release.values / np.float32(self.expected_cohort)
        velocity = np.float32(self.momentum) * state.momentum + mean
        weights = state.weights + np.float32(self.learning_rate) * velocity
        return ModelState(weights.astype(np.float32), velocity.astype(np.float32))
