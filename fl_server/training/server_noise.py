"""Correlated noise that the server adds to each round's sum, from a memory that the checkpoints keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from privacy.base.randomness import Randomness, require_origin
from privacy.mechanism.correlated_noise import NoiseStream, secure_normals
from privacy.task.task import TaskSpec

Vector = NDArray[np.float64]


def noise_of_round(
    task: TaskSpec, number: int, memory: Vector | None, randomness_for: Callable[[int], Randomness]
) -> tuple[Vector | None, Vector | None]:
    """Compute a round's correlated noise, where the task has the server add it.

    A round that is run again after a crash gets fresh noise: what was computed before it never left the server.

    Args:
        task: says whether noise is correlated, and how.
        number: of the round.
        memory: after round `number - 1`; None before the first.
        randomness_for: a round's number to the randomness of its noise.

    Returns:
        The noise before scaling, float64[length], and the memory after it; None and None without a correlation.

    Raises:
        ValueError: when the memory is not that of the round before.
        RandomnessError: when the source is not the one that the task promises.
    """
    correlation = task.mechanism.correlation
    if correlation is None:
        return None, None
    if memory is None:
        stream = NoiseStream(correlation, task.length)
    else:
        stream = NoiseStream.restored(correlation, number - 1, memory)
    rng = randomness_for(number)
    require_origin(task.randomness, rng)
    noise = stream.next(secure_normals(rng, task.length))
    return noise, stream.memory()
