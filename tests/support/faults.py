"""Faults that implementations of the mechanism have had, or could have: each is planted in the code that ships."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from privacy.accounting import sampling
from privacy.base import randomness
from privacy.base.randomness import Keystream, Randomness, SystemRandomness, uniform_unit, uniform_words
from privacy.mechanism import discrete_gaussian as dgauss, mechanism as shipped, rotation
from privacy.mechanism.mechanism import Mechanism
from privacy.task.states import Encoded, Update
from privacy.task.task import TaskSpec

Patch = pytest.MonkeyPatch
Integers = NDArray[np.int64]
Sampler = Callable[[int, int, Randomness], Integers]
"""As `discrete_gaussian.sample`: variance, size and source to noise."""

SAMPLE = dgauss.sample


@dataclass(frozen=True)
class Fault:
    """A fault of one kind, how it is planted, and whether it shows only where the clip adapts."""

    kind: str
    plant: Callable[[Patch], None]
    adaptive: bool = False


def _sampler(make: Callable[[], Sampler]) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(dgauss, "sample", make())


def _deviations(law: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[[Patch], None]:
    """Noise from uniform numbers in (0, 1), by a quantile function in deviations."""

    def sample(variance: int, size: int, rng: Randomness) -> Integers:
        uniform = np.clip(uniform_unit(rng, size), 2.0**-53, 1 - 2.0**-53)
        return np.rint(law(uniform) * math.sqrt(variance)).astype(np.int64)

    return _sampler(lambda: sample)


def _changed(change: Callable[[Integers, int], Integers]) -> Callable[[Patch], None]:
    """Right noise that is changed, given its variance."""
    return _sampler(lambda: lambda variance, size, rng: change(SAMPLE(variance, size, rng), variance))


def _clipped(deviations: float) -> Callable[[Patch], None]:
    def change(noise: Integers, variance: int) -> Integers:
        most = int(deviations * math.sqrt(variance))
        return np.clip(noise, -most, most)

    return _changed(change)


def _redrawn(deviations: float) -> Callable[[Patch], None]:
    """Values further out are drawn again, once: they become rarer."""

    def sample(variance: int, size: int, rng: Randomness) -> Integers:
        first, second = SAMPLE(variance, size, rng), SAMPLE(variance, size, rng)
        return np.where(np.abs(first) > deviations * math.sqrt(variance), second, first)

    return _sampler(lambda: sample)


def _shared(every: int, sign: int = 1) -> Callable[[Patch], None]:
    """The second of each `every` draws repeats the first one."""

    def make() -> Sampler:
        calls, last = [0], dict[int, Integers]()

        def sample(variance: int, size: int, rng: Randomness) -> Integers:
            calls[0] += 1
            if calls[0] % every == 2 % every and size in last:
                return sign * last[size]
            last[size] = SAMPLE(variance, size, rng)
            return last[size]

        return sample

    return _sampler(make)


def _places(factor: Callable[[int], NDArray[np.float64]]) -> Callable[[Patch], None]:
    """Noise times a factor for each place."""
    return _changed(lambda noise, _: np.rint(noise * factor(noise.size)).astype(np.int64))


def _every(places: int, factor: float) -> Callable[[int], NDArray[np.float64]]:
    return lambda size: np.where(np.arange(size) % places == places - 1, factor, 1.0)


def _last(size: int) -> NDArray[np.float64]:
    return np.where(np.arange(size) == size - 1, 0.0, 1.0)


def _without_noise_on(first: Callable[[TaskSpec], int]) -> Callable[[Patch], None]:
    """The noise is taken out of the coordinates from one on, after the rotation is undone."""

    def plant(patch: Patch) -> None:
        def encode(self: Mechanism, update: Update, seed: bytes, rng: Randomness) -> Encoded:
            whole = np.concatenate(
                [
                    self._clipped(update.delta)[1],
                    self.reported(update.statistics, within=self._clipped(update.delta)[0]),
                ]
            )
            noise = dgauss.sample(self.variance, whole.size, rng).astype(np.float64)
            turned = rotation.unrotate(noise, seed)
            turned[first(self.task) :] = 0
            noise = np.rint(rotation.rotate(turned, seed))
            return Encoded(self._round(rotation.rotate(whole, seed), rng) + noise.astype(np.int64))

        patch.setattr(Mechanism, "encode", encode)

    return plant


def _sized(change: Callable[[Mechanism, int], float]) -> Callable[[Patch], None]:
    """The variance of a device's noise times a factor."""

    def plant(patch: Patch) -> None:
        right = Mechanism.for_cohort.__func__  # type: ignore[attr-defined]

        def for_cohort(cls: type[Mechanism], task: TaskSpec, cohort: int) -> Mechanism:
            made: Mechanism = right(cls, task, cohort)
            return (
                replace(made, variance=max(1, round(made.variance * change(made, cohort)))) if made.variance else made
            )

        patch.setattr(Mechanism, "for_cohort", classmethod(for_cohort))

    return plant


def _expected_size(made: Mechanism, cohort: int) -> float:
    return cohort / made.task.shard_cohort


def _whole_cohort(made: Mechanism, cohort: int) -> float:
    return made.honest / cohort


def _draw(draw: Callable[[Sequence[int], float, Randomness], list[int]]) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(sampling, "_poisson", draw)


POISSON = sampling._poisson


def _fixed_size(devices: Sequence[int], rate: float, rng: Randomness) -> list[int]:
    return sampling._uniform_subset(devices, round(rate * len(devices)), rng)


def _cut(devices: Sequence[int], rate: float, rng: Randomness) -> list[int]:
    most = math.ceil(rate * len(devices) + math.sqrt(rate * len(devices)))
    return POISSON(devices, rate, rng)[:most]


def _households(devices: Sequence[int], rate: float, rng: Randomness) -> list[int]:
    """Neighbours have one coin."""
    chosen = POISSON(range((len(devices) + 1) // 2), rate, rng)
    return [devices[place] for pair in chosen for place in (2 * pair, 2 * pair + 1) if place < len(devices)]


def _encoded(contribute: Callable[[Mechanism, Update], NDArray[np.float64]]) -> Callable[[Patch], None]:
    """Another contribution, rounded without a bound on its norm."""

    def plant(patch: Patch) -> None:
        _rounded(_without_bound)(patch)

        def encode(self: Mechanism, update: Update, seed: bytes, rng: Randomness) -> Encoded:
            noise = dgauss.sample(self.variance, self.task.length, rng) if self.variance else 0
            return Encoded(self._round(shipped.rotate(contribute(self, update), seed), rng) + noise)

        patch.setattr(Mechanism, "encode", encode)

    return plant


def _statistics(change: Callable[[Mechanism, Update], NDArray[np.float64]]) -> Callable[[Patch], None]:
    return _encoded(lambda self, update: np.concatenate([self._clipped(update.delta)[1], change(self, update)]))


def _uncut(self: Mechanism, update: Update) -> NDArray[np.float64]:
    return self.task.mechanism.clip * np.array(
        [one.sensitivity_fraction * update.statistics[one.name] / one.bound for one in self.task.statistics]
    )


def _whole_clip(self: Mechanism, update: Update) -> NDArray[np.float64]:
    """Each statistic as long as the clip, instead of its fraction of it."""
    return self.task.mechanism.clip * np.array(
        [min(max(update.statistics[one.name] / one.bound, 0), 1) for one in self.task.statistics]
    )


def _negative(self: Mechanism, update: Update) -> NDArray[np.float64]:
    """Cut above, and not below."""
    return self.task.mechanism.clip * np.array(
        [
            one.sensitivity_fraction * max(min(update.statistics[one.name] / one.bound, 1), -9)
            for one in self.task.statistics
        ]
    )


def _delta(change: Callable[[NDArray[np.float64], float], NDArray[np.float64]]) -> Callable[[Patch], None]:
    def contribute(self: Mechanism, update: Update) -> NDArray[np.float64]:
        changed = change(update.delta.astype(np.float64), self.task.mechanism.clip)
        return np.concatenate([changed, self.reported(update.statistics, within=True)])

    return _encoded(contribute)


def _by_halves(delta: NDArray[np.float64], clip: float) -> NDArray[np.float64]:
    return np.concatenate([_to_norm(part, clip) for part in np.array_split(delta, 2)])


def _to_norm(delta: NDArray[np.float64], clip: float) -> NDArray[np.float64]:
    return delta * min(1.0, clip / max(float(np.linalg.norm(delta)), 1e-300))


def _rounded(rounding: Callable[[Mechanism, NDArray[np.float64], Randomness], Integers]) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(Mechanism, "_round", rounding)


def _without_bound(self: Mechanism, rotated: NDArray[np.float64], rng: Randomness) -> Integers:
    words = uniform_words(rng, rotated.size, np.uint32)
    return np.floor(rotated * self.scale + words * 2.0**-32).astype(np.int64)


def _away_from_zero(self: Mechanism, rotated: NDArray[np.float64], rng: Randomness) -> Integers:  # noqa: ARG001
    return (np.sign(rotated) * np.ceil(np.abs(rotated) * self.scale)).astype(np.int64)


def _loose_bound(self: Mechanism, rotated: NDArray[np.float64], rng: Randomness) -> Integers:
    """Only the check in floating point, of one and a half times the bound."""
    while True:
        rounded = _without_bound(self, rotated, rng)
        if float(rounded @ rounded) <= 1.5 * self.norm_bound**2:
            return rounded


def _rotation(turn: Any) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        for module in (rotation, shipped):
            patch.setattr(module, "rotate", turn)

    return plant


def _passes(change: Callable[[list[Any], bytes], list[Any]]) -> Callable[[Patch], None]:
    right = rotation._passes
    return lambda patch: patch.setattr(rotation, "_passes", lambda vector, seed: change(right(vector, seed), seed))


def _no_signs(passes: list[Any], seed: bytes) -> list[Any]:  # noqa: ARG001
    return [(window, np.ones_like(signs)) for window, signs in passes]


def _one_seed(patch: Patch) -> None:
    right = rotation._passes
    patch.setattr(rotation, "_passes", lambda vector, seed: right(vector, bytes(len(seed))))


def _seeds(seed: Callable[[], bytes]) -> Callable[[Patch], None]:
    def start(self: SystemRandomness) -> None:
        self._stream = Keystream(seed())

    return lambda patch: patch.setattr(SystemRandomness, "__init__", start)


def _tokens(change: Callable[[bytes], bytes]) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        patch.setattr(SystemRandomness, "token", lambda self, size: change(self._stream.read(size)))

    return plant


def _short_period(drawn: bytes, period: int = 1 << 10) -> bytes:
    return (drawn[:period] * (len(drawn) // period + 1))[: len(drawn)]


def _any_source(patch: Patch) -> None:
    for module in (randomness, shipped):
        patch.setattr(module, "require_origin", lambda *_: None)


def _uniform(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return (2 * u - 1) * math.sqrt(3)


def _laplace(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.sign(u - 0.5) * np.log(1 - 2 * np.abs(u - 0.5)) / math.sqrt(2)


def _logistic(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(u / (1 - u)) * math.sqrt(3) / math.pi


def _skewed(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.log(u) - 1


def _quantiles(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Gaussian's, at 256 points."""
    drawn: NDArray[np.float64] = ndtri((np.floor(u * 256) + 0.5) / 256)
    return drawn


PLANTED: Mapping[str, Fault] = {
    "half the noise": Fault("too little", _sized(lambda *_: 0.25)),
    "a tenth less noise": Fault("too little", _sized(lambda *_: 0.81)),
    "noise of drop-outs counted on": Fault("too little", _sized(_whole_cohort)),
    "deviation taken for variance": Fault(
        "too little", _changed(lambda noise, variance: noise // math.isqrt(math.isqrt(variance)))
    ),
    "sources of 16 bits": Fault("entropy", _seeds(lambda: os.urandom(2) + bytes(46))),
    "noise at 256 quantiles": Fault("entropy", _deviations(_quantiles)),
    "noise on a grid of four": Fault(
        "entropy", _sampler(lambda: lambda variance, size, rng: 4 * SAMPLE(max(1, variance // 16), size, rng))
    ),
    "a source that repeats after 1 KiB": Fault("entropy", _tokens(_short_period)),
    "seven bits a byte": Fault("entropy", _tokens(lambda drawn: bytes(byte & 0x7F for byte in drawn))),
    "clipped at 3 deviations": Fault("tails", _clipped(3.0)),
    "clipped at 4 deviations": Fault("tails", _clipped(4.0)),
    "far values drawn again": Fault("tails", _redrawn(3.0)),
    "uniform noise": Fault("shape", _deviations(_uniform)),
    "Laplace noise": Fault("shape", _deviations(_laplace)),
    "logistic noise": Fault("shape", _deviations(_logistic)),
    "skewed noise": Fault("shape", _deviations(_skewed)),
    "pairs of draws alike": Fault("shared", _shared(2)),
    "one pair in ten alike": Fault("shared", _shared(10)),
    "pairs that cancel": Fault("shared", _shared(2, -1)),
    "none in the last place": Fault("places", _places(_last)),
    "none in every sixteenth place": Fault("places", _places(_every(16, 0.0))),
    "half in every fiftieth place": Fault("places", _places(_every(50, 0.5))),
    "none on the statistics": Fault("places", _without_noise_on(lambda task: task.model.dimension)),
    "noise for the expected cohort": Fault("poisson", _sized(_expected_size)),
    "cohorts of one size": Fault("poisson", _draw(_fixed_size)),
    "cohorts cut at a size": Fault("poisson", _draw(_cut)),
    "half as many again": Fault("poisson", _draw(lambda devices, rate, rng: POISSON(devices, min(1, 1.5 * rate), rng))),
    "one coin for two devices": Fault("poisson", _draw(_households)),
    "statistics not cut": Fault("statistics", _statistics(_uncut)),
    "statistics as long as the clip": Fault("statistics", _statistics(_whole_clip)),
    "statistics below zero": Fault("statistics", _statistics(_negative)),
    "bit without noise": Fault("bit", _without_noise_on(lambda task: task.length - 1), adaptive=True),
    "no rotation": Fault("rotation", _rotation(lambda vector, *_: vector.copy())),
    "one window left out": Fault("rotation", _passes(lambda passes, _: passes[:1])),
    "no signs": Fault("rotation", _passes(_no_signs)),
    "one rotation for all rounds": Fault("rotation", _one_seed),
    "rounded without a bound": Fault("rounding", _rounded(_without_bound)),
    "rounded away from zero": Fault("rounding", _rounded(_away_from_zero)),
    "rounded within a loose bound": Fault("rounding", _rounded(_loose_bound)),
    "any source will do": Fault("source", _any_source),
    "the system's source of a fixed seed": Fault("source", _seeds(lambda: bytes(48))),
    "no clip": Fault("clip", _delta(lambda delta, _: delta)),
    "clip by halves": Fault("clip", _delta(_by_halves)),
}
