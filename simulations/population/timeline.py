"""Time in a simulation: devices come to hold messages as rounds pass, and are judged by what came after the last.

Rounds pass evenly over the messages, not over the calendar: so long as a message is new to every device, it does not
matter whether it was written in a busy week.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FUTURE = 0.2
"""The newest share of all messages: nobody trains or calibrates with them, and nobody is tested with others."""


def is_future(times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool[n]: which messages are newer than what is trained on."""
    return times > np.quantile(times, 1 - FUTURE)


def arrivals(times: NDArray[np.float64], rounds: int, history: float) -> NDArray[np.int64]:
    """int64[n]: the round from which each message is there; 0 for the oldest, a share of `history`.

    Messages of the same time arrive together.
    """
    age = np.searchsorted(np.sort(times), times, side="left") / times.size
    rising = (age - history) / (1 - history) if history < 1 else np.full(times.size, -1.0)
    return np.where(rising < 0, 0, 1 + np.floor(rising * rounds)).astype(np.int64)
