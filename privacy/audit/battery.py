"""A battery of checks for the faults that a mechanism can have, each with a name.

Every check but the exact one is a test at its part of the allowed probability of a false alarm (Bonferroni), so a
correct mechanism fails the battery with at most 1 - confidence. Sums of discrete Gaussians are Gaussian here to
within far less than any test can see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc
from scipy.stats import chi2

from privacy.audit.bounds import certified_gaussian, check_fraction
from privacy.audit.pipeline import Audited, Constant, Pipeline, Shipped
from privacy.audit.record import Battery, Check
from privacy.audit.rounds import at_the_clip, contribution
from privacy.base.randomness import Randomness
from privacy.mechanism.mechanism import MechanismError
from privacy.task.states import Total, Update

Floats = NDArray[np.float64]

_FAR = 1000
"""The length of an update that must be clipped, in clips."""
_ROUNDINGS = tuple(range(8, 256, 16))
"""Bytes for `Constant`: each rounds another way, and the mechanism refuses the few that leave its bound."""
_PAIRINGS = 2
_TESTS = 3 + 4 + 2 * (_PAIRINGS + 1)
"""The number of tests: one a canary, one a world, and of two domains one for each way to pair neighbouring rounds, and
for all pairs."""


@dataclass(frozen=True, eq=False)
class World:
    """Rounds that differ in nothing but the randomness.

    Attributes:
        sums: float64[n, length], in integer steps, as they were unmasked.
        decoded: float64[n, length], in units of the sensitivity.
    """

    sums: Floats
    decoded: Floats


def run_battery(
    audited: Audited, rng: Randomness, *, trials: int = 300, confidence: float = 0.999, pipeline: Pipeline | None = None
) -> Battery:
    """Run rounds without a canary and with each of a few adversarial ones, and check what is claimed.

    A mechanism that is as claimed passes all checks with probability `confidence` or more.

    Args:
        audited: the round, and what is claimed about it.
        rng: source of the rounds' randomness.
        trials: rounds of each kind, at least 20.
        confidence: between 0 and 1.
        pipeline: what to run instead of the shipped round.

    Raises:
        ValueError: with fewer than 20 trials, or a confidence that is not between 0 and 1.
        MechanismError: when the mechanism is too coarse to encode an update of the clip.
    """
    check_fraction("confidence", confidence)
    run, canaries, chance = pipeline or Shipped.of(audited), adversarial_updates(audited), (1 - confidence) / _TESTS
    rest = [audited.silent] * (audited.devices - 1)

    def world(update: Update, first: int) -> World:
        return _world(audited, [run([update, *rest], first + trial, rng) for trial in range(trials)])

    absent = world(audited.silent, 0)
    present = {name: world(update, (at + 1) * trials) for at, (name, update) in enumerate(canaries.items())}
    checks = [
        _distinguishing(audited, name, _scores(audited, update, present[name], absent), chance)
        for name, update in canaries.items()
    ]
    checks += [_variance(audited, name, world, chance) for name, world in {"no canary": absent, **present}.items()]
    checks += [_independence(absent, chance), _sensitivity(audited, canaries, run)]
    return Battery(confidence=confidence, trials=trials, checks=tuple(checks))


def adversarial_updates(audited: Audited) -> dict[str, Update]:
    """Return canaries by name: as long as the clip, a thousand times as long, and as long as the clip in each layer."""
    clipped, layers = at_the_clip(audited), audited.task.model.parameters
    starts = np.cumsum([0, *(layer.size for layer in layers[:-1])])
    spread = np.zeros_like(clipped.delta)
    spread[starts] = audited.task.mechanism.clip
    return {
        "clip": clipped,
        "far beyond the clip": audited.update(clipped.delta * _FAR, 1.0),
        "clip in every layer": audited.update(spread, 1.0),
    }


def _world(audited: Audited, totals: list[Total]) -> World:
    sums = np.array([total.sums for total in totals], np.float64)
    return World(sums, np.array([audited.decoded(total) for total in totals]))


def _scores(audited: Audited, update: Update, present: World, absent: World) -> tuple[Floats, Floats]:
    along = contribution(audited, update)
    return present.decoded @ along, absent.decoded @ along


def _distinguishing(audited: Audited, name: str, scores: tuple[Floats, Floats], chance: float) -> Check:
    """Check that the sums tell the canary from zeros no better than the claim lets them."""
    certified = certified_gaussian(*scores, audited.task.budget.delta, 1 - chance)
    return Check(
        name=f"distinguishing: {name}",
        passed=certified.mu <= audited.claimed_mu,
        line=f"mu is at least {certified.mu:.3f}; claimed is at most {audited.claimed_mu:.3f}",
    )


def _variance(audited: Audited, name: str, world: World, chance: float) -> Check:
    """Check that the noise's standard deviation is not below the claim: a chi-square test about the rounds' mean."""
    noise = audited.task.mechanism.noise_multiplier
    residuals = world.decoded - world.decoded.mean(axis=0)
    freedom = residuals.size - residuals.shape[1]
    squares = float(np.sum(residuals**2))
    limit = float(np.sqrt(squares / chi2.ppf(chance, freedom)))
    return Check(
        name=f"noise: {name}",
        passed=limit >= noise,
        line=f"its deviation over the sensitivity is at most {limit:.3f}; claimed is at least {noise:.3f}",
    )


def _independence(absent: World, chance: float) -> Check:
    """Check that rounds have no correlated noise, as the devices added it or as it is decoded.

    Neighbours are looked at together, for a little correlation; all pairs one by one, for noise that was used before.
    """
    neighbours = [
        _correlation(values[first:-1:2], values[first + 1 :: 2])
        for values in (absent.sums, absent.decoded)
        for first in range(_PAIRINGS)
    ]
    correlations = [*neighbours, *(_most_alike(values) for values in (absent.sums, absent.decoded))]
    correlation, p_value = min(correlations, key=itemgetter(1))
    return Check(
        name="noise: two rounds",
        passed=p_value >= chance,
        line=f"correlation {correlation:+.3f}, which chance exceeds with {p_value:.2g}; alarm below {chance:.2g}",
    )


def _most_alike(values: Floats) -> tuple[float, float]:
    """Return the largest correlation of all pairs of rounds, and its p-value as the largest of so many."""
    count, size = values.shape
    directions = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    pairs = (directions @ directions.T)[np.triu_indices(count, 1)]
    largest = float(pairs[np.argmax(np.abs(pairs))])
    return largest, min(1.0, pairs.size * _p_value(largest, size))


def _correlation(first: Floats, second: Floats) -> tuple[float, float]:
    """Return the correlation about zero of two arrays, and its two-sided p-value."""
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    correlation = float(np.sum(first * second)) / norms if norms else 0.0
    return correlation, _p_value(correlation, first.size)


def _p_value(correlation: float, size: int) -> float:
    """Return the p-value of a correlation: about a known mean of zero, its square is Beta(1/2, (size - 1) / 2)."""
    return float(betainc((size - 1) / 2, 0.5, max(0.0, 1 - correlation**2)))


def _sensitivity(audited: Audited, canaries: Mapping[str, Update], run: Pipeline) -> Check:
    """Check that a contribution, rounded but without its noise, is within the norm bound: exactly, in integers."""
    bound = audited.mechanism.norm_bound
    largest = max(_squared_norm(audited, update, run) for update in canaries.values())
    return Check(
        name="sensitivity",
        passed=largest <= bound**2,
        line=f"the largest contribution has norm {largest**0.5:.3f} in integer steps; at most {bound:.3f} is allowed",
    )


def _squared_norm(audited: Audited, update: Update, run: Pipeline) -> int:
    """Return the squared norm of an update's contribution, the largest over the ways to round."""
    rest, squares = [audited.silent] * (audited.devices - 1), []
    for byte in _ROUNDINGS:
        rng = Constant(byte)
        try:
            moved = run([update, *rest], 0, rng).sums - run([audited.silent, *rest], 0, rng).sums
        except MechanismError:
            continue
        squares.append(sum(int(value) ** 2 for value in moved))
    if not squares:
        raise MechanismError("update: no rounding of an update of the clip is within the norm bound")
    return max(squares)
