"""Which device holds which rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.dataset import DataError

Rows = NDArray[np.int64]
"""Places of a table's rows."""


@dataclass(frozen=True)
class Dirichlet:
    """Label skew: each label's rows are spread over the devices in proportions drawn from Dirichlet(alpha).

    The smaller alpha, the fewer devices hold most rows of a label (Yurochkin et al. 2019, section 4.1).
    """

    alpha: float

    @classmethod
    def parse(cls, text: str) -> Dirichlet:
        """`dirichlet:ALPHA`.

        Raises:
            DataError: when it is anything else, or alpha is not a positive number.
        """
        kind, _, number = text.partition(":")
        try:
            alpha = float(number)
        except ValueError:
            alpha = math.nan
        if kind != "dirichlet" or not (math.isfinite(alpha) and alpha > 0):
            raise DataError(
                f"--partition: expected dirichlet:ALPHA with ALPHA above 0, as in dirichlet:0.3, got {text!r}"
            )
        return cls(alpha)

    def spread(self, labels: NDArray[np.float32], devices: int, rng: np.random.Generator) -> list[Rows]:
        """Every row on exactly one of `devices` devices; some may hold none.

        Raises:
            DataError: when `devices` is below 1.
        """
        if devices < 1:
            raise DataError(f"--devices: expected at least 1, got {devices}")
        holders = np.empty(labels.size, np.int64)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            shares = rng.dirichlet(np.full(devices, self.alpha))
            holders[rows] = rng.choice(devices, size=rows.size, p=shares)
        return group_rows(holders, devices)


def group_rows(holders: NDArray[np.int64], devices: int) -> list[Rows]:
    """From each row's device to each device's rows, ascending."""
    order = np.argsort(holders, kind="stable").astype(np.int64)
    return np.split(order, np.cumsum(np.bincount(holders, minlength=devices))[:-1])
