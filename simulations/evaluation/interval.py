"""A confidence interval of the AUROC for messages of users, who write several each and resemble themselves.

The variance is Obuchowski's (Biometrics 53, 1997): DeLong's, with the structural components of a user added up first,
and with the covariance of a user's abuse and other messages. Messages counted as if they were independent would make
intervals too narrow by the square root of what users' messages have in common. The interval is Student's on the log
odds (Pepe 2003, section 5.2), with as many degrees of freedom as there are users of the rarer kind, less one. It is
computed, not drawn: one table of scores has one interval.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata, t as student

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
METHOD = "95%, Obuchowski 1997: DeLong's variance clustered by user, Student's t on the log odds"
"""The method, for whoever reads an interval."""


def auroc_interval(
    labels: NDArray[np.number], scores: NDArray[np.floating], users: NDArray[np.integer]
) -> tuple[float, float] | None:
    """Return a 95% confidence interval of the AUROC.

    Args:
        labels: n labels, 0 or 1.
        scores: n scores.
        users: n numbers, who wrote each message.

    Returns:
        The ends, within [0, 1]; None where a class is missing. Where one user alone has a class, all of [0, 1]. Where
        every message is ranked right, or every one wrong, the variance says nothing: the far end is then that of as
        many users' outcomes, all of them the same (Clopper and Pearson 1934).
    """
    abuse = labels == 1
    if not 0 < np.count_nonzero(abuse) < labels.size:
        return None
    components = _components(scores, abuse)
    area = float(components[abuse].mean())
    groups = np.unique(users, return_inverse=True)[1]
    with_abuse, with_others = (np.unique(groups[kind]).size for kind in (abuse, ~abuse))
    fewest = min(with_abuse, with_others)
    if fewest < 2:
        return 0.0, 1.0
    if area in (0.0, 1.0):
        least = ((1 - CONFIDENCE) / 2) ** (1 / fewest)
        return (least, 1.0) if area else (0.0, 1 - least)
    deviation = math.sqrt(_variance(components - area, abuse, groups, (with_abuse, with_others)))
    reach = float(student.ppf((1 + CONFIDENCE) / 2, fewest - 1)) * deviation / (area * (1 - area))
    return float(expit(logit(area) - reach)), float(expit(logit(area) + reach))


def _components(scores: NDArray[np.floating], abuse: NDArray[np.bool_]) -> Floats:
    """Return, for each message, the fraction of those of the other class that it is ranked right with; ties are half.

    float64[n].
    """
    whole = rankdata(scores)
    found = np.empty(scores.size)
    for kind, sign in ((abuse, 1), (~abuse, -1)):
        others = scores.size - np.count_nonzero(kind)
        below = whole[kind] - rankdata(scores[kind])
        found[kind] = below / others if sign > 0 else 1 - below / others
    return found


def _variance(
    centred: Floats, abuse: NDArray[np.bool_], groups: NDArray[np.int64], with_each: tuple[int, int]
) -> float:
    """Return the variance of the AUROC by sums of users' components, less the AUROC each."""
    sums = [np.bincount(groups[kind], centred[kind], groups.max() + 1) for kind in (abuse, ~abuse)]
    sizes = [np.count_nonzero(kind) for kind in (abuse, ~abuse)]
    own = [
        float(added @ added) * count / (count - 1) / size**2
        for added, count, size in zip(sums, with_each, sizes, strict=True)
    ]
    users = sums[0].size
    between = float(sums[0] @ sums[1]) * users / (users - 1) / (sizes[0] * sizes[1])
    return max(0.0, sum(own) + 2 * between)
