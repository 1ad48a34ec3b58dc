"""Certified lower bounds of privacy from many runs with and without a canary.

Whoever guesses from a score whether the canary took part errs at two rates; any privacy guarantee forbids that both
are small. So confidently small rates are a lower bound of what is lost, however the score was found.

* With no assumption: an (epsilon, delta)-DP mechanism has fpr * exp(epsilon) >= 1 - delta - fnr, and the same with the
  rates exchanged (Kairouz, Oh and Viswanath 2015, Theorem 2.1).
* For Gaussian differential privacy: a mu-GDP mechanism has fnr >= Phi(Phi^-1(1 - fpr) - mu) (Dong, Roth and Su 2022,
  Definition 2.6), so mu >= Phi^-1(1 - fpr) - Phi^-1(fnr). Epsilon at a small delta then follows from the whole curve,
  not from the few errors that a rate near delta leaves (Nasr et al. 2023, "Tight Auditing of Differentially Private
  Machine Learning", Section 4.2). The bound of mu needs no assumption: no mechanism with a smaller mu errs so rarely.
  Its epsilon does: that the mechanism's own curve is Gaussian, as that of noise of one variance on one sum is.

The rates are Clopper and Pearson's 1934 upper limits. Each gets half of the error probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import beta

from privacy.gaussian import epsilon_bracket

Floats = NDArray[np.float64]

_HELD_OUT = 0.1
"""Share of the runs that choose the threshold. Limits at the best of many thresholds would hold for each, but not for
the best: the bound must come from other runs. A tenth finds a threshold about as good as a half would, since the bound
is flat around the best one, and leaves nearly all runs to the limits, which shrink with their number."""
_FEWEST = 20


class Certified(NamedTuple):
    """Lower bounds, each at the confidence asked for, and the threshold on the score that they were found at.

    Attributes:
        mu: of Gaussian differential privacy.
        epsilon: that mu's at the delta asked for, if the mechanism is Gaussian; or without mu, for any mechanism.
        threshold: scores from here on are guessed to have the canary.
    """

    mu: float
    epsilon: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of independent runs with and without the canary, float64[n] each; larger ones speak for the canary.

    Raises:
        ValueError: with fewer than 20 on a side, of different numbers, or not finite.
    """

    present: Floats
    absent: Floats

    def __post_init__(self) -> None:
        for name, scores in (("present", self.present), ("absent", self.absent)):
            if scores.ndim != 1 or scores.size < _FEWEST or scores.size != self.absent.size:
                raise ValueError(f"{name}: expected float64[n], n >= {_FEWEST} on both sides, got shape {scores.shape}")
            if not np.isfinite(scores).all():
                raise ValueError(f"{name}: expected finite scores, got NaN or infinity")

    def split(self) -> tuple[Scores, Scores]:
        """Those that choose the threshold, at least ten, and those that the bound comes from."""
        cut = max(10, round(_HELD_OUT * self.present.size))
        return _unchecked(self.present[:cut], self.absent[:cut]), _unchecked(self.present[cut:], self.absent[cut:])


def _unchecked(present: Floats, absent: Floats) -> Scores:
    part = object.__new__(Scores)
    object.__setattr__(part, "present", present)
    object.__setattr__(part, "absent", absent)
    return part
