"""A small audited round, and rounds with one fault each that implementations of the mechanism have had."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from privacy.audit import Audited, Pipeline, Shipped
from privacy.audit.pipeline import round_rotation, total
from privacy.base.randomness import Randomness, uniform_unit
from privacy.mechanism import discrete_gaussian as dgauss
from privacy.mechanism.mechanism import Mechanism
from privacy.mechanism.rotation import rotate
from privacy.task.states import Total, Update
from privacy.task.task import (
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    ModelSpec,
    ParameterSpec,
    Statistic,
)
from simulations.randomness import SeedTree
from tests.support.tasks import make_task

LAYERS = 4
WIDTH = 4
_ATTEMPTS = 40
"""A clip that is too wide leaves no rounding within the bound; the last one is taken."""
SEED = SeedTree.root(20_241)

Clip = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def audited(
    cohort: int = 4,
    *,
    noise: float = 1.0,
    dropout: float = 0.0,
    corrupt: float = 0.0,
    dimension: int = LAYERS * WIDTH,
    statistics: Sequence[Statistic] = (),
) -> Audited:
    """A model of four layers alike; all noise is counted unless drop-outs or corrupt devices are assumed."""
    layers = tuple(ParameterSpec(name=f"layer{at}", shape=(dimension // LAYERS,)) for at in range(LAYERS))
    task = make_task(
        model=ModelSpec(architecture="test", parameters=layers),
        mechanism=DeviceMechanism(clip=0.5, noise_multiplier=noise),
        statistics=tuple(statistics),
        participation=BoundedParticipation(cohort=cohort, max_participations=1),
        aggregation=AggregationPolicy(
            corrupt_fraction=corrupt,
            max_dropouts=math.floor(dropout * cohort),
            min_survivors=max(2, math.floor(dropout * cohort) + 1),
            modulus_bits=32,
        ),
        budget=Budget(delta=1e-5),
    )
    return Audited(task, cohort)


@dataclass(frozen=True)
class Handmade:
    """The mechanism written out, with one of its steps replaced."""

    round: Audited
    clip: Clip
    noise_first: bool = False

    def __call__(self, updates: Sequence[Update], number: int, rng: Randomness) -> Total:
        sums = np.sum([self._encode(update, number, rng) for update in updates], axis=0)
        return total(self.round.task, sums, self.round.cohort, len(updates), number)

    def _encode(self, update: Update, number: int, rng: Randomness) -> NDArray[np.int64]:
        chosen = self.round.mechanism
        noise, exact = dgauss.sample(chosen.variance, update.delta.size, rng), update.delta.astype(np.float64)
        clipped = self.clip(exact + noise / chosen.scale if self.noise_first else exact)
        integers = self._rounded(rotate(clipped, round_rotation(number)) * chosen.scale, rng)
        return integers if self.noise_first else integers + noise

    def _rounded(self, exact: NDArray[np.float64], rng: Randomness) -> NDArray[np.int64]:
        for _ in range(_ATTEMPTS):
            integers: NDArray[np.int64] = np.floor(exact + uniform_unit(rng, exact.size)).astype(np.int64)
            if float(np.linalg.norm(integers)) <= self.round.mechanism.norm_bound:
                break
        return integers


@dataclass(frozen=True)
class Replayed:
    """The shipped round with the randomness of another one."""

    shipped: Pipeline
    other: Callable[[int], int]

    def __call__(self, updates: Sequence[Update], number: int, rng: Randomness) -> Total:  # noqa: ARG002
        return self.shipped(updates, number, SEED.child("replayed", self.other(number)).stream())


def weaker(round_: Audited, fraction: float) -> Pipeline:
    """The shipped round whose noise has only this fraction of its standard deviation."""
    mechanism = round_.mechanism
    return Shipped(replace(mechanism, variance=round(mechanism.variance * fraction**2)), round_.cohort)


def sized_for_all(round_: Audited) -> Pipeline:
    """Each device adds its part of the noise as if nobody dropped out."""
    policy = round_.task.aggregation.model_copy(update={"max_dropouts": 0})
    everyone = round_.task.model_copy(update={"aggregation": policy})
    steps = Mechanism.for_cohort(everyone, round_.cohort)
    right = round_.mechanism
    variance = round(steps.variance * (right.norm_bound / steps.norm_bound) ** 2)
    return Shipped(replace(right, variance=variance), round_.cohort)


def to_norm(clip: float) -> Clip:
    """The right clip."""
    return lambda vector: vector * min(1.0, clip / max(float(np.linalg.norm(vector)), 1e-300))


def by_layer(clip: float) -> Clip:
    """Every layer clipped by itself."""
    return lambda vector: np.concatenate([to_norm(clip)(layer) for layer in np.split(vector, LAYERS)])


@dataclass(frozen=True)
class Fault:
    """A fault, the round that it is looked for in, the check that must see it, and the runs that it needs."""

    check: str
    round: Audited
    broken: Callable[[Audited], Pipeline]
    trials: int = 60


FAULTS: Mapping[str, Fault] = {
    "half the noise": Fault("noise: no canary", audited(), lambda round_: weaker(round_, 0.5)),
    "70% of the noise": Fault("noise: no canary", audited(), lambda round_: weaker(round_, 0.7)),
    "noise of drop-outs is missing": Fault("noise: no canary", audited(10, dropout=0.3), sized_for_all),
    "variance used as deviation": Fault(
        "noise: no canary", audited(noise=4.0), lambda round_: weaker(round_, 1 / math.sqrt(4.0))
    ),
    "noise averaged with the sum": Fault(
        "noise: no canary", audited(), lambda round_: weaker(round_, 1 / math.sqrt(round_.cohort))
    ),
    "clip by layer": Fault(
        "distinguishing: clip in every layer",
        audited(),
        lambda round_: Handmade(round_, by_layer(round_.task.mechanism.clip)),
        trials=300,
    ),
    "no clip": Fault(
        "distinguishing: far beyond the clip", audited(), lambda round_: Handmade(round_, lambda vector: vector)
    ),
    "clip after noise": Fault(
        "noise: no canary",
        audited(),
        lambda round_: Handmade(round_, to_norm(round_.task.mechanism.clip), noise_first=True),
    ),
    "the same noise in two rounds": Fault(
        "noise: independence", audited(), lambda round_: Replayed(Shipped.of(round_), lambda number: number // 2)
    ),
    "the noise of a round long ago": Fault(
        "noise: independence",
        audited(),
        lambda round_: Replayed(Shipped.of(round_), lambda number: 7 if number == 57 else number),
    ),
}
