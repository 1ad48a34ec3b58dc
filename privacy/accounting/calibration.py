"""The least noise that keeps a plan within its budget."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from privacy.accounting.accountant import check_delta, rounded_up, spend
from privacy.accounting.composition import (
    COARSE,
    Composition,
    Sampled,
    bracket,
    rdp_epsilon,
    settle,
    upper_bound,
)
from privacy.accounting.events import BoundedGaussian, CorrelatedGaussian, Event, sampled_event
from privacy.accounting.pivotal import least_reachable
from privacy.task.correlation import Correlation
from privacy.task.task import AggregationPolicy, BoundedParticipation, Participation, PoissonParticipation

_LARGEST_NOISE = 100_000
"""Noise multiplier beyond which none is searched for, in hundredths."""


def noise_multiplier_for(
    participation: Participation,
    rounds: int,
    epsilon: float,
    delta: float,
    aggregation: AggregationPolicy,
    *,
    correlation: Correlation | None = None,
) -> float:
    """Return the smallest noise multiplier with which so many rounds spend at most epsilon at delta.

    Args:
        participation: how cohorts are drawn.
        rounds: rounds of the plan.
        epsilon: what they may spend at device level.
        delta: between 0 and 1.
        aggregation: shards, and what decides whether there is a release.
        correlation: that of noise which the server adds over all the rounds; None where devices add their own.

    Returns:
        A whole number of hundredths.

    Sampled rounds are planned with the whole population within reach; those with fewer cost more.

    Raises:
        ValueError: when an argument is out of range, or no noise multiplier up to 1,000 is enough.
        TooFewReachable: when no draw from this population could be made at all.
        AccountantsDisagree: when the two accountants contradict each other about the result.
    """
    _check_goal(rounds, epsilon, delta)
    if isinstance(participation, PoissonParticipation):
        least_reachable(participation, aggregation)

    def planned(hundredths: int) -> Counter[Event]:
        if correlation is not None and isinstance(participation, BoundedParticipation):
            return Counter({_stream(participation, correlation, hundredths / 100, rounds): rounds})
        return Counter({_event(participation, hundredths / 100, aggregation): rounds})

    _, left = settle(planned(1), delta)
    chosen = _smallest_noise(lambda hundredths: settle(planned(hundredths), delta)[0], left, epsilon)
    if chosen is None or spend(planned(chosen), delta).epsilon > epsilon:
        raise ValueError(
            f"epsilon: {epsilon} at delta {delta} cannot be kept over {rounds} rounds with a noise multiplier up to "
            f"{_LARGEST_NOISE // 100}; raise epsilon or lower the rounds"
        )
    return chosen / 100


def message_noise_for(sampling_rate: float, steps: int, epsilon: float, delta: float) -> float:
    """Return the smallest noise multiplier with which so many steps of DP-SGD spend at most epsilon at delta.

    The guarantee is that of `accountant.message_level_epsilon`, for one participation.

    Args:
        sampling_rate: probability with which a message is in a Poisson batch.
        steps: steps of a participation.
        epsilon: what they may spend at message level.
        delta: between 0 and 1.

    Returns:
        A whole number of hundredths.

    Raises:
        ValueError: when an argument is out of range, or no noise multiplier up to 1,000 is enough.
        AccountantsDisagree: when the two accountants contradict each other about the result.
    """
    _check_goal(steps, epsilon, delta, "steps")
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate: expected more than 0 and at most 1, got {sampling_rate}")

    def composed(hundredths: int) -> Composition:
        return Composition.of(0.0, [(Sampled(sampling_rate, hundredths / 100), steps)])

    chosen = _smallest_noise(composed, delta, epsilon)
    if chosen is None or rounded_up(bracket(composed(chosen), delta).upper) > epsilon:
        raise ValueError(
            f"epsilon: {epsilon} at delta {delta} cannot be kept over {steps} steps with a noise multiplier up to "
            f"{_LARGEST_NOISE // 100}; raise epsilon or lower the steps"
        )
    return chosen / 100


def _smallest_noise(composed: Callable[[int], Composition], delta: float, epsilon: float) -> int | None:
    """Search for the least noise, in hundredths: by the second accountant, on a coarse grid, on the fine grid."""

    def fits(hundredths: int, coarseness: int = 1) -> bool:
        return rounded_up(upper_bound(composed(hundredths), delta, coarseness)) <= epsilon

    enough = _first(lambda hundredths: rdp_epsilon(composed(hundredths), delta) <= epsilon, 0, _LARGEST_NOISE)
    if enough == _LARGEST_NOISE and not fits(enough):
        return None
    below = int(enough * 0.93)
    while below and fits(below, COARSE):
        enough, below = below, int(below * 0.93)
    enough = _first(lambda hundredths: fits(hundredths, COARSE), below, enough)
    below, step = enough - 1, 1
    while below and fits(below):
        enough, below, step = below, max(0, below - 2 * step), 2 * step
    return _first(fits, below, enough)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first of low + 1 to high for which `holds`, which once true stays true; high when none before it."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _event(participation: Participation, noise_multiplier: float, aggregation: AggregationPolicy) -> Event:
    if isinstance(participation, PoissonParticipation):
        return sampled_event(participation, aggregation, noise_multiplier)
    limit = participation.max_participations
    return BoundedGaussian(task="", noise_multiplier=noise_multiplier, max_participations=limit)


def _stream(
    participation: BoundedParticipation, correlation: Correlation, noise_multiplier: float, rounds: int
) -> Event:
    return CorrelatedGaussian(
        task="",
        correlation=correlation,
        noise_multiplier=noise_multiplier,
        horizon=rounds,
        min_separation=participation.min_separation,
        max_participations=participation.max_participations,
    )


def _check_goal(times: int, epsilon: float, delta: float, unit: str = "rounds") -> None:
    check_delta(delta)
    if times < 1:
        raise ValueError(f"{unit}: expected 1 or more, got {times}")
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon: expected more than 0 and finite, got {epsilon}")
