"""Audits of the mechanism: rounds of the shipped code, and what an observer of their sums can tell.

The observer knows every other device's update, so those are zeros here: subtracting them changes nothing. The canary
device contributes as much as the clip lets it, or nothing. A score is the decoded sum along the canary's direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.composition import epsilon_bracket
from privacy.audit.bounds import (
    any_epsilon,
    certified_any,
    certified_gaussian,
    check_fraction,
    correct_guesses,
    estimated_mu,
    gaussian_mu,
    guesses_for,
)
from privacy.audit.canaries import at_the_clip, contribution, direction, orthogonal_updates
from privacy.audit.pipeline import Audited, Pipeline, Shipped
from privacy.audit.record import AuditResult, Kind
from privacy.base.randomness import Randomness, uniform_unit
from privacy.task.states import Update

Floats = NDArray[np.float64]


def audit_rounds(
    audited: Audited,
    trials: int,
    rng: Randomness,
    *,
    delta: float | None = None,
    confidence: float = 0.95,
    pipeline: Pipeline | None = None,
) -> AuditResult:
    """Run rounds with the canary and as many without, and bound epsilon from below (Nasr et al. 2023).

    Args:
        audited: the round, and what is claimed about it. Without assumed drop-outs and corrupt devices, or with
            fractions that leave a whole number of devices, the sums have no more noise than is claimed, and the bound
            can come close to the claim.
        trials: rounds of either kind, at least 20.
        rng: source of the rounds' randomness.
        delta: between 0 and 1; the task's own unless given.
        confidence: probability with which the bounds hold, between 0 and 1.
        pipeline: what to run instead of the shipped round.

    Raises:
        ValueError: with fewer than 20 trials, or a delta or confidence that is not between 0 and 1.
    """
    run, canary = pipeline or Shipped.of(audited), at_the_clip(audited)
    along = direction(audited, canary)
    silent = decoded_rounds(audited, run, audited.silent, range(trials), rng)
    absent = (silent - contribution(audited, audited.silent) / audited.task.contribution_bound) @ along
    present = decoded_rounds(audited, run, canary, range(trials, 2 * trials), rng) @ along
    delta = audited.task.budget.delta if delta is None else delta
    return gaussian_result(
        "mechanism-many-runs",
        trials,
        confidence=confidence,
        delta=delta,
        mu=certified_gaussian(present, absent, delta, confidence).mu,
        any_bound=certified_any(present, absent, delta, confidence).epsilon,
        claimed_mu=audited.claimed_mu,
        estimate=estimated_mu(present, absent),
    )


def audit_one_round(
    audited: Audited,
    rng: Randomness,
    *,
    delta: float | None = None,
    confidence: float = 0.95,
    pipeline: Pipeline | None = None,
) -> AuditResult:
    """Run one round in which every device is a canary in a direction of its own, present by a fair coin.

    Steinke, Nasr and Jagielski 2023 for any mechanism, Mahloujifar, Melis and Chaudhuri 2024 for Gaussian noise.

    Args:
        audited: the round, and what is claimed about it.
        rng: source of the coins and of the round's randomness.
        delta: between 0 and 1; the task's own unless given.
        confidence: probability with which the bounds hold, between 0 and 1.
        pipeline: what to run instead of the shipped round.

    Raises:
        ValueError: when the model has fewer coordinates than there are devices, or a delta or confidence is not
            between 0 and 1.
    """
    count = audited.devices
    canaries = orthogonal_updates(audited, count)
    check_fraction("confidence", confidence)
    coins = uniform_unit(rng, count) < 0.5
    updates = [canary if coin else audited.silent for canary, coin in zip(canaries, coins, strict=True)]
    scores = audited.decoded((pipeline or Shipped.of(audited))(updates, 0, rng))[:count]
    delta = audited.task.budget.delta if delta is None else delta

    def bound_mu(guesses: int, correct: int) -> float:
        return gaussian_mu(count, guesses, correct, confidence)

    def bound_any(guesses: int, correct: int) -> float:
        return any_epsilon(count, guesses, correct, delta, confidence)

    def certified(bound: Callable[[int, int], float]) -> float:
        guesses = guesses_for(count, audited.claimed_mu, bound)
        return bound(guesses, correct_guesses(scores, coins, guesses))

    return gaussian_result(
        "mechanism-one-run",
        count,
        confidence=confidence,
        delta=delta,
        mu=certified(bound_mu),
        any_bound=certified(bound_any),
        claimed_mu=audited.claimed_mu,
        estimate=estimated_mu(scores[coins], scores[~coins]),
    )


def gaussian_result(
    kind: Kind,
    trials: int,
    *,
    confidence: float,
    delta: float,
    mu: float,
    any_bound: float,
    claimed_mu: float,
    estimate: float | None,
) -> AuditResult:
    """Hold a certified mu against a claimed one, both as epsilon at delta.

    Args:
        kind: what was run.
        trials: runs of either kind; of one run, the canaries.
        confidence: probability with which the bounds hold.
        delta: between 0 and 1.
        mu: certified lower bound.
        any_bound: certified lower bound of epsilon for any mechanism.
        claimed_mu: what the account counts.
        estimate: an estimate of mu, not a bound; None without one.
    """
    bound, claimed = epsilon_bracket(mu, delta)[0], epsilon_bracket(claimed_mu, delta)[1]
    return AuditResult(
        kind=kind,
        method="gaussian",
        trials=trials,
        confidence=confidence,
        mu_bound=mu,
        epsilon_bound=bound,
        epsilon_bound_any=any_bound,
        delta=delta,
        epsilon_claimed=claimed,
        epsilon_estimate=None if estimate is None else epsilon_bracket(estimate, delta)[1],
        passed=max(bound, any_bound) <= claimed,
    )


def decoded_rounds(audited: Audited, run: Pipeline, update: Update, numbers: Sequence[int], rng: Randomness) -> Floats:
    """Run rounds in which one device has an update and the others zeros.

    Args:
        audited: the round, and what is claimed about it.
        run: the pipeline.
        update: that of the one device.
        numbers: the rounds' numbers.
        rng: source of the rounds' randomness.

    Returns:
        The decoded sums, float64[len(numbers), length], in units of the sensitivity.
    """
    updates = [update] + [audited.silent] * (audited.devices - 1)
    return np.array([audited.decoded(run(updates, number, rng)) for number in numbers])
