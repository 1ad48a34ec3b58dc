"""Time in a simulation: devices come to hold messages as rounds pass, and the future after the last round tests models.

Rounds pass evenly over the messages, not over the calendar: so long as a message is new to every device, it does not
matter whether it was written in a busy week.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FUTURE = 0.2
"""The newest fraction of all messages: nobody trains or calibrates with them, and nobody is tested with others."""


def is_future(times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which messages are newer than what is trained on: bool[n]."""
    return times > np.quantile(times, 1 - FUTURE)


def arrivals(times: NDArray[np.float64], rounds: int, history: float) -> NDArray[np.int64]:
    """Return the round from which each message is there: int64[n], from 0 to `rounds`.

    Messages of the same time arrive together.

    Args:
        times: float64[n], when each was written.
        rounds: over how many rounds messages come.
        history: the fraction, the oldest, that is there from the start, with round 0.
    """
    age = np.searchsorted(np.sort(times), times, side="left") / times.size
    rising = (age - history) / (1 - history) if history < 1 else np.full(times.size, -1.0)
    return np.where(rising < 0, 0, 1 + np.floor(rising * rounds)).astype(np.int64)
