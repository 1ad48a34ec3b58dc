"""Certified lower bounds of privacy from a single run with many canaries.

Each of m canaries takes part or not by its own fair coin. Whoever sees the run's result guesses r of the coins and
abstains from the others; a private mechanism lets few guesses be right. As every canary is a contribution of its own,
one run with many canaries stands for many runs with one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from privacy.audit.bounds import check_fraction

_LARGEST = 64.0
"""Bounds above are cut here; no number of guesses that fits a machine certifies more."""
_BISECTIONS = 30
_FRACTIONS = (1.0, 0.5, 0.25, 0.15, 0.1, 0.05, 0.03, 0.02, 0.01)
"""Of the canaries that are guessed: the likelier a guess is right, the fewer such guesses there are."""


def any_epsilon(canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """Bound of epsilon at delta for any mechanism (Steinke, Nasr and Jagielski 2023, Theorem 5.2).

    Raises:
        ValueError: when not 0 <= correct <= guesses <= canaries, or delta or the confidence not between 0 and 1.
    """
    _check(canaries, guesses, correct, confidence)
    check_fraction("delta", delta)

    def refuted(epsilon: float) -> bool:
        return chance_of(canaries, guesses, correct, epsilon, delta) < 1 - confidence

    return _largest_refuted(refuted)


def gaussian_mu(canaries: int, guesses: int, correct: int, confidence: float = 0.95) -> float:
    """Bound of mu for any mechanism that is Gaussian differentially private: the largest that `refutes` refutes.

    Raises:
        ValueError: when not 0 <= correct <= guesses <= canaries, or the confidence is not between 0 and 1.
    """
    _check(canaries, guesses, correct, confidence)
    return _largest_refuted(lambda mu: refutes(canaries, guesses, correct, mu, 1 - confidence))


def chance_of(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Upper bound of the probability of so many correct guesses about an (epsilon, delta)-DP mechanism.

    beta + alpha * m * delta, with W ~ Binomial(r, 1 / (1 + exp(-epsilon))), beta = P[W >= v] and alpha the largest over
    i of 2 / i * P[v > W >= v - i] (Steinke, Nasr and Jagielski 2023, Theorem 5.2).
    """
    right = 1 / (1 + np.exp(-epsilon))
    steps = np.arange(1, correct + 1)
    below = binom.cdf(correct - 1, guesses, right) - binom.cdf(correct - steps - 1, guesses, right)
    alpha = float(np.max(2 * below / steps, initial=0.0))
    return float(min(1.0, binom.sf(correct - 1, guesses, right) + alpha * canaries * delta))


def refutes(canaries: int, guesses: int, correct: int, mu: float, chance: float) -> bool:
    """Whether a mu-GDP mechanism lets `correct` of `guesses` be right with a probability below `chance` only.

    Mahloujifar, Melis and Chaudhuri 2024, Theorem 3.2 and Algorithm 3. Let p_j be the probability that j are right and
    f(x) = Phi(Phi^-1(x) - mu). Turning one canary's coin turns a right guess into a wrong one, whence for every i, as
    f is convex,

        sum_{j >= i} (r - j + 1) / m * p_{j-1}  >=  f(sum_{j >= i} j / m * p_j).

    With P_i = sum_{j >= i} p_j and Q_i = sum_{j >= i} (j - i) p_j this reads

        (r - i + 1) P_{i-1} - Q_{i-1} >= m f((Q_i + i P_i) / m),    Q_{i-1} = Q_i + P_i,

    so lower bounds of P_i and Q_i give such of P_{i-1} and Q_{i-1}. Starting from P_v = `chance` and Q_v = 0, a P_i
    above 1 is a contradiction.
    """
    tail, excess = chance, 0.0
    for count in range(correct, 0, -1):
        right = (excess + count * tail) / canaries
        if right >= 1:
            return True
        excess += tail
        wrong = canaries * float(ndtr(ndtri(right) - mu))
        tail = max(tail, (wrong + excess) / (guesses - count + 1))
        if tail > 1:
            return True
    return False


def guesses_for(canaries: int, mu: float, certify: Callable[[int, int], float]) -> int:
    """How many guesses certify most when canaries are orthogonal and each is mu from its absence in Gaussian noise.

    Chosen before the run, from the claim: the best number in hindsight would void the confidence.

    Args:
        certify: from guesses and right guesses to the bound.
    """

    def worth(guesses: int) -> float:
        return certify(guesses, int(guesses * _accuracy(guesses / canaries, mu)))

    return max((max(2, int(canaries * share)) for share in _FRACTIONS), key=worth)


def correct_guesses(scores: NDArray[np.float64], coins: NDArray[np.bool_], guesses: int) -> int:
    """How many of `guesses` are right: the upper half of them is for the largest scores, the lower for the smallest.

    Args:
        scores: float64[m], one a canary; larger ones speak for it.
        coins: bool[m], whether it took part.
    """
    order, above = np.argsort(scores), guesses // 2
    right = np.count_nonzero(~coins[order[: guesses - above]])
    return int(right + np.count_nonzero(coins[order[scores.size - above :]]))


def _accuracy(share: float, mu: float) -> float:
    """The share of correct guesses when those furthest from the middle, `share` of all, are guessed."""

    def beyond(cut: float) -> float:
        return float(ndtr(mu / 2 - cut) + ndtr(-mu / 2 - cut))

    cut = brentq(lambda at: beyond(at) - share, 0.0, mu + 40.0) if share < 1 else 0.0
    return float(ndtr(mu / 2 - cut)) / beyond(cut)


def _largest_refuted(refuted: Callable[[float], bool]) -> float:
    """By bisection; what is returned was refuted itself, and with it all below, whose mechanisms are more private."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, _LARGEST
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _check(canaries: int, guesses: int, correct: int, confidence: float) -> None:
    check_fraction("confidence", confidence)
    if not 0 <= correct <= guesses <= canaries or canaries < 1:
        raise ValueError(
            f"correct: expected 0 <= correct <= guesses <= canaries, got {correct} of {guesses} of {canaries}"
        )
