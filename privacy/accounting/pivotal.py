"""How often a sum is released only thanks to one device, and draws at which that is too often.

Formal guarantee. Adjacency: one device's updates replaced by zero, so that the coins, the drop-outs and whether a round
releases have the same law in both worlds. Of one attempt of Poisson sampling, take as known to the adversary who else
was drawn, who would drop out, and whether there was a release; that can only help it (joint convexity). Then

* an attempt without a release costs nothing: nothing that it shows depends on the device's update;
* the device is pivotal in an attempt if it was drawn and is the last of the `min_survivors` that a sum needs. What is
  released then is the Gaussian mechanism without sampling;
* in every other release the others alone were enough. The device's coin was free, so this is the Gaussian mechanism
  sampled at exactly its rate, or nothing of the device where it would have dropped out.

A released round is therefore dominated by the mixture, whose component is known, of the unsampled mechanism with
probability f and the sampled one with 1 - f, where f = P[pivotal] / P[released]. To average the two into one mechanism
of rate f + (1 - f) q instead is no bound: where all others send one vector, the noisy sum shows which it was.

Two things of a round's end do not make f larger. That a shard releases nothing beyond so many devices: what would have
been released then did not hold the device. And that it releases nothing once more than a constant number of its devices
dropped out: a device in the sum is none of those. For the rest, devices have to be the same in any cohort of the task,
from the smallest with `min_survivors` on: any gap above it would be a second threshold.

What is assumed: each device that can be reached fails to come into a sum, once drawn, by itself, whoever else is drawn,
and with a probability that is on average at most `max_dropouts` over the devices expected in a shard; with more of them
most rounds would release nothing anyway. Devices need not be alike, and some may always fail: in its lower tail the
number in a sum is then less likely than the binomial of the same mean (Newton's inequalities: the ratio of the two is
log-concave). f falls with the number of devices that can be reached and do not fail (the waiting time for the last
survivor is log-concave), so f at that number bounds f at any greater one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from decimal import ROUND_CEILING, Context
from functools import lru_cache

from scipy.stats import binom

from privacy.task.task import AggregationPolicy, PoissonParticipation, TaskSpec, largest_shard

MOST_PIVOTAL = 1e-3
"""A draw in which a release would hinge on the device more often is not made: its price grows out of proportion."""
LOTS_DELTA = 2.0**-79
"""The probability with which lots put fewer of the others into a device's shard than are counted on, or more."""
_LEAST = 1e-24
"""What is below costs nothing that anyone could measure, and is counted as this."""
_FINE, _COARSE, _SMALL = 960, 48, 1e-12
"""Steps a decade above and below a probability that hardly costs anything in rounds as many as anybody runs."""
_UP = Context(prec=4, rounding=ROUND_CEILING)
_ROUNDING = 1 + 1e-9
"""More than the relative errors of the binomial tails."""


class TooFewReachable(ValueError):
    """Too few devices can be reached for a draw whose releases hinge on no single device."""


def tolerated_losses(participation: PoissonParticipation, policy: AggregationPolicy) -> float:
    """Return the fraction of drawn devices that f assumes to be lost before a sum, at most."""
    return min(1.0, policy.max_dropouts * policy.shards / participation.expected_cohort)


def pivotal_probability(participation: PoissonParticipation, policy: AggregationPolicy, reachable: int) -> float:
    """Bound f, the probability that a released sum hinged on the device; see the module for the guarantee.

    Args:
        participation: the coin, and so the rate.
        policy: shards, the fewest survivors, and how many may drop out.
        reachable: devices that coins are thrown for, in all shards together.

    Returns:
        More than 0 and at most 1, on a grid of 960 steps a decade, 48 below 1e-12, so that a ledger holds few kinds of
        events.
    """
    return _on_grid(_pivotal(participation, policy, reachable))


def least_reachable(participation: PoissonParticipation, policy: AggregationPolicy) -> int:
    """Return how many devices have to be reachable, at least, for f to be at most `MOST_PIVOTAL`.

    Raises:
        TooFewReachable: when the whole population would not be enough.
    """
    population = participation.population
    found = bisect_left(
        range(population + 1), True, key=lambda count: _pivotal(participation, policy, count) <= MOST_PIVOTAL
    )
    if found > population:
        expected = participation.expected_cohort / policy.shards
        raise TooFewReachable(
            f"min_survivors: expected far fewer than the {expected:g} devices that are drawn for a shard, got "
            f"{policy.min_survivors}: whether a round releases would show who was drawn, even with all "
            f"{population} devices within reach; lower it, draw larger cohorts, or use bounded participation"
        )
    return found


def promises_by_sampling(task: TaskSpec) -> bool:
    """Tell whether a task's promise counts on sampled cohorts, so that a draw could spoil it.

    A task without noise promises nothing, and one that stands for a fleet, with a fraction of its noise, protects
    nobody: they are charged as they are.
    """
    sampled = isinstance(task.participation, PoissonParticipation)
    return sampled and task.mechanism.noise_multiplier > 0 and task.simulation.fleet is None


def require_reachable(task: TaskSpec, reachable: int) -> None:
    """Refuse a draw, before coins are thrown, in which a release would hinge on single devices.

    Only where `promises_by_sampling`.

    Raises:
        TooFewReachable: when too few devices can be reached; the message says what to do.
    """
    plan = task.participation
    if not isinstance(plan, PoissonParticipation) or not promises_by_sampling(task):
        return
    least = least_reachable(plan, task.aggregation)
    if reachable < least:
        raise TooFewReachable(
            f"draw: expected at least {least} devices within reach, got {reachable}: with so few, a release would show "
            "who was drawn; wait for more devices, lower min_survivors in a new task, or use bounded participation"
        )


@lru_cache(maxsize=4096)
def _pivotal(participation: PoissonParticipation, policy: AggregationPolicy, reachable: int) -> float:
    rate = participation.sampling_rate
    if rate == 1:
        return 0.0  # nothing is left to chance, and nothing amplified: every round is charged as unsampled
    least, most = _others_in_shard(reachable, policy.shards)
    lost = tolerated_losses(participation, policy)
    too_many = float(binom.sf(largest_shard(participation, policy.shards) - 1, most, rate))
    each = _hinged(least, rate * (1 - lost), rate, policy.min_survivors, too_many)
    some = _hinged(least - math.ceil(lost * reachable / policy.shards), rate, rate, policy.min_survivors, too_many)
    return min(1.0, max(each, some) * _ROUNDING)


def _hinged(others: int, in_sum: float, rate: float, needed: int, too_many: float) -> float:
    """Return P[drawn and the last that is needed] / P[released], of a device that does not drop out itself.

    Args:
        others: other devices that may be drawn.
        in_sum: the probability with which each of them comes into the sum.
        rate: the probability with which the device itself is drawn.
        needed: fewest devices in a sum.
        too_many: the probability that more are drawn than a shard takes.
    """
    if others < needed - 1:
        return 1.0
    pivotal = rate * float(binom.pmf(needed - 1, others, in_sum))
    released = float(binom.sf(needed - 1, others, in_sum)) + pivotal - too_many
    return pivotal / released if released > 0 else 1.0


def _others_in_shard(reachable: int, shards: int) -> tuple[int, int]:
    """Return how many others are in the device's shard, at least and at most, but for probability `LOTS_DELTA`."""
    others = max(0, reachable - 1)
    if shards == 1:
        return others, others
    tail, lots = LOTS_DELTA / 2, binom(others, 1 / shards)
    least = bisect_left(range(others), True, key=lambda count: bool(lots.cdf(count) > tail))
    return least, bisect_left(range(others), True, key=lambda count: bool(lots.sf(count) <= tail))


def _on_grid(probability: float) -> float:
    """Round up to the next of the grid's four-digit decimals."""
    decade = _FINE if probability > _SMALL else _COARSE
    place = math.floor(math.log10(max(probability, _LEAST)) * decade)
    steps = (_step(number, decade) for number in range(place - 1, place + 3))
    return next(step for step in steps if step >= probability and step >= _LEAST)


def _step(number: int, decade: int) -> float:
    return min(1.0, float(_UP.create_decimal(repr(10.0 ** (number / decade)))))
