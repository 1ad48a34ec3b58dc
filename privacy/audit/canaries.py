"""Updates of adversarial devices, and what each of them may contribute, computed apart from the mechanism."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from privacy.audit.pipeline import Audited, round_rotation
from privacy.mechanism.rotation import rotate, unrotate
from privacy.task.states import Update

Floats = NDArray[np.float64]

_FAR = 1000
"""The length of an update that must be clipped, in clips, and of a statistic that must be cut, in its bounds."""


EVERY_PLACE = "every place"
"""The canary that is as long in each coordinate of the model as in any other, with signs of its own."""


def at_the_clip(audited: Audited) -> Update:
    """Return the largest contribution: an update as long as the clip, in one coordinate, statistics at their bounds."""
    return audited.update(_in_one_place(audited, 0), 1.0)


def distinguishable_updates(audited: Audited) -> dict[str, Update]:
    """Return canaries by name: as long as the clip, a thousand times as long, and as long as the clip in each layer."""
    layers = audited.task.model.parameters
    spread = np.zeros(audited.task.model.dimension, np.float32)
    spread[np.cumsum([0, *(layer.size for layer in layers[:-1])])] = audited.task.mechanism.clip
    return {
        "clip": at_the_clip(audited),
        "far beyond the clip": audited.update(_in_one_place(audited, 0) * _FAR, 1.0),
        "clip in every layer": audited.update(spread, 1.0),
    }


def adversarial_updates(audited: Audited) -> dict[str, Update]:
    """Return canaries by name: those of `distinguishable_updates`, and others whose contribution is as long."""
    even = np.full(audited.task.model.dimension, _length(audited) / math.sqrt(audited.task.model.dimension), np.float32)
    dense = np.random.default_rng(0).choice([-1, 1], even.size).astype(np.float32) * even
    last = _in_one_place(audited, audited.task.model.dimension - 1)
    return {
        **distinguishable_updates(audited),
        "last place": audited.update(-last, 1.0),
        "every place alike": audited.update(even, 1.0),
        EVERY_PLACE: audited.update(dense, 1.0),
        "statistics far beyond their bounds": audited.update(dense * _FAR, _FAR),
        "statistics below zero": audited.update(dense, -_FAR),
        **({"statistics alone": audited.update(np.zeros_like(dense), 1.0)} if audited.task.statistics else {}),
    }


def hardest_to_round(audited: Audited, number: int) -> Update:
    """Return an update as long as the clip that has a round's coordinates half-way between integers, or nearly.

    No other has a longer expected rounding, so without a bound on the rounded norm it exceeds any that is less.
    """
    scale, dimension = audited.mechanism.scale, audited.task.model.dimension
    whole = contribution(audited, adversarial_updates(audited)[EVERY_PLACE])
    halves = np.floor(rotate(whole, round_rotation(number)) * scale) + 0.5
    excess = float(halves @ halves) - float(whole @ whole) * scale**2
    towards = -1.0 if excess > 0 else 1.0
    order = np.argsort(np.abs(halves))
    order = order[np.abs(halves[order]) >= 1]  # a half cannot come nearer to zero
    steps = np.cumsum(2 * np.abs(halves[order]) + towards)
    # Cut back to the clip, which would move all of them, or lengthened up to it.
    moved = order[: int(np.searchsorted(steps, abs(excess), side="right")) + (excess > 0)]
    halves[moved] += towards * np.sign(halves[moved])
    delta = unrotate(halves, round_rotation(number))[:dimension] / scale
    return audited.update(delta.astype(np.float32), 1.0)


def contribution(audited: Audited, update: Update) -> Floats:
    """Return what a device may contribute with an update: float64[length], before rotation and rounding.

    The update cut to the clip, each statistic cut to 0 to its bound and scaled to its fraction of the clip, and the
    bit of a clip that adapts.
    """
    clip, adaptive = audited.task.mechanism.clip, audited.task.mechanism.adaptive
    exact = update.delta.astype(np.float64)
    norm = float(np.linalg.norm(exact))
    statistics = [
        statistic.sensitivity_fraction * float(np.clip(update.statistics[statistic.name] / statistic.bound, 0, 1))
        for statistic in audited.task.statistics
    ]
    bit = [] if adaptive is None else [math.copysign(adaptive.sensitivity_fraction, clip - norm)]
    return np.concatenate([exact * (min(1.0, clip / norm) if norm else 1.0), clip * np.array([*statistics, *bit])])


def direction(audited: Audited, update: Update) -> Floats:
    """Return the direction of what a device contributes with an update that is not zero: float64[length] of norm 1."""
    whole = contribution(audited, update)
    along: Floats = whole / np.linalg.norm(whole)
    return along


def orthogonal_updates(audited: Audited, count: int) -> list[Update]:
    """Return `count` updates, each as long as the clip in a coordinate of its own; they are views of one array.

    Raises:
        ValueError: when the model has fewer coordinates.
    """
    dimension = audited.task.model.dimension
    if dimension < count:
        raise ValueError(f"cohort: expected at most {dimension} canaries, one a coordinate of the model, got {count}")
    line = np.zeros(2 * dimension - 1, np.float32)
    line[dimension - 1] = audited.task.mechanism.clip
    return [audited.update(line[dimension - 1 - place : 2 * dimension - 1 - place]) for place in range(count)]


def _length(audited: Audited) -> float:
    """Return a length that single precision rounds to no more than the clip."""
    return audited.task.mechanism.clip * (1 - 1e-6)


def _in_one_place(audited: Audited, place: int) -> NDArray[np.float32]:
    delta = np.zeros(audited.task.model.dimension, np.float32)
    delta[place] = audited.task.mechanism.clip
    return delta
