"""A battery of checks for the faults that a mechanism can have, each with a name.

Every check that is not exact is a test at its part of the allowed probability of a false alarm (Bonferroni), so a
correct mechanism fails the battery with at most 1 - confidence. Sums of discrete Gaussians are Gaussian here to
within far less than any test can see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from privacy.audit.bounds import certified_gaussian, check_fraction
from privacy.audit.canaries import contribution, direction, distinguishable_updates
from privacy.audit.contributions import Contributions, check_contributions
from privacy.audit.noise import check_noise, device_view, own_views, sum_view, vectors
from privacy.audit.participation import check_draws, check_sizes
from privacy.audit.pipeline import Audited, Pipeline, Shipped
from privacy.audit.record import Battery, Check
from privacy.audit.source import check_source
from privacy.base.randomness import Randomness
from privacy.task.states import Total, Update

Floats = NDArray[np.float64]

_CHECKS = 17
"""The number of checks: three tell a canary, four look at the noise beside one or none and four at its law, three at
contributions, and one each at cohorts' sizes, their draw and the source of randomness."""


def run_battery(
    audited: Audited,
    rng: Randomness,
    *,
    trials: int = 300,
    confidence: float = 0.999,
    pipeline: Pipeline | None = None,
    others: Sequence[Audited] = (),
) -> Battery:
    """Run rounds without a canary and with each of a few adversarial ones, and check what is claimed.

    A mechanism that is as claimed passes all checks with probability `confidence` or more.

    Args:
        audited: the round, and what is claimed about it.
        rng: source of the rounds' randomness.
        trials: rounds of each kind, at least 20.
        confidence: between 0 and 1.
        pipeline: what to run instead of the shipped round.
        others: more rounds whose noise is looked at; in the first of them, what devices contribute as well.

    Raises:
        ValueError: with fewer than 20 trials, or a confidence that is not between 0 and 1.
        RandomnessError: when the task promises the system's randomness and `rng` is another source.
    """
    check_fraction("confidence", confidence)
    run, canaries, chance = (
        pipeline or Shipped.of(audited),
        distinguishable_updates(audited),
        (1 - confidence) / _CHECKS,
    )
    rest = [audited.silent] * (audited.devices - 1)

    def rounds(update: Update, first: int) -> list[Total]:
        return [run([update, *rest], first + trial, rng) for trial in range(trials)]

    totals = rounds(audited.silent, 0)
    absent = _decoded(audited, totals)
    present = {
        name: _decoded(audited, rounds(update, (at + 1) * trials)) for at, (name, update) in enumerate(canaries.items())
    }
    views = [sum_view(audited, totals), device_view(audited, run, vectors(audited, trials), rng)]
    # The grid, and so what is contributed, is the same in cohorts of every size.
    contributions = [Contributions.of(audited, run, rng)]
    contributions += [Contributions.of(other, Shipped.of(other), rng) for other in others[:1]]
    for other in others:
        views += own_views(other, Shipped.of(other), trials, rng)
    checks = [
        *(
            _distinguishing(audited, name, _scores(audited, update, present[name], absent), chance)
            for name, update in canaries.items()
        ),
        *(_variance(audited, name, world, chance) for name, world in {"no canary": absent, **present}.items()),
        *check_noise(views, chance),
        *check_contributions(contributions, chance),
        _worst_sizes([audited, *others]),
        check_draws((others or [audited])[0].task, rng, chance),
        check_source(audited, run, rng, chance),
    ]
    return Battery(confidence=confidence, trials=trials, checks=tuple(checks))


def _decoded(audited: Audited, totals: list[Total]) -> Floats:
    """Return sums as they are decoded, float64[n, length] in units of the sensitivity."""
    return np.array([audited.decoded(total) for total in totals])


def _scores(audited: Audited, update: Update, present: Floats, absent: Floats) -> tuple[Floats, Floats]:
    """Return the scores of both kinds of rounds; where nothing is contributed a silent device's bit is taken away."""
    along = direction(audited, update)
    nothing = absent - contribution(audited, audited.silent) / audited.task.contribution_bound
    return present @ along, nothing @ along


def _distinguishing(audited: Audited, name: str, scores: tuple[Floats, Floats], chance: float) -> Check:
    """Check that the sums tell the canary from zeros no better than the claim lets them."""
    certified = certified_gaussian(*scores, audited.task.budget.delta, 1 - chance)
    return Check(
        name=f"distinguishing: {name}",
        passed=certified.mu <= audited.claimed_mu,
        line=f"mu is at least {certified.mu:.3f}; claimed is at most {audited.claimed_mu:.3f}",
    )


def _variance(audited: Audited, name: str, decoded: Floats, chance: float) -> Check:
    """Check that the noise's standard deviation is not below the claim: a chi-square test about the rounds' mean."""
    noise = audited.task.mechanism.noise_multiplier
    residuals = decoded - decoded.mean(axis=0)
    freedom = residuals.size - residuals.shape[1]
    squares = float(np.sum(residuals**2))
    limit = float(np.sqrt(squares / chi2.ppf(chance, freedom)))
    return Check(
        name=f"noise: {name}",
        passed=limit >= noise,
        line=f"its deviation over the sensitivity is at most {limit:.3f}; claimed is at least {noise:.3f}",
    )


def _worst_sizes(rounds: Sequence[Audited]) -> Check:
    """Return the check of the cohorts' sizes in the first task that fails it, or else in the last."""
    checks = [check_sizes(round_.task) for round_ in rounds]
    return next((check for check in checks if not check.passed), checks[-1])
