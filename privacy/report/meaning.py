"""What a claim means to those whom it is about: how much the best attacker could find out, and how strong that is."""

from __future__ import annotations

import math
from collections import Counter
from decimal import ROUND_CEILING, Decimal

from privacy.accounting.accountant import known_cohorts, known_cohorts_epsilon
from privacy.accounting.attackers import changed_epsilon, posterior, profile
from privacy.accounting.events import Event
from privacy.report.model import Attacker, Belief, Recognition
from privacy.report.spend import number
from privacy.task.task import TaskSpec

_FALSE_POSITIVES = ("0.01", "0.001")
_PRIORS = ("0.01", "0.1", "0.5")
_STEP = Decimal("0.0001")
_STRONG, _REASONABLE = 1.0, 10.0
"""Where Ponomareva et al. 2023, *How to DP-fy ML*, draw the lines between their three tiers."""

_MODELS = "whoever sees the released models and nothing else of the rounds"
_INSIDERS = "the server, every device of a cohort, and holders of the round log"
_AGGREGATOR_INSIDERS = "whoever learns who was in a round, or how many"
_CLAIMED = "everybody whom the claim holds against"

_TIERS = (
    (
        _STRONG,
        "Strong: the scale of Ponomareva et al. (2023) calls an ε of up to 1 a strong guarantee.",
    ),
    (
        _REASONABLE,
        "Moderate: the scale of Ponomareva et al. (2023) calls an ε of up to 1 strong, and up to 10 reasonable.",
    ),
)
_WEAK = (
    "Weak: above 10 the scale of Ponomareva et al. (2023) sees little or no formal protection. What is left is what "
    "attacks of today fail to do."
)
_NONE = "None: ε is infinite, and nothing limits what can be found out."


def attackers(task: TaskSpec, counts: Counter[Event], epsilon: float, delta: float) -> tuple[Attacker, ...]:
    """Say what the best attacker can do: one who sees the models, and where cohorts are secret, one who knows them.

    Args:
        task: whose claim it is.
        counts: what was charged, and how often.
        epsilon: what it costs.
        delta: at which.
    """
    known, insider = known_cohorts(counts), known_cohorts_epsilon(counts, delta)
    if known is None or insider is None:
        return (_attacker(_CLAIMED, counts, epsilon, delta),)
    who = _AGGREGATOR_INSIDERS if task.simulation.trusted_aggregator else _INSIDERS
    return _attacker(_MODELS, counts, epsilon, delta), _attacker(who, known, insider, delta)


def strength(epsilon: float) -> str:
    """Say whether an epsilon is a strong or a weak promise."""
    if math.isinf(epsilon):
        return _NONE
    return next((words for limit, words in _TIERS if epsilon <= limit), _WEAK)


def _attacker(party: str, counts: Counter[Event], epsilon: float, delta: float) -> Attacker:
    rates = profile(counts, delta)
    return Attacker(
        party=party,
        epsilon=number(epsilon),
        strength=strength(epsilon),
        right_guesses=_at_most(rates.right_guesses),
        recognised=tuple(
            Recognition(false_positives=alarms, true_positives=_at_most(rates.true_positives(float(alarms))))
            for alarms in _FALSE_POSITIVES
        ),
        beliefs=tuple(Belief(before=prior, after=_at_most(posterior(float(prior), epsilon))) for prior in _PRIORS),
        changed_epsilon=number(changed_epsilon(counts, delta)),
    )


def _at_most(probability: float) -> str:
    """Write a probability to four decimals, rounded up."""
    return str(min(Decimal(1), Decimal(probability).quantize(_STEP, ROUND_CEILING)))
