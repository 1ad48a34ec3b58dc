"""Owners of rows: real users, or devices made up by a Dirichlet draw or by time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulations.data.errors import DataError

Devices = list[NDArray[np.int64]]
"""Rows of each device, ascending; every row is on exactly one device, and a device may have none."""

TIME = "time"
"""The partition by time, as the configuration names it."""

_SMALLEST_ALPHA, _LARGEST_ALPHA = 1e-3, 1e6


def parse_alpha(partition: str) -> float:
    """Return ALPHA of `dirichlet:ALPHA`.

    Raises:
        DataError: when the partition is another, or alpha is not in [0.001, 1000000].
    """
    kind, _, number = partition.partition(":")
    try:
        alpha = float(number) if kind == "dirichlet" else math.nan
    except ValueError:
        alpha = math.nan
    if not _SMALLEST_ALPHA <= alpha <= _LARGEST_ALPHA:
        raise DataError(
            f"--partition: expected {TIME}, or dirichlet:ALPHA with ALPHA from {_SMALLEST_ALPHA} to "
            f"{_LARGEST_ALPHA:.0f}, got {partition!r}; dirichlet:0.3 is strongly skewed, dirichlet:100 nearly even"
        )
    return alpha


def by_user(users: Sequence[str]) -> Devices:
    """Make a device of each user, in the order of first appearance."""
    rows: dict[str, list[int]] = {}
    for row, user in enumerate(users):
        rows.setdefault(user, []).append(row)
    return [np.array(own, np.int64) for own in rows.values()]


def by_time(times: NDArray[np.float64], devices: int) -> Devices:
    """Give each device an equal run of consecutive rows: the first holds the oldest."""
    return [np.sort(run) for run in np.array_split(np.argsort(times, kind="stable").astype(np.int64), devices)]


def dirichlet(labels: NDArray[np.int8], devices: int, alpha: float, rng: np.random.Generator) -> Devices:
    """Spread the rows of each class over devices in proportions drawn from Dir(alpha, ..., alpha).

    The smaller alpha, the more the devices differ in size and in labels (Yurochkin et al. 2019).

    Args:
        labels: int8[n].
        devices: how many there are.
        alpha: the concentration, above 0.
        rng: what the draws come from.
    """
    owner = np.empty(labels.size, np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        sizes = rng.multinomial(rows.size, rng.dirichlet(np.full(devices, alpha)))
        owner[rows] = np.repeat(np.arange(devices), sizes)
    bounds = np.cumsum(np.bincount(owner, minlength=devices))[:-1]
    return np.split(np.argsort(owner, kind="stable").astype(np.int64), bounds)
