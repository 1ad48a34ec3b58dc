"""The sizes that a task's cohorts have: whether they are drawn as claimed, and whether each has the noise it needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from privacy.accounting.sampling import draw_cohort
from privacy.audit import laws
from privacy.audit.record import Check
from privacy.base.randomness import Randomness
from privacy.mechanism.mechanism import Mechanism, MechanismError
from privacy.task.task import PoissonParticipation, TaskSpec

_SIZES = 64
"""Sizes of cohorts that are looked at, from the fewest to the most."""
_USUAL = (0.001, 0.999)
"""Quantiles between which nearly all cohorts lie."""
_HIDDEN = 1.01
"""The ratio of variances at which the sums of two sizes of a Poisson cohort are still taken for alike."""
_COINS = 1 << 23
"""Coins that are thrown to look at the draw of cohorts, about."""
_DRAWS = 400
_MOST_DEVICES = 100_000
_GROUPS = 16
_BINS = 12
_FEWEST = 5
"""Draws expected in a bin of sizes, at least."""


def check_sizes(task: TaskSpec) -> Check:
    """Check that cohorts of all sizes have the noise that is claimed, and sums that tell nothing of a Poisson size.

    What is counted on is worked out here anew: the devices that must survive, less those that may be corrupt.
    """
    sized = list(_sized(task))
    if not sized:
        return Check(name="sizes", passed=False, line="no size of a cohort is allowed")
    noise = task.mechanism.noise_multiplier
    size, least = min(((size, _noise(task, size, mechanism)) for size, mechanism in sized), key=lambda each: each[1])
    variances = [mechanism.variance * size for size, mechanism in sized]
    alike = len({(mechanism.scale, mechanism.norm_bound) for _, mechanism in sized}) == 1
    hidden = alike and max(variances) <= _HIDDEN * min(variances)
    poisson = isinstance(task.participation, PoissonParticipation)
    return Check(
        name="sizes",
        passed=least >= noise * (1 - 1e-9) and (hidden or not poisson),
        line=f"a cohort of {size} has {least:.4f} of the sensitivity as noise, claimed is at least {noise:.4f}; "
        f"sums of {sized[0][0]} and {sized[-1][0]} devices are {'alike' if hidden else 'told apart'} by grid or noise",
    )


def check_draws(task: TaskSpec, rng: Randomness, chance: float) -> Check:
    """Check that cohorts are drawn as the task says: by coins of its rate, or of its size."""
    if isinstance(task.participation, PoissonParticipation):
        p_value = _coins(task.participation, rng)
        line = f"as far from independent coins with {p_value:.2g}; alarm below {chance:.2g}"
        return Check(name="draws", passed=p_value >= chance, line=line)
    wanted = task.participation.cohort
    drawn = draw_cohort(task.participation, range(2 * wanted), rng)
    size = len(set(drawn) & set(range(2 * wanted)))
    line = f"{size} devices of {len(drawn)} drawn are distinct and present; expected {wanted}"
    return Check(name="draws", passed=len(drawn) == size == wanted, line=line)


def usual_sizes(task: TaskSpec) -> list[int]:
    """Return the sizes of one shard's cohort between which nearly all lie, of those that are allowed: one or two."""
    participation, shards = task.participation, task.aggregation.shards
    if not isinstance(participation, PoissonParticipation):
        return [math.ceil(participation.cohort / shards)]
    spread = binom(participation.population, participation.sampling_rate / shards)
    allowed = [size for size, _ in _sized(task)]
    ends = [float(spread.ppf(at)) for at in _USUAL] if allowed else []
    return sorted({_nearest(allowed, end) for end in ends})


def _nearest(sizes: Sequence[int], wanted: float) -> int:
    return min(sizes, key=lambda size: abs(size - wanted))


def _sized(task: TaskSpec) -> Iterator[tuple[int, Mechanism]]:
    """Yield sizes of one shard's cohort, ascending, that the mechanism does not refuse."""
    fewest, most = task.aggregation.min_survivors, max(task.largest_shard, task.aggregation.min_survivors)
    for size in sorted({round(size) for size in np.geomspace(fewest, most, _SIZES)}):
        try:
            yield size, Mechanism.for_cohort(task, size)
        except MechanismError:
            continue


def _noise(task: TaskSpec, size: int, mechanism: Mechanism) -> float:
    """Return the deviation of the noise that is surely in a sum, over the sensitivity."""
    policy = task.aggregation
    honest = max(policy.min_survivors, size - policy.max_dropouts) - policy.corrupt_fraction * size
    return math.sqrt(max(0.0, mechanism.variance * honest)) / mechanism.norm_bound


def _coins(participation: PoissonParticipation, rng: Randomness) -> float:
    """Return the p-value of many draws: their sizes, who is drawn how often, and who is drawn twice in a row."""
    population, rate = min(participation.population, _MOST_DEVICES), participation.sampling_rate
    rounds = max(50, min(_DRAWS, _COINS // population))
    drawn = np.zeros((rounds, population), np.bool_)
    for row in drawn:
        row[draw_cohort(participation, range(population), rng)] = True
    often, in_pairs = drawn.sum(axis=0), drawn[: 2 * (rounds // 2)]
    twice = in_pairs[::2] & in_pairs[1::2]
    return laws.least(
        [
            _sizes(drawn.sum(axis=1), population, rate),
            laws.binomial(int(drawn.sum()), drawn.size, rate),
            laws.binomial(int(twice.sum()), twice.size, rate**2),
            population * min(laws.binomial(int(count), rounds, rate) for count in (often.min(), often.max())),
            laws.least(
                laws.binomial(int(part.sum()), part.size, rate)
                for part in np.array_split(drawn, min(_GROUPS, population), axis=1)
            ),
        ]
    )


def _sizes(sizes: NDArray[np.int64], population: int, rate: float) -> float:
    """Return the p-value of sizes of cohorts, counted in bins of a binomial law in which enough are expected."""
    law, wanted = binom(population, rate), max(_FEWEST, sizes.size / _BINS)
    cuts, below = list[int](), 0.0
    for size in range(int(law.ppf(1e-12)), int(law.ppf(1 - 1e-12)) + 1):
        up_to = float(law.cdf(size))
        if (up_to - below) * sizes.size >= wanted and (1 - up_to) * sizes.size >= _FEWEST:
            cuts.append(size)
            below = up_to
    if not cuts:
        return 1.0
    expected = np.diff([0.0, *law.cdf(cuts), 1.0]) * sizes.size
    return laws.pearson(np.bincount(np.searchsorted(cuts, sizes), minlength=len(cuts) + 1), expected)
