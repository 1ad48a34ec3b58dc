"""The distributed discrete Gaussian mechanism: clip, round and add noise on devices, decode the charged sum.

Formal guarantee. Adjacency: one device's update replaced by zero. The integer vector that a device contributes has L2
norm at most `norm_bound`, enforced after rounding in exact integer arithmetic, so `norm_bound` is the sensitivity of
the sum. Each device adds a discrete Gaussian per coordinate, of a variance that lets the share of devices assumed
honest and present reach noise_multiplier * norm_bound alone. Their sum is within 10 h exp(-pi^2 sigma^2) of one
discrete Gaussian per coordinate (Kairouz, Liu and Steinke 2021, Theorem 1), which is nothing for sigma >= 256.

The grid and the noise of the sum do not depend on how many devices came: a Poisson cohort's size stays hidden in a
release, as its amplification requires. Only drop-outs add to the noise that is left out of the account.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy import dgauss
from privacy.randomness import Randomness, uniform_words
from privacy.receipt import Receipt
from privacy.states import Encoded, Total, Update
from privacy.task import TaskSpec

SIGMA = 1024
"""Parameter of one device's noise, in integer steps, in a cohort of the expected size; it sets the scale."""

_MIN_VARIANCE = 256**2
_MODULUS_BITS = 32
_WRAP_BITS = 40
"""A coordinate of the noisy sum leaves the modulus with probability below 2^-40 over the whole vector."""
_UNNOISED_STEPS = 1 << 20
"""Integer steps per clip when there is no noise to set the scale."""
_ROUNDING_ATTEMPTS = 64
"""Each is accepted with probability above 0.39, so all fail with probability below 2^-45."""


class MechanismError(ValueError):
    """Parameters under which no sum can be exact and private, or an update that cannot be encoded."""


@dataclass(frozen=True, eq=False)
class Release:
    """A sum that was paid for: float32[d], in the units of the model's weights.

    Only a charged sum can become one: the receipt's transcript must be the sum's.
    """

    values: NDArray[np.float32] = field(repr=False)
    survivors: int
    cohort: int
    noise_std: float
    """Lower bound of the noise's standard deviation per coordinate, from the honest survivors alone."""
    receipt: Receipt


@dataclass(frozen=True)
class Mechanism:
    """The mechanism of one round, computed alike on every device and the server.

    Attributes:
        clip: L2 bound of an update, in the units of the model's weights.
        scale: integer steps per unit; the same in every round of a task.
        norm_bound: L2 bound of an encoded update before noise, in integer steps; the same in every round of a task.
        variance: of a device's discrete Gaussian, in integer steps; 0 for no noise.
        honest: how many devices' noise is counted on, a real number so that the sum's noise is the same for any cohort.
    """

    dimension: int
    clip: float
    scale: float
    norm_bound: float
    variance: int
    honest: float

    @classmethod
    def for_cohort(cls, task: TaskSpec, cohort: int) -> Mechanism:
        """Size the rounding for the task, and each device's noise for `cohort` devices.

        Raises:
            MechanismError: when rounding would dominate the clip, the sum could leave the modulus, or the cohort is
                so far from the expected one that its noise cannot be sampled exactly.
        """
        noise, dimension = task.mechanism.noise_multiplier, task.model.dimension
        share = 1 - task.aggregation.corrupt_share - task.aggregation.dropout_share
        honest = cohort * share
        if noise > 0:
            total_variance = SIGMA**2 * task.participation.expected_cohort * share
            bound, variance = math.sqrt(total_variance) / noise, math.ceil(total_variance / honest)
        else:
            bound, variance = math.sqrt(_UNNOISED_STEPS**2 + dimension), 0
        _check_variance(variance, cohort, task)
        _check_modulus(bound, variance, cohort, task)
        scale = _clip_steps(bound, dimension) / task.mechanism.clip
        return cls(dimension, task.mechanism.clip, scale, bound, variance, honest)

    def encode(self, update: Update, rng: Randomness) -> Encoded:
        """Clip, round and noise one device's update.

        Raises:
            MechanismError: when the update is not finite or has another length.
        """
        integers = self._round(self._clipped(update.delta), rng)
        if self.variance:
            integers += dgauss.sample(self.variance, self.dimension, rng)
        return Encoded(integers.astype(np.int32).view(np.uint32))

    def release(self, total: Total, receipt: Receipt) -> Release:
        """Decode a sum that the ledger has charged.

        Raises:
            MechanismError: when the receipt is for another sum.
        """
        if receipt.charge.transcript != total.transcript:
            raise MechanismError("receipt: expected one for this very sum, got one for another")
        values = (total.residues.view(np.int32) / self.scale).astype(np.float32)
        return Release(values, total.survivors, total.cohort, self.noise_std, receipt)

    @property
    def noise_std(self) -> float:
        """Standard deviation per coordinate of the honest devices' noise, in the units of the model's weights."""
        return math.sqrt(self.variance * self.honest) / self.scale

    def _clipped(self, delta: NDArray[np.float32]) -> NDArray[np.float64]:
        if delta.shape != (self.dimension,):
            raise MechanismError(f"update: expected float32[{self.dimension}], got shape {delta.shape}")
        exact = delta.astype(np.float64)
        norm = float(np.linalg.norm(exact))
        if not math.isfinite(norm):
            raise MechanismError("update: expected finite numbers, got NaN or infinity")
        return exact * min(1.0, self.clip / norm) if norm else exact

    def _round(self, clipped: NDArray[np.float64], rng: Randomness) -> NDArray[np.int64]:
        """Conditional stochastic rounding (Kairouz, Liu and Steinke 2021, Algorithm 1)."""
        scaled = clipped * self.scale
        for _ in range(_ROUNDING_ATTEMPTS):
            uniform = uniform_words(rng, self.dimension, np.uint32) * 2.0**-32
            integers: NDArray[np.int64] = np.floor(scaled + uniform).astype(np.int64)
            if int(integers @ integers) <= self.norm_bound**2:
                return integers
        raise MechanismError(f"update: no rounding within the norm bound in {_ROUNDING_ATTEMPTS} attempts")


def _check_variance(variance: int, cohort: int, task: TaskSpec) -> None:
    if variance and not _MIN_VARIANCE <= variance <= dgauss.MAX_VARIANCE:
        raise MechanismError(
            f"cohort: expected about {task.participation.expected_cohort:g} devices, got {cohort}, "
            "too far off for exact noise; invite again"
        )


def _check_modulus(bound: float, variance: int, cohort: int, task: TaskSpec) -> None:
    spread = dgauss.standard_tail(_WRAP_BITS, task.model.dimension) * math.sqrt(variance * cohort)
    if cohort * bound + spread >= 1 << (_MODULUS_BITS - 1):
        raise MechanismError(
            f"noise_multiplier: the sum of {cohort} devices does not fit {_MODULUS_BITS} bits at "
            f"{task.mechanism.noise_multiplier}; raise the noise or lower the cohort"
        )


def _clip_steps(bound: float, dimension: int) -> float:
    """The clip, in steps, whose rounding stays within `bound` with probability above 1 - exp(-1/2).

    Inverts bound^2 = c^2 + d/4 + c + sqrt(d)/2, the Delta_2 of Kairouz, Liu and Steinke 2021 with beta = exp(-1/2).
    """
    room = bound * bound - dimension / 4 - math.sqrt(dimension) / 2
    if room <= 1:
        raise MechanismError(
            f"noise_multiplier: at {dimension} coordinates rounding would exceed the clip; lower it or grow the cohort"
        )
    return (math.sqrt(1 + 4 * room) - 1) / 2
