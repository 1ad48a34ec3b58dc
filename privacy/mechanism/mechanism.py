"""The distributed discrete Gaussian mechanism: clip, rotate, round and add noise on devices; decode the charged sum.

Formal guarantee. Adjacency: one device's contribution replaced by zero. The integer vector that a device contributes
has L2 norm at most `norm_bound`, enforced after rotation and rounding in exact integer arithmetic, so `norm_bound` is
the sensitivity of the sum. Each device adds a discrete Gaussian per coordinate, of a variance that lets the devices
assumed honest and present (`counted_devices`) reach noise_multiplier * norm_bound alone. Their sum is within
10 h exp(-pi^2 sigma^2) of one discrete Gaussian per coordinate (Kairouz, Liu and Steinke 2021, Theorem 1): below
2^-3000 for sigma >= 16. Leaving the modulus costs accuracy, never privacy.

The grid and the noise of a released sum do not depend on how many devices came: a Poisson cohort's size stays hidden in
a release, as its amplification requires. What drop-outs take with them, and what rounding a device's variance adds, the
server makes up for with noise of its own before the sum is decoded (`padded`): the devices' noise alone is charged for,
so that nobody counts on the server for it, but a size that the noise gave away would undo the amplification.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from privacy.base.randomness import Randomness, require_origin, uniform_words
from privacy.mechanism import discrete_gaussian as dgauss
from privacy.mechanism.rotation import rotate, spread, unrotate
from privacy.task.states import Encoded, Total, Update
from privacy.task.task import PoissonParticipation, TaskSpec

_SIGMA = 448
"""Finer noise, in integer steps a device, is of use only where the rounding of many coordinates asks for it."""
_ROUNDING_STEPS = 16
"""A bound of so many steps over the square root of the length makes rounding cost 0.05%: fine enough for any model."""
_MIN_VARIANCE = 256
"""A device's variance is a whole number: from here on rounding it changes the noise of a sum by less than 0.4%."""
_WRAP_BITS = 40
"""Some coordinate of the sum leaves the modulus with probability below 2^-40."""
_ALARM_BITS = 40
"""An honest sum is taken for one that no honest devices gave with probability at most 2^-40."""
_UNNOISED_STEPS = 1 << 20
"""At most so many integer steps per bound when no noise limits them."""
_ROUNDING_ATTEMPTS = 64
"""Each attempt is accepted with probability above 0.39, so all fail with probability below 2^-45."""
_WIDTHS = (8, 10, 12, 16, 21, 32)
"""Bits a coordinate that leave next to nothing of a 64-bit word unused."""
_ROUNDING_COST = 1.01
"""What rounding may add to the sensitivity when the modulus is chosen automatically."""


class MechanismError(ValueError):
    """Parameters under which no sum can be exact and private, or an update that cannot be encoded."""


@dataclass(frozen=True)
class Mechanism:
    """The mechanism of one shard of one round, computed alike on every device and the server.

    Attributes:
        task: whose clip, statistics and noise these are.
        scale: integer steps per unit of the model's weights; the same in every round of a task.
        norm_bound: L2 bound of an encoded contribution before noise, in integer steps; likewise.
        variance: that of a device's discrete Gaussian, in integer steps; 0 for no noise.
        honest: how many devices' noise is counted on, a real number so that the sum's noise is the same for any cohort.
    """

    task: TaskSpec = field(repr=False)
    scale: float
    norm_bound: float
    variance: int
    honest: float

    @classmethod
    def for_cohort(cls, task: TaskSpec, cohort: int) -> Mechanism:
        """Size the rounding for the task, and each device's noise for a cohort of `cohort` devices.

        Raises:
            MechanismError: when rounding would dominate the clip, the sum could leave the modulus, or the noise of
                this or the smallest cohort cannot be sampled exactly.
        """
        honest = task.counted(cohort)
        bound = _norm_bound(task)
        variance = _variance(task, bound, honest)
        _check_variance(variance, bound, task)
        _check_modulus(bound, variance, cohort, task)
        scale = _clip_steps(bound, task.length) / task.contribution_bound
        if not 0 < scale < math.inf:
            raise MechanismError(f"clip: expected one that can be counted in steps, got {task.mechanism.clip}")
        return cls(task, scale, bound, variance, honest)

    def encode(self, update: Update, rotation: bytes, rng: Randomness) -> Encoded:
        """Clip, rotate, round and noise one device's update and statistics.

        Formal guarantee: before noise, the integers have an L2 norm of at most `norm_bound`, whatever the update
        (Kairouz, Liu and Steinke 2021, Algorithm 1).

        Args:
            update: what the device learnt, float32[d], and its statistics.
            rotation: public 32-byte seed of the round's rotation.
            rng: source of rounding and noise; the guarantee rests on its secrecy.

        Returns:
            int64[length], to be masked.

        Raises:
            MechanismError: when the update is not finite or has another length, or a statistic is missing.
            RandomnessError: when the source is not the one that the task promises.
        """
        require_origin(self.task.randomness, rng)
        within, clipped = self._clipped(update.delta)
        contribution = np.concatenate([clipped, self.reported(update.statistics, within=within)])
        # Drawn before the rounding, which takes as much randomness as it needs, so that updates which differ in their
        # last bits get the same noise.
        noise = dgauss.sample(self.variance, contribution.size, rng) if self.variance else 0
        return Encoded(self._round(rotate(contribution, rotation), rng) + noise)

    def reported(self, statistics: Mapping[str, float], *, within: bool) -> NDArray[np.float64]:
        """Return what a device contributes behind its update: its statistics, and the clip's bit if it adapts.

        Args:
            statistics: the device's figures by name; each is cut to 0 to its bound.
            within: whether the update was within the clip.

        Returns:
            float64, scaled to the fractions of the clip that the task grants.

        Raises:
            MechanismError: when a statistic is missing.
        """
        return np.concatenate([self._statistics(statistics), self._bit(within)])

    def decode(self, total: Total) -> NDArray[np.float64]:
        """Return the sum in the units of the model's weights: float64[length]."""
        summed = total.sums.astype(np.float64)
        if total.rotation is not None:
            summed = unrotate(summed, total.rotation)
        summed /= self.scale
        return summed

    def with_server_noise(self, total: Total, noise: NDArray[np.float64]) -> Total:
        """Add a round's correlated noise, given as float64[length] before scaling, to the sum.

        Both lie on the integer grid before anything is computed from their sum, so that its low-order bits tell nothing
        of the one or the other (Mironov 2012).
        """
        steps = self.task.mechanism.noise_multiplier * self.norm_bound
        scaled = noise * steps
        rotated = scaled if total.rotation is None else rotate(scaled, total.rotation)
        return replace(total, sums=total.sums + np.rint(rotated).astype(np.int64))

    def honest_norm(self, survivors: int, server_variance: float = 0.0) -> float:
        """Return the L2 norm, in steps, that a sum of honest devices exceeds with probability at most 2^-40.

        Every contribution has a norm of at most `norm_bound`, and rotation keeps norms. A coordinate of the noise is
        sub-Gaussian with its own variance (of discrete Gaussians: Canonne, Kamath and Steinke 2020), so the
        norm of all of it has the tail of Hsu, Kakade and Zhang 2012, Theorem 1. A coordinate that leaves the modulus
        only comes closer to zero. Where the sum is rounded once more, as with noise that the server adds, that moves
        each coordinate by at most half a step.

        Args:
            survivors: devices in the sum.
            server_variance: that of the server's noise, per coordinate, in steps squared.
        """
        length, nats = self.task.length, _ALARM_BITS * math.log(2)
        variance = self.variance * survivors + server_variance
        noise = math.sqrt(variance * (length + 2 * math.sqrt(length * nats) + 2 * nats))
        return survivors * self.norm_bound + noise + math.sqrt(length) / 2

    def padded(self, total: Total, rng: Randomness) -> Total:
        """Add noise to a shard's sum, so that its variance is the task's `padded_variance` whoever came.

        The sum is within 10 (n + 1) exp(-pi^2 sigma^2) of one discrete Gaussian, for the least sigma in it: that of a
        device, or 16 (Kairouz, Liu and Steinke 2021, Theorem 1).

        Args:
            total: the exact sum of one shard; its survivors' noise is in it.
            rng: source of the noise; that the cohort's size stays hidden rests on its secrecy.
        """
        missing = padded_variance(self.task) - total.survivors * self.variance
        parts = -(-missing // dgauss.MAX_VARIANCE)
        sums = total.sums.copy()
        for part in range(parts):
            sums += dgauss.sample((missing + part) // parts, sums.size, rng)
        return replace(total, sums=sums)

    @property
    def noise_std(self) -> float:
        """Standard deviation per coordinate of the honest devices' noise, in the units of the model's weights."""
        return math.sqrt(self.variance * self.honest) / self.scale

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the honest devices' noise over the sensitivity; at least the task's."""
        return self.noise_multiplier_of(self.honest)

    def noise_multiplier_of(self, devices: float) -> float:
        """Return the standard deviation of the noise of so many devices over the sensitivity."""
        return math.sqrt(self.variance * devices) / self.norm_bound

    @property
    def rounding_cost(self) -> float:
        """Factor, 1 or more, by which rounding widens the sensitivity."""
        return self.norm_bound / (self.scale * self.task.contribution_bound)

    def _clipped(self, delta: NDArray[np.float32]) -> tuple[bool, NDArray[np.float64]]:
        """Return whether the update was within the clip, and the update cut to it."""
        dimension = self.task.model.dimension
        if delta.shape != (dimension,) or delta.dtype != np.float32:
            raise MechanismError(f"update: expected float32[{dimension}], got {delta.dtype} of shape {delta.shape}")
        exact = delta.astype(np.float64)
        norm = float(np.linalg.norm(exact))
        if not math.isfinite(norm):
            raise MechanismError("update: expected finite numbers, got NaN or infinity")
        clip = self.task.mechanism.clip
        return norm <= clip, exact * min(1.0, clip / norm) if norm else exact

    def _statistics(self, given: Mapping[str, float]) -> NDArray[np.float64]:
        wanted = self.task.statistics
        missing = [statistic.name for statistic in wanted if not math.isfinite(given.get(statistic.name, math.nan))]
        if missing:
            raise MechanismError(f"statistics: expected a finite {', '.join(missing)}, got none")
        parts = [
            min(max(given[statistic.name], 0.0), statistic.bound) / statistic.bound * statistic.sensitivity_fraction
            for statistic in wanted
        ]
        return np.array(parts, np.float64) * self.task.mechanism.clip

    def _bit(self, within: bool) -> NDArray[np.float64]:
        """Return plus or minus the bit's fraction of the clip; nothing where the clip does not adapt."""
        adaptive = self.task.mechanism.adaptive
        if adaptive is None:
            return np.empty(0)
        fraction = adaptive.sensitivity_fraction
        return np.array([fraction if within else -fraction]) * self.task.mechanism.clip

    def _round(self, rotated: NDArray[np.float64], rng: Randomness) -> NDArray[np.int64]:
        """Round at random until the norm bound holds (Kairouz, Liu and Steinke 2021, Algorithm 1)."""
        scaled = rotated * self.scale
        most = self.norm_bound**2
        for _ in range(_ROUNDING_ATTEMPTS):
            rounded = scaled + uniform_words(rng, scaled.size, np.uint32) * 2.0**-32
            np.floor(rounded, out=rounded)
            # Near the bound 64 bits hold the exact sum of squares; far from it they would wrap, and NaN compares false.
            if float(rounded @ rounded) <= 1.5 * most:
                integers: NDArray[np.int64] = rounded.astype(np.int64)
                if int(integers @ integers) <= most:
                    return integers
        raise MechanismError(f"update: no rounding within the norm bound in {_ROUNDING_ATTEMPTS} attempts")


def padded_variance(task: TaskSpec) -> int:
    """Return the variance of the noise in every released sum of one shard, in integer steps, under Poisson sampling.

    That of any cohort without drop-outs, for each of its devices rounded up by as much as it may be, and enough beside
    for the last part to be a discrete Gaussian of its own. It follows from the task alone.
    """
    members, counted = _least_counted(task)
    exact = (_device_noise(task) * _norm_bound(task)) ** 2 * members / counted
    return math.ceil(exact) + task.largest_shard + _MIN_VARIANCE


def hides_sizes(task: TaskSpec) -> bool:
    """Tell whether the noise of a released sum must not tell how many devices are in it."""
    return isinstance(task.participation, PoissonParticipation) and task.mechanism.noise_multiplier > 0


def released_variance(mechanism: Mechanism, survivors: int) -> int:
    """Return the variance of the devices' and the padding's noise in one shard's released sum, in steps squared."""
    return padded_variance(mechanism.task) if hides_sizes(mechanism.task) else mechanism.variance * survivors


def planned_noise_std(task: TaskSpec, shards: int) -> float:
    """Return the standard deviation per coordinate of the noise that is charged for in the sum of so many shards."""
    bound = _norm_bound(task)
    scale = _clip_steps(bound, task.length) / task.contribution_bound
    return math.sqrt(shards) * _device_noise(task) * bound / scale


def smallest_modulus(task: TaskSpec) -> int:
    """Return the fewest bits a coordinate at which rounding adds at most 1% to the sensitivity and every sum fits.

    Returns:
        8, 10, 12, 16, 21 or 32.

    Raises:
        MechanismError: when 32 bits are not enough.
    """
    for bits in _WIDTHS[:-1]:
        candidate = with_modulus(task, bits)
        try:
            if Mechanism.for_cohort(candidate, task.largest_shard).rounding_cost <= _ROUNDING_COST:
                return bits
        except MechanismError:
            continue
    Mechanism.for_cohort(with_modulus(task, _WIDTHS[-1]), task.largest_shard)
    return _WIDTHS[-1]


def with_modulus(task: TaskSpec, bits: int) -> TaskSpec:
    """Return the task with its sums counted modulo 2^bits."""
    aggregation = task.aggregation.model_copy(update={"modulus_bits": bits})
    return task.model_copy(update={"aggregation": aggregation})


def _device_noise(task: TaskSpec) -> float:
    """Return the noise multiplier that devices reach together; 0 where the server adds the noise."""
    return 0.0 if task.mechanism.correlation else task.mechanism.noise_multiplier


def _norm_bound(task: TaskSpec) -> float:
    """Return the norm bound on the finest grid where the largest shard's sum fits and the noise can be sampled."""
    noise = _device_noise(task)
    fits = (_half_modulus(task) - _tail(task) * math.sqrt(task.largest_shard)) / _reach(task)
    if noise == 0:
        return min(fits, math.sqrt(_UNNOISED_STEPS**2 + task.length))
    fine_noise = _SIGMA * math.sqrt(task.counted(task.shard_cohort)) / noise
    return min(fits, max(fine_noise, _ROUNDING_STEPS * math.sqrt(task.length)))


def _reach(task: TaskSpec) -> float:
    """Return how far a coordinate of the sum gets but for probability 2^-40, over the norm bound.

    The rotation makes a coordinate of the summed contributions, of norm at most n times the bound, sub-Gaussian with
    parameter n / sqrt(p) of it; no coordinate exceeds n of it in any case.
    """
    cohort, tail = task.largest_shard, _tail(task)
    members, counted = _least_counted(task)
    noise = _device_noise(task) * math.sqrt(members / counted)
    rotated = cohort / math.sqrt(spread(task.length))
    return min(cohort + tail * noise, tail * math.hypot(rotated, noise))


def _least_counted(task: TaskSpec) -> tuple[int, float]:
    """Return the size of a shard of whose devices the smallest fraction is counted on, and how many those are."""
    members = task.aggregation.min_survivors + task.aggregation.max_dropouts
    return members, task.counted(members)


def _tail(task: TaskSpec) -> float:
    return standard_tail(_WRAP_BITS, task.length)


def _half_modulus(task: TaskSpec) -> int:
    return (1 << (task.aggregation.modulus_bits - 1)) - 1


def _variance(task: TaskSpec, bound: float, honest: float) -> int:
    return math.ceil((_device_noise(task) * bound) ** 2 / honest)


def _check_variance(variance: int, bound: float, task: TaskSpec) -> None:
    if _device_noise(task) and variance < _MIN_VARIANCE:
        raise MechanismError(
            f"modulus_bits: {task.aggregation.modulus_bits} bits are too coarse for the noise of so many devices; "
            "use more bits"
        )
    fewest = task.aggregation.min_survivors
    if _variance(task, bound, min(task.counted(fewest), _least_counted(task)[1])) > dgauss.MAX_VARIANCE:
        raise MechanismError(f"min_survivors: the noise of {fewest} devices cannot be sampled; raise min_survivors")


def _check_modulus(bound: float, variance: int, cohort: int, task: TaskSpec) -> None:
    rotated = cohort * bound / math.sqrt(spread(task.length))
    spreads = _tail(task) * math.hypot(rotated, math.sqrt(variance * cohort))
    plain = cohort * bound + _tail(task) * math.sqrt(variance * cohort)
    if bound <= 0 or min(spreads, plain) > _half_modulus(task):
        raise MechanismError(
            f"modulus_bits: the sum of {cohort} devices does not fit {task.aggregation.modulus_bits} bits; "
            f"use more bits, or at most {task.largest_shard} devices"
        )


def _clip_steps(bound: float, length: int) -> float:
    """Return the clip, in steps, whose rounding stays within `bound` with probability above 1 - exp(-1/2).

    It inverts bound^2 = c^2 + d/4 + c + sqrt(d)/2, the Delta_2 of Kairouz, Liu and Steinke 2021 with beta = exp(-1/2).
    """
    room = bound * bound - length / 4 - math.sqrt(length) / 2
    if room <= 1:
        raise MechanismError(f"modulus_bits: at {length} coordinates rounding would exceed the clip; use more bits")
    return (math.sqrt(1 + 4 * room) - 1) / 2


def standard_tail(bits: int, draws: int) -> float:
    """Return how many sigmas a Gaussian-tailed value stays within, `draws` times, but for probability 2^-bits."""
    return math.sqrt(2 * math.log(2 * max(draws, 1)) + 2 * bits * math.log(2))
