"""A figure over several seeds: its mean and standard deviation."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a figure.

    Attributes:
        mean: the arithmetic mean.
        deviation: the sample standard deviation; None of a single seed.
        count: how many seeds have the figure.
    """

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Summarise the values that are numbers; None where no value is."""
        figures = [value for value in values if value is not None]
        if not figures:
            return None
        return cls(statistics.fmean(figures), statistics.stdev(figures) if len(figures) > 1 else None, len(figures))

    def text(self, digits: int = 3) -> str:
        """Write the mean and, after ±, the deviation, as people do."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation:.{digits}f}"
