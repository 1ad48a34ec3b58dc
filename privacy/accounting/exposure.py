"""Events to what one device is exposed to: a composition, and the delta that imperfect sampling takes away."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache

from scipy.stats import binom

from privacy.accounting.composition import Composition, Sampled
from privacy.accounting.events import BoundedGaussian, CorrelatedGaussian, Event, PoissonGaussian
from privacy.task.correlation import squared_sensitivity
from privacy.task.task import Participation, PoissonParticipation, largest_draw


def compose(counts: Counter[Event]) -> Composition:
    """What the worst-placed device is exposed to by events that each happened so many times."""
    sampled: list[tuple[Sampled, int]] = []
    bounded: dict[str, list[tuple[BoundedGaussian, int]]] = defaultdict(list)
    correlated: dict[CorrelatedGaussian, int] = defaultdict(int)
    for event, times in counts.items():
        if isinstance(event, PoissonGaussian):
            sampled.append((Sampled(event.sampling_rate, event.noise_multiplier), times))
        elif isinstance(event, BoundedGaussian):
            bounded[event.task].append((event, times))
        elif times:
            stream = event.model_copy(update={"horizon": 1})
            correlated[stream] = max(correlated[stream], event.horizon)
    mu_squared = sum(map(_worst_mu_squared, bounded.values()))
    return Composition.of(mu_squared + sum(_correlated_mu_squared(*one) for one in correlated.items()), sampled)


def slack(counts: Counter[Event]) -> float:
    """The delta that rounds with too few devices to release, or too many, may cost: see `truncation_slack`."""
    return sum(
        times * _out_of_range(event.population, event.sampling_rate / event.shards, event.min_survivors)
        for event, times in counts.items()
        if isinstance(event, PoissonGaussian)
    )


def truncation_slack(participation: Participation, min_survivors: int, rounds: int, shards: int = 1) -> float:
    """The delta that rounds with too few devices to release, or too many, may cost; 0 without amplification.

    Whether a round releases depends on the draw, which ideal Poisson sampling hides. Given how many other devices are
    in its shard, only one device too few or too many shows whether this device takes part; every other shard is ideal,
    or silent either way. So delta grows by at most rounds * P[Bin(population - 1, rate / shards) is out of range].
    Drop-outs are taken not to depend on the draw.
    """
    if not isinstance(participation, PoissonParticipation):
        return 0.0
    return rounds * _out_of_range(participation.population, participation.sampling_rate / shards, min_survivors)


@lru_cache(maxsize=256)
def _out_of_range(population: int, rate: float, min_survivors: int) -> float:
    """P[Bin(population - 1, rate)] below min_survivors or beyond what the modulus is made for, rounded up."""
    others = binom(population - 1, rate)
    too_few, too_many = others.cdf(min_survivors - 1), others.sf(largest_draw(population, rate) - 1)
    return float(too_few + too_many) * (1 + 1e-9)


def _worst_mu_squared(rounds: Iterable[tuple[BoundedGaussian, int]]) -> float:
    """Of the device that takes part in the rounds of one task with the least noise, as often as it may."""
    ordered = sorted(rounds, key=lambda item: item[0].noise_multiplier)
    left = max(event.max_participations for event, _ in ordered)
    mu_squared = 0.0
    for event, times in ordered:
        taken = min(left, times)
        if taken:
            mu_squared += taken / event.noise_multiplier**2 if event.noise_multiplier else math.inf
        left -= taken
    return mu_squared


def _correlated_mu_squared(stream: CorrelatedGaussian, horizon: int) -> float:
    """Of the worst device over all rounds that were paid for, the same for every charge of a stream."""
    if not stream.noise_multiplier:
        return math.inf
    squared = squared_sensitivity(stream.correlation, horizon, stream.min_separation, stream.max_participations)
    return squared / stream.noise_multiplier**2
