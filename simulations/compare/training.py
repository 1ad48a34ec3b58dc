"""Training on pooled messages, by the engine that trains a federation's devices: a pool is one large device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import Examples, TrainingError
from privacy.task.task import LocalSgd, LocalTraining, TaskSpec, Training
from simulations.compare.grids import BATCH, EPOCHS
from simulations.randomness import SeedTree
from simulations.training.engines.base import Participant
from simulations.training.engines.kernel import KernelEngine
from simulations.training.engines.sequential import SequentialEngine
from simulations.training.kernels import KERNELS

Weights = NDArray[np.float32]

_DRAWN = 1 << 24
"""How many numbers are drawn ahead at a time: coins of a step, or coordinates of its noise."""


def has_kernel(task: TaskSpec) -> bool:
    """Tell whether a kernel trains on sparse rows as they are; else the client's own trainer makes all dense."""
    return task.model.architecture in KERNELS


def course(task: TaskSpec, start: Weights, examples: Examples, rate: float, seed: SeedTree) -> Iterator[Weights]:
    """Train by plain SGD, and yield the model, float32[d], after each of `EPOCHS`; ends early when training diverges.

    Args:
        task: the model's architecture and inputs; its training is left aside.
        start: float32[d], where training starts.
        examples: all of them.
        rate: the learning rate.
        seed: what order and batches follow from.
    """
    weights = start
    for before, after in pairwise((0, *EPOCHS)):
        training = LocalSgd(epochs=after - before, batch_size=BATCH, learning_rate=rate)
        try:
            weights = _trained(task, training, weights, examples, seed.child("to", after))
        except TrainingError:
            return
        yield weights


def dp_sgd(task: TaskSpec, start: Weights, examples: Examples, training: LocalTraining, seed: SeedTree) -> Weights:
    """Train by DP-SGD, as a device does it (see `fl_client.training`).

    Steps have no memory but the model, so a long training is several short ones with randomness of their own; the
    guarantee is `message_level_epsilon` of all its steps.

    Args:
        task: the model's architecture and inputs; its training is left aside.
        start: float32[d], where training starts.
        examples: all of them.
        training: steps, rate, clip and noise.
        seed: what batches and noise follow from.

    Returns:
        The model after the last step, float32[d].

    Raises:
        TrainingError: when training diverges.
    """
    weights = start
    most = max(1, _DRAWN // max(task.model.dimension, len(examples)))
    for number in range(math.ceil(training.steps / most)):
        steps = min(most, training.steps - number * most)
        part = training.model_copy(update={"steps": steps})
        weights = _trained(task, part, weights, examples, seed.child("part", number))
    return weights


def _trained(task: TaskSpec, training: Training, weights: Weights, examples: Examples, seed: SeedTree) -> Weights:
    own = task.model_copy(update={"training": training, "statistics": ()})
    engine = KernelEngine(own) if has_kernel(task) else SequentialEngine(own)
    result = next(engine.learn(weights, [Participant(0, examples, seed.stream())]))
    if isinstance(result, TrainingError):
        raise result
    return weights + result.delta
