"""Training on one heap of messages, by the engine that trains a federation's devices: a heap is one large device."""

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
"""Numbers drawn ahead at a time, coins of a step or coordinates of its noise."""


def has_kernel(task: TaskSpec) -> bool:
    """Whether sparse rows are trained on as they are; else all are made dense, by the client's own trainer."""
    return task.model.architecture in KERNELS


def course(task: TaskSpec, start: Weights, examples: Examples, rate: float, seed: SeedTree) -> Iterator[Weights]:
    """Plain SGD from `start`: the model after each of `EPOCHS`; ends early when training diverges."""
    weights = start
    for before, after in pairwise((0, *EPOCHS)):
        training = LocalSgd(epochs=after - before, batch_size=BATCH, learning_rate=rate)
        try:
            weights = _trained(task, training, weights, examples, seed.child("to", after))
        except TrainingError:
            return
        yield weights


def dp_sgd(task: TaskSpec, start: Weights, examples: Examples, training: LocalTraining, seed: SeedTree) -> Weights:
    """DP-SGD from `start`, as a device does it (see `fl_client.training`).

    Steps have no memory but the model, so a long training is several short ones with randomness of their own; the
    guarantee is `message_level_epsilon` of all its steps.

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
