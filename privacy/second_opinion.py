"""Epsilon once more, by code and numerics that share nothing with the first accountant.

Sampled rounds: privacy random variables (Gopi, Lee and Wutschitz 2021, Theorem 5.5), whose bounds hold for every error
of truncation and discretisation. Without sampling: a privacy loss distribution on a grid, against the closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

from prv_accountant import GaussianMechanism, PoissonSubsampledGaussianMechanism, PRVAccountant

from privacy.composition import PLD_NAME, AccountantsDisagree, Bracket, Composition, grid_bracket

PRV_NAME = f"privacy random variables (prv-accountant {version('prv-accountant')})"

_FINEST = 0.02
_RELATIVE = 0.01
"""How wide the second bracket may be, absolutely and of epsilon: its time grows as it narrows."""
_DELTA_SHARE = 1e-3
"""Of delta, what truncation may cost."""


@dataclass(frozen=True)
class SecondOpinion:
    """Epsilon lies in [lower, upper]."""

    lower: float
    upper: float
    accountant: str


@lru_cache(maxsize=64)
def second_opinion(composition: Composition, delta: float, first: Bracket) -> SecondOpinion:
    """A bracket that does not depend on `first`, which only says how fine it has to be.

    Raises:
        AccountantsDisagree: when the brackets do not meet.
    """
    if math.isinf(first.upper) or not composition.rounds:
        return SecondOpinion(first.lower, first.upper, first.accountant)
    if composition.sampled:
        found = SecondOpinion(*_prv(composition, delta, max(_FINEST, _RELATIVE * first.upper)), PRV_NAME)
    else:
        found = SecondOpinion(*grid_bracket(composition, delta), PLD_NAME)
    if not (found.lower <= first.upper and first.lower <= found.upper):
        raise AccountantsDisagree(
            f"epsilon: expected {found.lower:.6f} to {found.upper:.6f} by {found.accountant}, got "
            f"{first.lower:.6f} to {first.upper:.6f} by {first.accountant}; nothing may be released on these figures"
        )
    return found


def _prv(composition: Composition, delta: float, width: float) -> tuple[float, float]:
    mechanisms = [PoissonSubsampledGaussianMechanism(one.rate, one.noise_multiplier) for one, _ in composition.sampled]
    times = [count for _, count in composition.sampled]
    if composition.mu:
        mechanisms, times = [*mechanisms, GaussianMechanism(1 / composition.mu)], [*times, 1]
    accountant = PRVAccountant(
        prvs=mechanisms, max_self_compositions=times, eps_error=width, delta_error=delta * _DELTA_SHARE
    )
    lower, _, upper = accountant.compute_epsilon(delta, times)
    return max(0.0, float(lower)), float(upper)
