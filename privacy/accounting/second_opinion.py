"""Epsilon once more, by code and numerics that have nothing in common with the first accountant.

Sampled rounds: privacy random variables (Gopi, Lee and Wutschitz 2021, Theorem 5.5), whose bounds hold for every error
of truncation and discretisation. Without sampling: a privacy loss distribution on a grid, against the closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import numpy as np
from prv_accountant import GaussianMechanism, PoissonSubsampledGaussianMechanism, PRVAccountant

from privacy.accounting.composition import (
    ANY_PROMISE,
    PLD_NAME,
    RDP_NAME,
    AccountantsDisagree,
    Bracket,
    Composition,
    grid_bracket,
)

PRV_NAME = f"privacy random variables (prv-accountant {version('prv-accountant')})"

_FINEST = 0.02
_RELATIVE = 0.01
"""How wide the second bracket may be, absolutely and of epsilon: its time grows as it narrows."""
_DELTA_FRACTION = 1e-3
"""Fraction of delta that truncation may cost."""


@dataclass(frozen=True)
class SecondOpinion:
    """An independent accountant's bounds, between which epsilon lies.

    Attributes:
        lower: the lower bound.
        upper: the upper bound.
        accountant: name and version of the code that found them.
    """

    lower: float
    upper: float
    accountant: str


@lru_cache(maxsize=64)
def second_opinion(composition: Composition, delta: float, first: Bracket) -> SecondOpinion:
    """Bound epsilon at delta independently of `bracket`, and hold the two against each other.

    Where epsilon promises nothing any more and the independent code gives out, the bound is the Renyi one in `first`.

    Args:
        composition: what one device loses at worst.
        delta: between 0 and 1.
        first: what `bracket` found; it only says how fine the answer has to be.

    Raises:
        AccountantsDisagree: when the brackets do not meet, or there is no second one.
    """
    if math.isinf(first.upper) or not composition.rounds:
        return SecondOpinion(first.lower, first.upper, first.accountant)
    if composition.sampled:
        second = _sampled_opinion(composition, delta, first)
    else:
        second = SecondOpinion(*grid_bracket(composition, delta), PLD_NAME)
    if not (second.lower <= first.upper and first.lower <= second.upper):
        raise AccountantsDisagree(
            f"epsilon: expected {second.lower:.6f} to {second.upper:.6f} by {second.accountant}, got "
            f"{first.lower:.6f} to {first.upper:.6f} by {first.accountant}; nothing may be released on these figures"
        )
    return second


def _sampled_opinion(composition: Composition, delta: float, first: Bracket) -> SecondOpinion:
    try:
        return SecondOpinion(*_prv(composition, delta, max(_FINEST, _RELATIVE * first.upper)), PRV_NAME)
    except (RuntimeError, FloatingPointError) as error:
        if first.upper <= ANY_PROMISE:
            raise AccountantsDisagree(f"epsilon: no second opinion, as {PRV_NAME} gave out: {error}") from error
        return SecondOpinion(0.0, first.second, RDP_NAME)


def _prv(composition: Composition, delta: float, width: float) -> tuple[float, float]:
    """Bound epsilon by privacy random variables, at most `width` apart.

    Raises:
        RuntimeError: when the accountant's floats do not suffice.
        FloatingPointError: when its bounds are not finite.
    """
    mechanisms = [
        PoissonSubsampledGaussianMechanism(sampled.rate, sampled.noise_multiplier) for sampled, _ in composition.sampled
    ]
    times = [count for _, count in composition.sampled]
    if composition.mu:
        mechanisms, times = [*mechanisms, GaussianMechanism(1 / composition.mu)], [*times, 1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        accountant = PRVAccountant(
            prvs=mechanisms, max_self_compositions=times, eps_error=width, delta_error=delta * _DELTA_FRACTION
        )
        lower, _, upper = map(float, accountant.compute_epsilon(delta, times))
    if not (math.isfinite(lower) and math.isfinite(upper)):
        raise FloatingPointError(f"expected a finite bracket, got {lower} to {upper}")
    return max(0.0, lower), upper
