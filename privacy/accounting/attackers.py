"""What an account lets the best attacker do: tell one device's updates from zeros, or from others in their place.

Formal guarantee. An attacker who sees all that is released, and knows everything else, tests whether a device's updates
were used or zeros in their place. With delta(epsilon) the privacy profile, an upper bound at every epsilon in both
directions, its rates of true positives t and of false positives f obey t <= exp(epsilon) f + delta and
1 - f <= exp(epsilon) (1 - t) + delta (Kairouz, Oh and Viswanath 2015, Theorem 2.1), so the least over any epsilons is a
bound. At epsilon 0 it bounds t - f by delta(0), the total variation.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.accountant import Events, check_delta, known_cohorts, rounded_up, upper_epsilon
from privacy.accounting.composition import compose, deltas_at, epsilon_bracket, settle
from privacy.accounting.events import Event

_EPSILONS = np.concatenate(
    [[0.0], np.geomspace(1e-5, 1, 160, endpoint=False), np.linspace(1, 16, 301), np.linspace(16, 64, 97)[1:]]
)
"""Where the profile is taken: above, an attacker that may be wrong in one of 10^27 is right already."""
_FIRST_HOPS = (0.5, 0.95)
"""Fractions of delta that the way to zeros may take; the way on to other updates has the rest."""


@dataclass(frozen=True)
class Profile:
    """A privacy profile at some epsilons.

    Attributes:
        epsilons: float64[n], from 0 on.
        deltas: float64[n], upper bounds of delta at each, in both directions.
    """

    epsilons: NDArray[np.float64] = field(repr=False)
    deltas: NDArray[np.float64] = field(repr=False)

    def true_positives(self, false_positives: float) -> float:
        """Bound how many of the devices that were used an attacker recognises.

        Args:
            false_positives: the fraction of those that were not used which it may call used, from 0 to 1.

        Returns:
            A fraction, at most 1.
        """
        rising = np.exp(self.epsilons) * false_positives + self.deltas
        falling = 1 - np.exp(-self.epsilons) * np.maximum(0.0, 1 - false_positives - self.deltas)
        return float(min(1.0, rising.min(), falling.min()))

    @property
    def right_guesses(self) -> float:
        """How often a guess is right, at most, where the device was used or not with equal chance: 0.5 to 1."""
        return float(min(1.0, (1 + self.deltas[0]) / 2))


def profile(events: Events, delta: float) -> Profile:
    """Return the privacy profile of events together, by the first accountant alone.

    Args:
        events: what was released.
        delta: between 0 and 1; what of it unlikely lots and rounds use up is in every delta of the profile.

    Raises:
        ValueError: when delta is not between 0 and 1.
    """
    check_delta(delta)
    composition, left = settle(Counter(events), delta)
    if left <= 0:
        return Profile(_EPSILONS, np.ones_like(_EPSILONS))
    deltas = deltas_at(composition, left, _EPSILONS) + (delta - left)
    return Profile(_EPSILONS, np.minimum(1.0, deltas))


def posterior(prior: float, epsilon: float) -> float:
    """Return how sure of a device somebody may become who was sure to degree `prior`, but for probability delta.

    By Bayes' rule, since no conclusion is more than exp(epsilon) times as likely with the device as without.

    Args:
        prior: between 0 and 1.
        epsilon: 0 or more; inf promises nothing.
    """
    return 1 / (1 + (1 - prior) / prior * math.exp(-epsilon))


def changed_epsilon(events: Events, delta: float) -> float:
    """Return the epsilon where a device's updates are compared not with zeros but with any others in their place.

    For unsampled Gaussians the distance doubles, and so does mu. Sampled rounds get the lesser of two bounds: that of
    the same rounds without sampling, by joint convexity over the coin, which is the same in both worlds; and the way
    over zeros, by delta <= delta_1 + exp(epsilon_1) delta_2 at epsilon_1 + epsilon_2.

    Args:
        events: what was released.
        delta: between 0 and 1.

    Returns:
        An upper bound, rounded up; inf where nothing can be promised.

    Raises:
        ValueError: when delta is not between 0 and 1.
    """
    check_delta(delta)
    counts = Counter(events)
    known = known_cohorts(counts)
    doubled = epsilon_bracket(2 * compose(counts if known is None else known).mu, delta)[1]
    hops = [] if known is None else [_over_zeros(counts, delta, fraction) for fraction in _FIRST_HOPS]
    return rounded_up(min([doubled, *hops]))


def _over_zeros(counts: Counter[Event], delta: float, fraction: float) -> float:
    there = upper_epsilon(counts, delta * fraction)
    if math.isinf(there):
        return math.inf
    rest = delta * (1 - fraction) * math.exp(-there)
    return there + upper_epsilon(counts, rest) if rest > 0 else math.inf
