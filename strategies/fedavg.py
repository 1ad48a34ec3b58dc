"""Federated averaging with server momentum (Hsu, Qi and Brown 2019) over released sums."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.release.release import Release
from privacy.task.task import AdaptiveClip, TaskSpec

_LEAST_CLIP, _MOST_CLIP = 1e-6, 1e6


@dataclass(frozen=True, eq=False)
class ModelState:
    """The global model and what the server remembers beside it.

    Attributes:
        weights: float32[d], the model.
        momentum: float32[d], the optimiser's velocity.
        clip: the next round's clip.
    """

    weights: NDArray[np.float32] = field(repr=False)
    momentum: NDArray[np.float32] = field(repr=False)
    clip: float

    @classmethod
    def start(cls, weights: NDArray[np.float32], clip: float) -> ModelState:
        """Return the state before the first round."""
        return cls(weights, np.zeros_like(weights), clip)


@dataclass(frozen=True)
class FedAvgM:
    """The server's optimiser: model += learning_rate * v, where v = momentum * v + sum / expected_cohort.

    The divisor is a public constant of the task, never the realised cohort: that would make the sensitivity of the
    average depend on who came.

    Attributes:
        learning_rate: the server's learning rate.
        momentum: in [0, 1).
        expected_cohort: the divisor.
        adaptive: how the clip follows a quantile of the updates' norms; None for a clip that stays.
    """

    learning_rate: float
    momentum: float
    expected_cohort: float
    adaptive: AdaptiveClip | None = None

    @classmethod
    def of(cls, task: TaskSpec) -> FedAvgM:
        """Return the optimiser that a task states, for its cohorts and its clip."""
        optimiser = task.optimiser
        return cls(
            optimiser.learning_rate, optimiser.momentum, task.participation.expected_cohort, task.mechanism.adaptive
        )

    def step(self, state: ModelState, release: Release) -> ModelState:
        """Return the next state; deterministic in float32, and not finite where a learning rate is far too large."""
        mean = release.values / np.float32(self.expected_cohort)
        velocity = np.float32(self.momentum) * state.momentum + mean
        with np.errstate(over="ignore", invalid="ignore"):
            weights = state.weights + np.float32(self.learning_rate) * velocity
        clip = self._next_clip(state.clip, release)
        return ModelState(weights.astype(np.float32), velocity.astype(np.float32), clip)

    def _next_clip(self, clip: float, release: Release) -> float:
        """Return the next clip (Andrew et al. 2021, Algorithm 1, geometric).

        The bits are centred, so that the divisor can be a constant.
        """
        if self.adaptive is None or release.within_clip is None:
            return clip
        within = release.within_clip / self.expected_cohort + 0.5
        step = self.adaptive.learning_rate * (min(max(within, 0.0), 1.0) - self.adaptive.quantile)
        return min(max(clip * math.exp(-step), _LEAST_CLIP), _MOST_CLIP)
