"""What it costs to try many private runs and to show the best one alone.

Formal guarantee. There are candidates, each of which satisfies (order, r(order))-RDP. A number of runs is drawn from
the geometric distribution with a given mean, as secret as the noise. In each, a candidate is chosen uniformly and run
with fresh randomness. The best result is released, by any rule that looks at nothing of the devices but what the runs
gave; of the others, their number included, nothing is seen. Then for every two orders the release satisfies RDP at the
first, a, with

    r(a) + 2 (1 - 1/b) r(b) + 2 ln(mean) / b + ln(mean) / (a - 1)

(Papernot and Steinke 2022, "Hyperparameter Tuning with Renyi Differential Privacy", theorem 2 with eta = 1, after Liu
and Talwar 2019), r being the largest of the candidates'. It says nothing about a number of runs that is fixed: a
search that runs every candidate once, or is read in full, costs the composition of all of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from dp_accounting import rdp
from numpy.typing import NDArray

from privacy.accounting.accountant import check_delta, rounded_up
from privacy.accounting.composition import compose, lots_delta, rdp_curve
from privacy.accounting.events import Event

SOURCE = "Papernot and Steinke 2022, theorem 2 (geometric number of runs), after Liu and Talwar 2019"


def best_of_random_many(candidates: Sequence[Counter[Event]], mean_runs: float, delta: float) -> float:
    """Return the epsilon of releasing the best of a geometric number of runs alone.

    Formal guarantee: see the module (Papernot and Steinke 2022, theorem 2).

    Args:
        candidates: each candidate's events, and how often each happened.
        mean_runs: expected number of runs, 1 or more.
        delta: between 0 and 1.

    Returns:
        An upper bound, rounded up; inf where nothing can be promised.

    Raises:
        ValueError: when there is no candidate, mean_runs is below 1 or delta is not between 0 and 1.
    """
    check_delta(delta)
    if not candidates or not 1 <= mean_runs < math.inf:
        raise ValueError(f"mean_runs: expected 1 or more of at least one candidate, got {mean_runs}")
    # A run with lots as they are counted on is accounted for. Whether they are does not depend on the device's update,
    # and given that they always are, the number of runs is still geometric, of a smaller mean.
    left = delta - mean_runs * max(map(lots_delta, candidates))
    if left <= 0:
        return math.inf
    orders, curve = _worst_curve(candidates)
    return rounded_up(float(rdp.compute_epsilon(orders, selected(orders, curve, mean_runs), left)[0]))


def selected(orders: Sequence[float], curve: NDArray[np.float64], mean_runs: float) -> NDArray[np.float64]:
    """Return the selection's Renyi divergence at each order (Papernot and Steinke 2022, theorem 2).

    Args:
        orders: Renyi orders, above 1.
        curve: a bound on every candidate's divergence at each of them, float64[orders].
        mean_runs: expected number of runs, 1 or more.

    Returns:
        float64[orders].
    """
    at, log_mean = np.asarray(orders, np.float64), math.log(mean_runs)
    penalty = np.min(2 * (1 - 1 / at) * curve + 2 * log_mean / at)
    return np.asarray(curve + penalty + log_mean / (at - 1), np.float64)


def _worst_curve(candidates: Sequence[Counter[Event]]) -> tuple[Sequence[float], NDArray[np.float64]]:
    distinct = {frozenset(counts.items()): counts for counts in candidates}.values()
    curves = [rdp_curve(compose(counts)) for counts in distinct]
    return curves[0][0], np.max([curve for _, curve in curves], axis=0)
