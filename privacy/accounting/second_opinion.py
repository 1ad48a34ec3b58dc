"""Epsilon once more, by code and numerics that have nothing in common with the first accountant.

Sampled rounds: privacy random variables (Gopi, Lee and Wutschitz 2021, Theorem 5.5), whose bounds hold for every error
of truncation and discretisation. Without sampling: a privacy loss distribution on a grid, against the closed form.
Below `LEAST_ON_GRID` neither has floats enough, and the looser of the first two bounds stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from prv_accountant import GaussianMechanism, PoissonSubsampledGaussianMechanism, PrivacyRandomVariable, PRVAccountant

from privacy.accounting.composition import (
    ANY_PROMISE,
    LEAST_ON_GRID,
    PLD_NAME,
    AccountantsDisagree,
    Bracket,
    Composition,
    Sampled,
    grid_bracket,
)

PRV_NAME = f"privacy random variables (prv-accountant {version('prv-accountant')})"

_FINEST = 0.02
_RELATIVE = 0.01
"""How wide the second bracket may be, absolutely and of epsilon: its time grows as it narrows."""
_DELTA_FRACTION = 1e-3
"""Fraction of delta that truncation may cost."""
_MOST_KINDS = 16
"""Kinds of rounds up to which each is a random variable of its own."""


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
    if delta < LEAST_ON_GRID:
        return SecondOpinion(0.0, first.second, first.second_accountant)
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
    width = max(_FINEST, _RELATIVE * first.upper)
    try:
        if len(composition.sampled) <= _MOST_KINDS:
            return SecondOpinion(*_prv(composition, delta, width), PRV_NAME)
        fewer, more = (_with_few_kinds(composition, up=up) for up in (False, True))
        return SecondOpinion(_prv(fewer, delta, width)[0], _prv(more, delta, width)[1], PRV_NAME)
    except (RuntimeError, FloatingPointError, ValueError) as error:
        if first.upper <= ANY_PROMISE:
            raise AccountantsDisagree(f"epsilon: no second opinion, as {PRV_NAME} gave out: {error}") from error
        return SecondOpinion(0.0, first.second, first.second_accountant)


def _with_few_kinds(composition: Composition, *, up: bool) -> Composition:
    """Round each probability of being pivotal to a power of two: up for an upper bound of the loss, else down."""
    rounding = math.ceil if up else math.floor
    return Composition.of(
        composition.mu**2,
        [
            (replace(sampled, pivotal=min(1.0, 2.0 ** rounding(math.log2(sampled.pivotal)))), times)
            if sampled.pivotal
            else (sampled, times)
            for sampled, times in composition.sampled
        ],
    )


class _Mixture(PrivacyRandomVariable):  # type: ignore[misc]
    """The loss of a round that is sampled, or, as is then known, has the device in it for certain."""

    def __init__(self, sampled: Sampled) -> None:
        self._pivotal = sampled.pivotal
        self._free = PoissonSubsampledGaussianMechanism(sampled.rate, sampled.noise_multiplier)
        self._certain = GaussianMechanism(sampled.noise_multiplier)

    def cdf(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distribution function at each loss."""
        return np.asarray((1 - self._pivotal) * self._free.cdf(t) + self._pivotal * self._certain.cdf(t), np.float64)

    def rdp(self, alpha: float) -> float:
        """Return the Renyi divergence at an order above 1, by which the domain is chosen."""
        if math.isinf(alpha):
            return math.inf
        free = math.log1p(-self._pivotal) + (alpha - 1) * float(self._free.rdp(alpha))
        certain = math.log(self._pivotal) + (alpha - 1) * float(self._certain.rdp(alpha))
        return float(np.logaddexp(free, certain)) / (alpha - 1)


def _prv(composition: Composition, delta: float, width: float) -> tuple[float, float]:
    """Bound epsilon by privacy random variables, at most `width` apart.

    Raises:
        RuntimeError, ValueError: when the accountant's floats do not suffice.
        FloatingPointError: when its bounds are not finite.
    """
    mechanisms = [
        _Mixture(sampled)
        if sampled.pivotal
        else PoissonSubsampledGaussianMechanism(sampled.rate, sampled.noise_multiplier)
        for sampled, _ in composition.sampled
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
    return max(0.0, lower), max(0.0, upper)
