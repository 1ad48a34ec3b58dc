"""Events in, epsilon out: what a sequence of releases costs one device.

Formal guarantee. For every device, replacing all its updates by zero changes the probability of any set of outputs by
at most a factor exp(epsilon) and delta. Rounds may be chosen adaptively; noise multipliers may not, which would need a
privacy filter. Two accountants must agree, and epsilon is rounded up. Poisson amplification holds against whoever sees
what is released, as long as neither the draw nor the cohort's size is: never against the server that draws.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from scipy.stats import binom

from privacy.composition import (
    RDP_NAME,
    AccountantsDisagree,
    Bracket,
    Composition,
    Sampled,
    bracket,
    rdp_epsilon,
    upper_bound,
)
from privacy.events import BoundedGaussian, Event, PoissonGaussian
from privacy.task import AggregationPolicy, LocalTraining, Participation, PoissonParticipation, largest_draw

__all__ = [
    "AccountantsDisagree",
    "Spend",
    "message_level_epsilon",
    "noise_multiplier_for",
    "spend",
    "spend_by_round",
    "truncation_slack",
]

_QUANTUM = Decimal("0.0001")
_CURVE_POINTS = 64
_COARSENESS = 16
_LARGEST_NOISE = 100_000
"""In hundredths."""


@dataclass(frozen=True)
class Spend:
    """What has been spent at `delta`.

    Attributes:
        epsilon: an upper bound, rounded up to four decimals; inf where nothing can be promised.
        slack: the part of delta that pays for cohorts too small or too large to release.
        second_epsilon: the second accountant's, looser, upper bound.
        discrepancy: how far below `epsilon` the accountant's own lower bound is.
    """

    epsilon: float
    delta: float
    slack: float
    accountant: str
    second_accountant: str
    second_epsilon: float
    discrepancy: float


def spend(events: Sequence[Event], delta: float) -> Spend:
    """What the events cost together, at device level.

    Raises:
        ValueError: when delta is not between 0 and 1.
        AccountantsDisagree: when the two accountants contradict each other.
    """
    _check_delta(delta)
    counts = Counter(events)
    slack = _slack(counts)
    found = bracket(_compose(counts), delta - slack) if slack < delta else _NOTHING
    epsilon = _rounded_up(found.upper)
    gap = 0.0 if math.isinf(epsilon) else max(0.0, epsilon - found.lower)
    return Spend(epsilon, delta, slack, found.accountant, RDP_NAME, found.second, gap)


def spend_by_round(events: Sequence[Event], delta: float) -> list[float]:
    """Epsilon after each event; the last equals `spend`.

    Computed at up to 64 evenly spread rounds; one between two of them gets the later one's epsilon, an upper bound.

    Raises:
        ValueError: when delta is not between 0 and 1.
    """
    _check_delta(delta)
    points = min(len(events), _CURVE_POINTS)
    curve: list[float] = []
    for point in range(1, points + 1):
        stop = math.ceil(len(events) * point / points)
        curve += [_upper(Counter(events[:stop]), delta)] * (stop - len(curve))
    return curve


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


def message_level_epsilon(training: LocalTraining, participations: int, delta: float) -> float:
    """Epsilon of one message on one device, from DP-SGD with Poisson batches there; inf without message noise.

    Adjacency: the message added or removed. It holds against whoever sees the device's own updates. It is another
    guarantee than the device's and is never added to it.

    Raises:
        ValueError: when participations is negative or delta is not between 0 and 1.
        AccountantsDisagree: when the two accountants contradict each other.
    """
    _check_delta(delta)
    if participations < 0:
        raise ValueError(f"participations: expected 0 or more, got {participations}")
    step = Sampled(training.sampling_rate, training.message_noise)
    composition = Composition.of(0.0, [(step, training.steps * participations)])
    return _rounded_up(bracket(composition, delta).upper)


def noise_multiplier_for(
    participation: Participation, rounds: int, epsilon: float, delta: float, aggregation: AggregationPolicy
) -> float:
    """The smallest noise multiplier, in hundredths, with which `rounds` rounds spend at most epsilon at delta.

    Raises:
        ValueError: when an argument is out of range, or no noise multiplier up to 1,000 is enough.
        AccountantsDisagree: when the two accountants contradict each other about the result.
    """
    _check_goal(rounds, epsilon, delta)
    left = delta - truncation_slack(participation, aggregation.min_survivors, rounds, aggregation.shards)
    if left <= 0:
        raise ValueError(
            f"min_survivors: expected so few that smaller cohorts are unlikely at delta {delta}, "
            f"got {aggregation.min_survivors}; "
            f"lower it or draw larger cohorts"
        )

    def planned(hundredths: int) -> Counter[Event]:
        return Counter({_event(participation, hundredths / 100, aggregation): rounds})

    chosen = _smallest_noise(lambda hundredths: _compose(planned(hundredths)), left, epsilon)
    if chosen is None or spend(list(planned(chosen).elements()), delta).epsilon > epsilon:
        raise ValueError(
            f"epsilon: {epsilon} at delta {delta} cannot be kept over {rounds} rounds with a noise multiplier up to "
            f"{_LARGEST_NOISE // 100}; raise epsilon or lower the rounds"
        )
    return chosen / 100


def _smallest_noise(composed: Callable[[int], Composition], delta: float, epsilon: float) -> int | None:
    """In hundredths. The second accountant gives an upper end, a coarse grid the place, the fine grid the answer."""

    def fits(hundredths: int, coarseness: int = 1) -> bool:
        return _rounded_up(upper_bound(composed(hundredths), delta, coarseness)) <= epsilon

    enough = _first(lambda hundredths: rdp_epsilon(composed(hundredths), delta) <= epsilon, 0, _LARGEST_NOISE)
    if enough == _LARGEST_NOISE and not fits(enough):
        return None
    below = int(enough * 0.93)
    while below and fits(below, _COARSENESS):
        enough, below = below, int(below * 0.93)
    enough = _first(lambda hundredths: fits(hundredths, _COARSENESS), below, enough)
    below, step = enough - 1, 1
    while below and fits(below):
        enough, below, step = below, max(0, below - 2 * step), 2 * step
    return _first(fits, below, enough)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first of low + 1 to high for which `holds`, once true, stays true; high when none before it."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _event(participation: Participation, noise_multiplier: float, aggregation: AggregationPolicy) -> Event:
    if isinstance(participation, PoissonParticipation):
        return PoissonGaussian(
            population=participation.population,
            sampling_rate=participation.sampling_rate,
            noise_multiplier=noise_multiplier,
            min_survivors=aggregation.min_survivors,
            shards=aggregation.shards,
        )
    limit = participation.max_participations
    return BoundedGaussian(task="", noise_multiplier=noise_multiplier, max_participations=limit)


_NOTHING = Bracket(math.inf, math.inf, math.inf, "none: delta is used up by cohorts of a size that cannot release")


def _upper(counts: Counter[Event], delta: float) -> float:
    left = delta - _slack(counts)
    return _rounded_up(upper_bound(_compose(counts), left)) if left > 0 else math.inf


def _slack(counts: Counter[Event]) -> float:
    return sum(
        times * _out_of_range(event.population, event.sampling_rate / event.shards, event.min_survivors)
        for event, times in counts.items()
        if isinstance(event, PoissonGaussian)
    )


@lru_cache(maxsize=256)
def _out_of_range(population: int, rate: float, min_survivors: int) -> float:
    """P[Bin(population - 1, rate)] below min_survivors or beyond what the modulus is made for, rounded up."""
    others = binom(population - 1, rate)
    too_few, too_many = others.cdf(min_survivors - 1), others.sf(largest_draw(population, rate) - 1)
    return float(too_few + too_many) * (1 + 1e-9)


def _compose(counts: Counter[Event]) -> Composition:
    sampled: list[tuple[Sampled, int]] = []
    bounded: dict[str, list[tuple[BoundedGaussian, int]]] = defaultdict(list)
    for event, times in counts.items():
        if isinstance(event, PoissonGaussian):
            sampled.append((Sampled(event.sampling_rate, event.noise_multiplier), times))
        else:
            bounded[event.task].append((event, times))
    return Composition.of(sum(map(_worst_mu_squared, bounded.values())), sampled)


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


def _rounded_up(epsilon: float) -> float:
    return float(Decimal(epsilon).quantize(_QUANTUM, ROUND_CEILING)) if math.isfinite(epsilon) else math.inf


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta: expected more than 0 and less than 1, got {delta}")


def _check_goal(rounds: int, epsilon: float, delta: float) -> None:
    _check_delta(delta)
    if rounds < 1:
        raise ValueError(f"rounds: expected 1 or more, got {rounds}")
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon: expected more than 0 and finite, got {epsilon}")
