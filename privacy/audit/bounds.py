"""Certified lower bounds of privacy from many runs with and without a canary.

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
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import beta

from privacy.accounting.gaussian import epsilon_bracket

Floats = NDArray[np.float64]

_HELD_OUT = 0.1
"""Share of the runs that choose the threshold. Limits at the best of many thresholds would hold for each, but not for
the best: the bound must come from other runs. A tenth finds a threshold about as good as a half would, since the bound
is flat around the best one, and leaves nearly all runs to the limits, which shrink with their number."""
_FEWEST = 20
_CANDIDATES = 401


class Certified(NamedTuple):
    """Lower bounds, each at the confidence asked for, from scores above `threshold` being guessed to have the canary.

    Attributes:
        mu: of Gaussian differential privacy; 0 when the bound is for any mechanism.
        epsilon: at the delta asked for.
    """

    mu: float
    epsilon: float
    threshold: float


class Rates(NamedTuple):
    """Upper limits of both rates of error, float64 of one shape, which hold together at the confidence asked for."""

    false_positive: Floats
    false_negative: Floats


def certified_gaussian(present: Floats, absent: Floats, delta: float, confidence: float = 0.95) -> Certified:
    """Bound of mu for any mechanism, and of epsilon at delta for Gaussian ones.

    Args:
        present: float64[n], scores of independent runs with the canary; larger ones speak for it.
        absent: float64[n], of runs without.

    Raises:
        ValueError: with fewer than 20 scores a side, of different numbers or not finite, or a confidence or delta that
            is not between 0 and 1.
    """
    check_fraction("delta", delta)
    threshold, rates = _rates(present, absent, confidence, _mu)
    mu = float(_mu(rates))
    return Certified(mu, epsilon_bracket(mu, delta)[0], threshold)


def certified_any(present: Floats, absent: Floats, delta: float, confidence: float = 0.95) -> Certified:
    """Bound of epsilon at delta for any mechanism; otherwise like `certified_gaussian`.

    However large epsilon is, n scores a side certify no more than about log(n / 4) at 95%.
    """
    check_fraction("delta", delta)

    def epsilon(rates: Rates) -> Floats:
        return _epsilon(rates, delta)

    threshold, rates = _rates(present, absent, confidence, epsilon)
    return Certified(0.0, float(epsilon(rates)), threshold)


def estimated_mu(present: Floats, absent: Floats) -> float | None:
    """An estimate, not a bound: the means' difference over the common standard deviation; None without spread."""
    if min(present.size, absent.size) < 2:
        return None
    spread = float(np.sqrt((present.var(ddof=1) + absent.var(ddof=1)) / 2))
    return max(0.0, float(present.mean() - absent.mean())) / spread if spread else None


def upper_limit(hits: NDArray[np.number], trials: int, confidence: float) -> Floats:
    """Clopper and Pearson's upper confidence limit of a rate of which `hits` of `trials` were seen."""
    seen = np.asarray(hits, np.float64)
    misses = trials - seen
    limits = beta.ppf(confidence, seen + 1, np.where(misses > 0, misses, 1.0))
    return np.where(misses > 0, limits, 1.0)


def check_fraction(name: str, value: float) -> None:
    """Raises: ValueError, when the value is not between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}: expected more than 0 and less than 1, got {value}")


def _rates(present: Floats, absent: Floats, confidence: float, worth: Callable[[Rates], Floats]) -> tuple[float, Rates]:
    """The threshold that the held-out scores promise most for, and the other scores' limits there."""
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
    """Best for normals of these means and their common spread; the best for the scores themselves would be a fluke."""
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
    one, other = rates
    return np.log(np.maximum(1.0, np.maximum((1 - delta - other) / one, (1 - delta - one) / other)))
