"""Events in, epsilon out: what a sequence of releases costs one device.

Formal guarantee. For every device, replacing all its updates by zero changes the probability of any set of outputs by
at most a factor exp(epsilon) and delta. Rounds may be chosen adaptively; noise multipliers may not, which would need a
privacy filter. Two accountants must agree, and epsilon is rounded up. Poisson amplification holds against whoever sees
what is released, as long as neither the draw nor the cohort's size is: never against the server that draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal

from privacy.accounting.composition import (
    COARSE,
    AccountantsDisagree,
    Bracket,
    Composition,
    Sampled,
    bracket,
    checked_upper,
    compose,
    lots_delta,
    settle,
    upper_bound,
)
from privacy.accounting.events import Event, PoissonGaussian
from privacy.accounting.second_opinion import second_opinion
from privacy.task.task import LocalSgd, Training

__all__ = [
    "AccountantsDisagree",
    "Events",
    "Spend",
    "confirmed_spend",
    "epsilon_of",
    "known_cohorts",
    "known_cohorts_epsilon",
    "message_level_epsilon",
    "privacy_curve",
    "rounds_left",
    "spend",
    "spend_by_round",
    "within",
]

Events = Iterable[Event] | Mapping[Event, int]
"""Events, or how often each happened: their order costs nothing."""

_DECIMALS, _DIGITS = 4, 5
"""Decimals of epsilon as it is stated, and digits of one below 1."""
_WIDE = Context(prec=400)
"""Precise enough for the shortest step below any float."""
_CURVE_POINTS = 64
_FAR = 1_000_000
"""Rounds beyond which nobody plans."""


@dataclass(frozen=True)
class Spend:
    """What has been spent at `delta`.

    Attributes:
        epsilon: an upper bound, rounded up by at most a ten-thousandth of it; inf where nothing can be promised.
        delta: what `epsilon` holds at; `lots_delta` is part of it.
        lots_delta: the part of delta that pays for lots that put unlikely few of the others into a device's shard.
        mu: that of all unsampled Gaussians, which compose exactly; None where some rounds were sampled.
        accountant: name and version of the code that found `epsilon`.
        second_accountant: name and version of the code that confirmed it.
        second_epsilon: the second accountant's upper bound.
        discrepancy: how far below `epsilon` the highest lower bound is.
    """

    epsilon: float
    delta: float
    lots_delta: float
    mu: float | None
    accountant: str
    second_accountant: str
    second_epsilon: float
    discrepancy: float


def spend(events: Events, delta: float) -> Spend:
    """Return what the events cost together, at device level.

    Formal guarantee: for every device, replacing all its updates by zero changes the probability of any set of outputs
    by at most a factor exp(epsilon) and delta; see the module.

    Raises:
        ValueError: when delta is not between 0 and 1.
        AccountantsDisagree: when the two accountants contradict each other.
    """
    check_delta(delta)
    counts = Counter(events)
    composition, left = settle(counts, delta)
    bounds = bracket(composition, left) if left > 0 else _NOTHING
    epsilon = rounded_up(bounds.upper)
    gap = 0.0 if math.isinf(epsilon) else max(0.0, epsilon - bounds.lower)
    mu = None if composition.sampled else composition.mu
    return Spend(
        epsilon, delta, lots_delta(counts), mu, bounds.accountant, bounds.second_accountant, bounds.second, gap
    )


def epsilon_of(events: Events, delta: float) -> float:
    """Return the epsilon of `spend`, the same number, in a third of the time: for a figure after every round.

    The lower bound that it is checked against is of a coarser grid, on which the ledger has looked already.

    Raises:
        ValueError: when delta is not between 0 and 1.
        AccountantsDisagree: when the two accountants contradict each other.
    """
    check_delta(delta)
    composition, left = settle(Counter(events), delta)
    return rounded_up(checked_upper(composition, left)) if left > 0 else math.inf


def confirmed_spend(events: Events, delta: float) -> Spend:
    """Return what the events cost together as `spend` does, confirmed by an independent accountant.

    It takes seconds, where `spend` takes a fraction of a second.

    Raises:
        ValueError: when delta is not between 0 and 1.
        AccountantsDisagree: when any two accountants contradict each other.
    """
    spent = spend(events, delta)
    if math.isinf(spent.epsilon):
        return spent
    composition, left = settle(Counter(events), delta)
    second = second_opinion(composition, left, bracket(composition, left))
    gap = min(spent.discrepancy, max(0.0, spent.epsilon - second.lower))
    return replace(spent, second_accountant=second.accountant, second_epsilon=second.upper, discrepancy=gap)


def known_cohorts_epsilon(events: Events, delta: float) -> float | None:
    """Return the epsilon of sampled rounds towards whoever learns who took part, or only how many.

    Those are the server, every member of a cohort, and whoever has the round log. It is what the same events cost
    without amplification, for a device that was in every charged round.

    Args:
        events: what was charged.
        delta: between 0 and 1.

    Returns:
        An upper bound, rounded up; None where nothing was sampled, and `spend` holds towards them as well.

    Raises:
        ValueError: when delta is not between 0 and 1.
    """
    check_delta(delta)
    known = known_cohorts(Counter(events))
    return None if known is None else rounded_up(upper_bound(compose(known), delta))


def known_cohorts(counts: Counter[Event]) -> Counter[Event] | None:
    """Return the events as they are to whoever learns who took part: unsampled. None where nothing was sampled."""
    known: Counter[Event] = Counter()
    for event, times in counts.items():
        sampled = isinstance(event, PoissonGaussian)
        known[event.model_copy(update={"sampling_rate": 1.0}) if sampled else event] += times
    return None if known == counts else known


def within(events: Events, delta: float, epsilon: float) -> bool:
    """Tell whether the events cost at most epsilon, as `spend` would, but sooner where there is room.

    Args:
        events: what was released.
        delta: between 0 and 1.
        epsilon: the limit; inf is kept by anything.

    Raises:
        ValueError: when delta is not between 0 and 1.
        AccountantsDisagree: when the two accountants contradict each other.
    """
    check_delta(delta)
    composition, left = settle(Counter(events), delta)
    if left <= 0:
        return epsilon == math.inf
    quick = bracket(composition, left, COARSE).upper
    return rounded_up(quick) <= epsilon or rounded_up(bracket(composition, left).upper) <= epsilon


def rounds_left(events: Events, more: Event, delta: float, epsilon: float) -> int:
    """Return how many more times an event may happen before epsilon is exceeded.

    Args:
        events: what was released so far.
        more: what is to happen again and again.
        delta: between 0 and 1.
        epsilon: the limit.

    Returns:
        0 to about a million, and no more where nothing sets a limit.

    Raises:
        ValueError: when delta is not between 0 and 1.
        AccountantsDisagree: when the two accountants contradict each other.
    """
    spent = Counter(events)

    def fits(times: int) -> bool:
        return within(spent + Counter({more: times}), delta, epsilon)

    if not fits(1):
        return 0
    low, high = 1, 2
    while high < _FAR and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def privacy_curve(events: Events, deltas: Sequence[float]) -> list[float]:
    """Return epsilon at each delta by the first accountant alone, unchecked by a second: for drawing.

    Raises:
        ValueError: when a delta is not between 0 and 1.
    """
    for delta in deltas:
        check_delta(delta)
    counts = Counter(events)
    return [upper_epsilon(counts, delta) for delta in deltas]


def spend_by_round(events: Sequence[Event], delta: float) -> list[float]:
    """Return epsilon after each event, an upper bound; the last equals that of `spend`.

    It is computed at up to 64 evenly spread rounds; a round between two of them gets the later one's.

    Raises:
        ValueError: when delta is not between 0 and 1.
    """
    check_delta(delta)
    points = min(len(events), _CURVE_POINTS)
    curve: list[float] = []
    for point in range(1, points + 1):
        stop = math.ceil(len(events) * point / points)
        curve += [upper_epsilon(Counter(events[:stop]), delta)] * (stop - len(curve))
    return curve


def message_level_epsilon(training: Training, participations: int, delta: float) -> float:
    """Return the epsilon of one message on one device, from DP-SGD with Poisson batches there.

    Formal guarantee. Adjacency: the message added or removed (Abadi et al. 2016). It holds against whoever sees the
    device's own updates. It is another guarantee than the device's and is never added to it.

    Args:
        training: how the device trains.
        participations: rounds in which it does.
        delta: between 0 and 1.

    Returns:
        An upper bound, rounded up; inf without message noise, and so for plain SGD.

    Raises:
        ValueError: when participations is negative or delta is not between 0 and 1.
        AccountantsDisagree: when the two accountants contradict each other.
    """
    check_delta(delta)
    if participations < 0:
        raise ValueError(f"participations: expected 0 or more, got {participations}")
    if isinstance(training, LocalSgd):
        return math.inf if participations else 0.0
    step = Sampled(training.sampling_rate, training.message_noise)
    composition = Composition.of(0.0, [(step, training.steps * participations)])
    return rounded_up(bracket(composition, delta).upper)


_NOTHING = Bracket(math.inf, math.inf, math.inf, "none: delta is used up by unlikely lots")


def upper_epsilon(counts: Counter[Event], delta: float) -> float:
    """Return epsilon by the first accountant alone, rounded up; inf where unlikely lots use up delta."""
    composition, left = settle(counts, delta)
    return rounded_up(upper_bound(composition, left)) if left > 0 else math.inf


def rounded_up(epsilon: float) -> float:
    """Round epsilon up to four decimals, below 1 to five digits; inf remains."""
    if not math.isfinite(epsilon):
        return math.inf
    exact = Decimal(epsilon)
    places = max(_DECIMALS, _DIGITS - 1 - exact.adjusted()) if exact else _DECIMALS
    return float(exact.quantize(Decimal(1).scaleb(-places), ROUND_CEILING, _WIDE))


def check_delta(delta: float) -> None:
    """Refuse a delta that is no probability.

    Raises:
        ValueError: when delta is not between 0 and 1.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta: expected more than 0 and less than 1, got {delta}")
