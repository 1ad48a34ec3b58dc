"""What the baselines are tuned over: each takes the best of its grid by AUROC on the calibration users.

Wide enough that on chat the best lies inside; where it lies at an edge, the results say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RATES = (0.125, 0.5, 2.0, 8.0, 32.0)
"""Learning rates of plain SGD."""
EPOCHS = (1, 2, 4, 8, 16, 32, 64)
"""Of plain SGD, ascending: all are stops of one training."""
BATCH = 16
"""Messages a step of plain SGD."""
DP_RATES = (0.125, 0.5, 2.0, 8.0, 32.0, 128.0)
"""Learning rates of DP-SGD, for the mean gradient of an expected batch."""


@dataclass(frozen=True)
class Schedule:
    """Of DP-SGD; its noise follows from the budget."""

    sampling_rate: float
    steps: int


SCHEDULES = (Schedule(1 / 16, 128), Schedule(1 / 16, 512), Schedule(1 / 4, 512))
"""8, 32 and 128 expected epochs."""

MOST_DEVICES = 100
"""Whose models are judged, drawn at random from those with messages."""
TUNING_DEVICES = 25
"""The first of them, on whose mean AUROC the settings of a device alone are chosen."""


@dataclass(frozen=True)
class Judged:
    """A setting and what the calibration users think of it; `auroc` is NaN where training diverged."""

    rate: float
    length: int
    auroc: float


class NothingTrained(RuntimeError):
    """Every setting of a grid diverged."""


def best(evaluate_models: Sequence[Judged]) -> Judged:
    """Of equals the first.

    Raises:
        NothingTrained: when none has a figure.
    """
    found = [one for one in evaluate_models if not np.isnan(one.auroc)]
    if not found:
        raise NothingTrained("every setting of the grid diverged; scale the model's inputs or its start weights down")
    return max(found, key=lambda one: one.auroc)


def at_edge(chosen: Judged, rates: Sequence[float], longest: int) -> bool:
    """Whether a better setting may lie beyond the grid: the outermost rate, or the longest training."""
    return chosen.rate in (rates[0], rates[-1]) or chosen.length == longest


def in_words(chosen: Judged) -> str:
    """Of plain SGD."""
    return f"SGD, rate {chosen.rate:g}, {chosen.length} epoch{'s' if chosen.length > 1 else ''} of batches of {BATCH}"
