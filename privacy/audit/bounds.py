"""Certified lower bounds of privacy, from many runs with and without a canary and from one run with many canaries.

Whoever guesses from a score whether the canary took part errs at two rates; any privacy guarantee forbids that both
are small. So confidently small rates are a lower bound of what is lost, however the score was found.

* With no assumption: an (epsilon, delta)-DP mechanism has fpr * exp(epsilon) >= 1 - delta - fnr, and the same with the
  rates exchanged (Kairouz, Oh and Viswanath 2015, Theorem 2.1).
* For Gaussian differential privacy: a mu-GDP mechanism has fnr >= Phi(Phi^-1(1 - fpr) - mu) (Dong, Roth and Su 2022,
  Definition 2.6), so mu >= Phi^-1(1 - fpr) - Phi^-1(fnr). Epsilon at a small delta then follows from the whole curve,
  not from the few errors that a rate near delta leaves (Nasr et al. 2023, "Tight Auditing of Differentially Private
  Machine Learning"). The bound of mu needs no assumption: no mechanism with a smaller mu errs so rarely.
  Its epsilon does: that the mechanism's own curve is Gaussian, as that of noise of one variance on one sum is.

The rates are Clopper and Pearson's 1934 upper limits. Each gets half of the error probability.

Each of m canaries takes part or not by its own fair coin. Whoever sees the run's result guesses r of the coins and
abstains from the others; a private mechanism lets few guesses be right. As every canary is a contribution of its own,
one run with many canaries stands for many runs with one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import beta, binom

from privacy.accounting.composition import epsilon_bracket

Floats = NDArray[np.float64]

_HELD_OUT = 0.1
"""The fraction of the runs that choose the threshold.

Limits at the best of many thresholds would hold for each, but not for the best: the bound must come from other runs. A
tenth finds a threshold about as good as a half would, since the bound is flat around the best threshold, and leaves
nearly all runs to the limits, which shrink with their number.
"""
_FEWEST = 20
_CANDIDATES = 401


class Certified(NamedTuple):
    """Lower bounds, each at the confidence asked for, from scores above `threshold` being guessed to have the canary.

    Attributes:
        mu: lower bound of mu of Gaussian differential privacy; 0 when the bound is for any mechanism.
        epsilon: lower bound of epsilon at the delta asked for.
        threshold: from which score on a run is guessed to have the canary.
    """

    mu: float
    epsilon: float
    threshold: float


class Rates(NamedTuple):
    """Upper limits of both rates of error, float64 of one shape, which hold together at the confidence asked for."""

    false_positive: Floats
    false_negative: Floats


def certified_gaussian(present: Floats, absent: Floats, delta: float, confidence: float = 0.95) -> Certified:
    """Bound mu from below for any mechanism, and epsilon at delta for Gaussian mechanisms.

    Dong, Roth and Su 2022, Definition 2.6, at rates limited as Clopper and Pearson 1934 do.

    Args:
        present: float64[n], scores of independent runs with the canary; larger ones speak for it.
        absent: float64[n], scores of independent runs without it.
        delta: between 0 and 1.
        confidence: probability with which the bound of mu holds, between 0 and 1.

    Raises:
        ValueError: with fewer than 20 scores a side, of different numbers or not finite, or a confidence or delta that
            is not between 0 and 1.
    """
    check_fraction("delta", delta)
    threshold, rates = _rates(present, absent, confidence, _mu)
    mu = float(_mu(rates))
    return Certified(mu, epsilon_bracket(mu, delta)[0], threshold)


def certified_any(present: Floats, absent: Floats, delta: float, confidence: float = 0.95) -> Certified:
    """Bound epsilon at delta from below for any mechanism (Kairouz, Oh and Viswanath 2015, Theorem 2.1).

    However large epsilon is, n scores a side certify no more than about log(n / 4) at 95%.

    Args:
        present: float64[n], scores of independent runs with the canary; larger ones speak for it.
        absent: float64[n], scores of independent runs without it.
        delta: between 0 and 1.
        confidence: probability with which the bound holds, between 0 and 1.

    Raises:
        ValueError: with fewer than 20 scores a side, of different numbers or not finite, or a confidence or delta that
            is not between 0 and 1.
    """
    check_fraction("delta", delta)

    def epsilon(rates: Rates) -> Floats:
        return _epsilon(rates, delta)

    threshold, rates = _rates(present, absent, confidence, epsilon)
    return Certified(0.0, float(epsilon(rates)), threshold)


def estimated_mu(present: Floats, absent: Floats) -> float | None:
    """Estimate mu as the means' difference over the common standard deviation: no bound; None without spread."""
    if min(present.size, absent.size) < 2:
        return None
    spread = float(np.sqrt((present.var(ddof=1) + absent.var(ddof=1)) / 2))
    return max(0.0, float(present.mean() - absent.mean())) / spread if spread else None


def upper_limit(hits: NDArray[np.number], trials: int, confidence: float) -> Floats:
    """Return the upper confidence limit of a rate (Clopper and Pearson 1934).

    Args:
        hits: how often the event was seen, of any shape.
        trials: how often it could have been seen.
        confidence: probability with which the rate is within the limit.

    Returns:
        float64 of the shape of `hits`, 0 to 1.
    """
    seen = np.asarray(hits, np.float64)
    misses = trials - seen
    limits = beta.ppf(confidence, seen + 1, np.where(misses > 0, misses, 1.0))
    return np.where(misses > 0, limits, 1.0)


def check_fraction(name: str, value: float) -> None:
    """Require that a value is between 0 and 1.

    Raises:
        ValueError: when it is not; the message names it.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name}: expected more than 0 and less than 1, got {value}")


def _rates(present: Floats, absent: Floats, confidence: float, worth: Callable[[Rates], Floats]) -> tuple[float, Rates]:
    """Return the threshold that the held-out scores promise most for, and the other scores' limits there."""
    check_fraction("confidence", confidence)
    _check_scores(present, absent)
    cut = max(_FEWEST // 2, round(_HELD_OUT * present.size))
    trials = present.size - cut

    def promised(positive: Floats, negative: Floats) -> Floats:
        return worth(_limits(trials * positive, trials * negative, trials, confidence))

    threshold = _threshold(present[:cut], absent[:cut], promised)
    positives, negatives = np.count_nonzero(absent[cut:] >= threshold), np.count_nonzero(present[cut:] < threshold)
    return threshold, _limits(np.array(positives), np.array(negatives), trials, confidence)


def _threshold(present: Floats, absent: Floats, promised: Callable[[Floats, Floats], Floats]) -> float:
    """Return the best threshold for normals of the scores' means and common spread.

    The best for the scores themselves would be a fluke.
    """
    both = np.concatenate([present, absent])
    candidates = np.linspace(both.min(), both.max(), _CANDIDATES)
    spread = float(np.sqrt((present.var() + absent.var()) / 2)) or 1.0
    rates = ndtr((absent.mean() - candidates) / spread), ndtr((candidates - present.mean()) / spread)
    return float(candidates[int(np.argmax(promised(*rates)))])


def _check_scores(present: Floats, absent: Floats) -> None:
    for name, scores in (("present", present), ("absent", absent)):
        if scores.ndim != 1 or scores.size < _FEWEST or scores.size != absent.size:
            raise ValueError(f"{name}: expected float64[n], n >= {_FEWEST} on both sides, got shape {scores.shape}")
        if not np.isfinite(scores).all():
            raise ValueError(f"{name}: expected finite scores, got NaN or infinity")


def _limits(positives: NDArray[np.number], negatives: NDArray[np.number], trials: int, confidence: float) -> Rates:
    each = 1 - (1 - confidence) / 2
    return Rates(upper_limit(positives, trials, each), upper_limit(negatives, trials, each))


def _mu(rates: Rates) -> Floats:
    bound: Floats = np.maximum(0.0, -ndtri(rates.false_positive) - ndtri(rates.false_negative))
    return bound


def _epsilon(rates: Rates, delta: float) -> Floats:
    positive, negative = rates
    return np.log(np.maximum(1.0, np.maximum((1 - delta - negative) / positive, (1 - delta - positive) / negative)))


_LARGEST = 64.0
"""The largest bound that is looked for; no number of guesses that fits a machine certifies more."""
_BISECTIONS = 30
_FRACTIONS = (1.0, 0.5, 0.25, 0.15, 0.1, 0.05, 0.03, 0.02, 0.01)
"""Fractions of the canaries that may be guessed: the likelier a guess is right, the fewer such guesses there are."""


def any_epsilon(canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """Bound epsilon at delta from below for any mechanism (Steinke, Nasr and Jagielski 2023, Theorem 5.2).

    Args:
        canaries: how many took part or not, each by its own fair coin.
        guesses: how many coins were guessed.
        correct: how many guesses were right.
        delta: between 0 and 1.
        confidence: probability with which the bound holds, between 0 and 1.

    Raises:
        ValueError: when not 0 <= correct <= guesses <= canaries, or delta or the confidence not between 0 and 1.
    """
    _check(canaries, guesses, correct, confidence)
    check_fraction("delta", delta)

    def refuted(epsilon: float) -> bool:
        return chance_of(canaries, guesses, correct, epsilon, delta) < 1 - confidence

    return _largest_refuted(refuted)


def gaussian_mu(canaries: int, guesses: int, correct: int, confidence: float = 0.95) -> float:
    """Bound mu from below for any Gaussian differentially private mechanism: the largest that `refutes` refutes.

    Args:
        canaries: how many took part or not, each by its own fair coin.
        guesses: how many coins were guessed.
        correct: how many guesses were right.
        confidence: probability with which the bound holds, between 0 and 1.

    Raises:
        ValueError: when not 0 <= correct <= guesses <= canaries, or the confidence is not between 0 and 1.
    """
    _check(canaries, guesses, correct, confidence)
    return _largest_refuted(lambda mu: refutes(canaries, guesses, correct, mu, 1 - confidence))


def chance_of(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Bound the probability of so many correct guesses about an (epsilon, delta)-DP mechanism from above.

    beta + alpha * m * delta, with W ~ Binomial(r, 1 / (1 + exp(-epsilon))), beta = P[W >= v] and alpha the largest over
    i of 2 / i * P[v > W >= v - i] (Steinke, Nasr and Jagielski 2023, Theorem 5.2).

    Args:
        canaries: m, how many took part or not, each by its own fair coin.
        guesses: r, how many coins were guessed.
        correct: v, how many guesses were right.
        epsilon: at least 0.
        delta: between 0 and 1.
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

    Args:
        canaries: m, how many took part or not, each by its own fair coin.
        guesses: r, how many coins were guessed.
        correct: v, how many guesses were right.
        mu: at least 0.
        chance: the probability, between 0 and 1.
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
    """Return how many guesses certify most when canaries are orthogonal and each is mu from its absence.

    It is chosen before the run, from the claim: the best number in hindsight would void the confidence.

    Args:
        canaries: how many there are.
        mu: what is claimed.
        certify: from guesses and right guesses to the bound.
    """

    def worth(guesses: int) -> float:
        return certify(guesses, int(guesses * _accuracy(guesses / canaries, mu)))

    return max((max(2, int(canaries * fraction)) for fraction in _FRACTIONS), key=worth)


def correct_guesses(scores: NDArray[np.float64], coins: NDArray[np.bool_], guesses: int) -> int:
    """Return how many guesses are right when half of them is for the largest scores and half for the smallest.

    Args:
        scores: float64[m], a score for each canary; larger ones speak for it.
        coins: bool[m], whether it took part.
        guesses: how many coins are guessed, at most m.
    """
    order, above = np.argsort(scores), guesses // 2
    right = np.count_nonzero(~coins[order[: guesses - above]])
    return int(right + np.count_nonzero(coins[order[scores.size - above :]]))


def _accuracy(fraction: float, mu: float) -> float:
    """Return the fraction of correct guesses when those furthest from the middle, `fraction` of all, are guessed."""

    def beyond(cut: float) -> float:
        return float(ndtr(mu / 2 - cut) + ndtr(-mu / 2 - cut))

    cut = brentq(lambda at: beyond(at) - fraction, 0.0, mu + 40.0) if fraction < 1 else 0.0
    return float(ndtr(mu / 2 - cut)) / beyond(cut)


def _largest_refuted(refuted: Callable[[float], bool]) -> float:
    """Return the largest refuted value, by bisection; all below are refuted with it: they are more private."""
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
