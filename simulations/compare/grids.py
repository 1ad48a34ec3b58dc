"""The grids that baselines are tuned over: each takes the best setting by AUROC on the calibration users.

They are wide enough that on chat the best lies inside; where it lies at an edge, the results say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RATES = (0.125, 0.5, 2.0, 8.0, 32.0)
"""Learning rates of plain SGD."""
EPOCHS = (1, 2, 4, 8, 16, 32, 64)
"""Epochs of plain SGD, ascending: all are stops of the same training."""
BATCH = 16
"""Messages in a step of plain SGD."""
DP_RATES = (0.125, 0.5, 2.0, 8.0, 32.0, 128.0)
"""Learning rates of DP-SGD, for the mean gradient of an expected batch."""


@dataclass(frozen=True)
class Schedule:
    """A schedule of DP-SGD; its noise follows from the budget."""

    sampling_rate: float
    steps: int


SCHEDULES = (Schedule(1 / 16, 128), Schedule(1 / 16, 512), Schedule(1 / 4, 512))
"""Schedules of 8, 32 and 128 expected epochs."""

MOST_DEVICES = 100
"""How many devices' own models are evaluated at most, drawn at random from those with messages."""
TUNING_DEVICES = 25
"""How many of the evaluated devices, the first, choose the setting of all by their mean AUROC."""


@dataclass(frozen=True)
class Candidate:
    """A setting of a grid that was tried.

    Attributes:
        rate: its learning rate.
        length: its epochs, or the place of its schedule.
        auroc: on the calibration users; NaN where training diverged.
    """

    rate: float
    length: int
    auroc: float


class NothingTrained(RuntimeError):
    """Every setting of a grid diverged."""


def best(candidates: Sequence[Candidate]) -> Candidate:
    """Choose the candidate with the largest AUROC; of equals the first.

    Raises:
        NothingTrained: when none has a figure.
    """
    trained = [candidate for candidate in candidates if not np.isnan(candidate.auroc)]
    if not trained:
        raise NothingTrained("every setting of the grid diverged; scale the model's inputs or its start weights down")
    return max(trained, key=lambda candidate: candidate.auroc)


def at_edge(chosen: Candidate, rates: Sequence[float], longest: int) -> bool:
    """Tell whether a better setting may lie beyond the grid.

    Args:
        chosen: the best of the grid.
        rates: the grid's rates, ascending; the outermost are edges.
        longest: the grid's longest training, which is an edge too.
    """
    return chosen.rate in (rates[0], rates[-1]) or chosen.length == longest


def in_words(chosen: Candidate) -> str:
    """Describe a setting of plain SGD."""
    return f"SGD, rate {chosen.rate:g}, {chosen.length} epoch{'s' if chosen.length > 1 else ''} of batches of {BATCH}"
