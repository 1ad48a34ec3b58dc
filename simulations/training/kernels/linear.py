"""Logistic regression on sparse rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import Examples
from privacy.features.rows import Features
from privacy.task.task import FeatureSpec, TaskSpec
from simulations.training.kernels.base import (
    OPACUS_EPSILON,
    Floats,
    Kernel,
    Space,
    Steps,
    Whole,
    add_noise,
    compiled,
    gather,
    logit_statistics,
    release,
    residual,
)


class HashedLinearKernel(Kernel):
    """The kernel of `hashed-linear`.

    The gradient of example i is r_i (x_i, b) with b the bias input, of norm |r_i| sqrt(|x_i|^2 + b^2): clipping it is
    exact.
    """

    def __init__(self, task: TaskSpec) -> None:
        super().__init__(task)
        if not isinstance(task.features, FeatureSpec):
            raise TypeError("features: expected hashed n-grams, got sequences")
        self._bias_input = float(np.float32(task.features.bias_input))

    def statistics(self, weights: Floats, examples: Examples) -> dict[str, float]:
        """See `Kernel.statistics`."""
        rows = _rows(examples)
        ends = np.concatenate([[0.0], np.cumsum(weights[rows.columns] * rows.values.astype(np.float64))])
        return logit_statistics(np.diff(ends[rows.starts]) + self._bias_input * weights[-1], examples.labels)

    def _table(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return shape[1], 1

    def _train(self, weights: Floats, examples: Examples, steps: Steps) -> int:
        rows = _rows(examples)
        inputs = _Inputs(rows.starts, rows.columns, rows.values, self._bias_input, examples.labels)
        return _train(weights, inputs, steps, self._space)


class _Inputs(NamedTuple):
    """Sparse rows, packed, the constant beside each of them, and their labels float32[n]."""

    starts: Whole
    columns: NDArray[np.int32]
    values: Floats
    bias_input: float
    labels: Floats


def _rows(examples: Examples) -> Features:
    if not isinstance(examples.features, Features):
        raise TypeError("examples: expected hashed n-grams, got sequences")
    return examples.features


@compiled
def _train(weights: Floats, inputs: _Inputs, steps: Steps, space: Space) -> int:
    count = gather(weights, inputs.columns, steps.noise.size > 0, space)
    moves = np.empty(inputs.labels.size)
    for step in range(steps.starts.size - 1):
        batch = steps.chosen[steps.starts[step] : steps.starts[step + 1]]
        for place in range(batch.size):
            moves[place] = _move(inputs, batch[place], steps.clip, space)
        rate = steps.rate / max(1, batch.size) if steps.mean else steps.rate
        for place in range(batch.size):
            move = np.float32(rate * moves[place])
            for entry in range(inputs.starts[batch[place]], inputs.starts[batch[place] + 1]):
                space.table[space.slots[inputs.columns[entry]], 0] -= move * inputs.values[entry]
            space.rest[0] -= move * np.float32(inputs.bias_input)
        if steps.noise.size:
            add_noise(steps.noise[step], np.float32(rate), space)
    release(count, space)
    return count


@compiled
def _move(inputs: _Inputs, example: int, clip: float, space: Space) -> float:
    """Return the residual of an example, or what the clip leaves of it."""
    logit, squared = inputs.bias_input * space.rest[0], inputs.bias_input**2
    for entry in range(inputs.starts[example], inputs.starts[example + 1]):
        value = np.float64(inputs.values[entry])
        logit += value * space.table[space.slots[inputs.columns[entry]], 0]
        squared += value * value
    move = residual(logit, inputs.labels[example])
    return move * min(1.0, clip / (abs(move) * math.sqrt(squared) + OPACUS_EPSILON)) if clip > 0 else move
