"""Who takes part in a round. Drawn by the server; the draw is never published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privacy.base.canonical import sha256
from privacy.base.randomness import Randomness, uniform_unit, uniform_words
from privacy.task.task import Participation, PoissonParticipation

_FIRST_COIN = 1 << 16


def draw_cohort(participation: Participation, devices: Sequence[int], rng: Randomness) -> list[int]:
    """Draw the cohort of one round.

    Poisson: every device by its own coin, so that sizes vary; an empty cohort is a possible outcome. Bounded: a
    uniform set of `cohort` devices, or all when there are fewer; no privacy is claimed for its randomness.

    Args:
        participation: how cohorts are drawn.
        devices: ids of the devices to draw from, distinct.
        rng: source of the coins; amplification rests on its secrecy.

    Returns:
        Ids of the devices drawn, ascending.
    """
    if isinstance(participation, PoissonParticipation):
        return _poisson(devices, participation.sampling_rate, rng)
    return _uniform_subset(devices, participation.cohort, rng)


def eligible_devices(participation: Participation, devices: Sequence[int], number: int) -> Sequence[int]:
    """Return the devices that a round may draw from, so that nobody's rounds are closer than the task's separation.

    Each device has a turn by the hash of its id, once in `min_separation` rounds: nothing needs to be remembered of
    anyone. Devices see to it themselves as well.

    Args:
        participation: how cohorts are drawn.
        devices: ids of all devices.
        number: the round, counted from 1.

    Returns:
        Those whose turn it is, in the order of `devices`.
    """
    if isinstance(participation, PoissonParticipation) or participation.min_separation == 1:
        return devices
    turns = participation.min_separation
    return [device for device in devices if _turn(device) % turns == number % turns]


def _turn(device: int) -> int:
    return int.from_bytes(sha256(b"havenfl/turn/1", device.to_bytes(16, "little", signed=True))[:8], "little")


def _poisson(devices: Sequence[int], rate: float, rng: Randomness) -> list[int]:
    """Draw by coins of 16 bits, and 53 more where those do not decide: a million devices take a millisecond."""
    whole = int(rate * _FIRST_COIN)
    first = uniform_words(rng, len(devices), np.uint16)
    undecided = np.flatnonzero(first == whole)
    # Exact: scaling by a power of two rounds nothing, nor does taking away the whole part.
    late = undecided[uniform_unit(rng, undecided.size) < rate * _FIRST_COIN - whole]
    return sorted(devices[int(place)] for place in np.concatenate([np.flatnonzero(first < whole), late]))


def _uniform_subset(devices: Sequence[int], size: int, rng: Randomness) -> list[int]:
    keys = uniform_words(rng, len(devices), np.uint64)
    order = np.argsort(keys, kind="stable")[:size]
    return sorted(devices[int(place)] for place in order)
