"""What kernels have in common: the steps of a device, its work space, and what becomes of an update.

An update is kept as the rows it touched, `table[:count]` of `rows[:count]`, and a dense `rest` behind the table.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import Examples
from privacy.task.task import LocalSgd, TaskSpec, Training
from simulations.training.training_randomness import TrainingRandomness

F = TypeVar("F", bound=Callable[..., object])

OPACUS_EPSILON = 1e-6
"""What Opacus adds to a gradient's norm before it divides the clip by it."""


def compiled(function: F) -> F:
    """Compile `function` when it is first called, and keep the code on disk.

    Sums may be taken in another order and products fused; NaN and infinity stay what they are.
    """
    return cast(
        F, numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")(function)
    )


Floats = NDArray[np.float32]
Whole = NDArray[np.int64]


class Steps(NamedTuple):
    """The steps of one device's training.

    Attributes:
        chosen: int64; step i takes the examples starts[i] to starts[i + 1] of it.
        starts: int64[steps + 1].
        rate: learning rate over the normaliser; yet to be divided by the number of examples of the step where `mean`.
        mean: whether a step goes along the mean of its gradients.
        clip: L2 bound of one example's gradient; 0 for none.
        noise: float32[steps, d] to be added to each step's sum, or float32[0, 0].
    """

    chosen: Whole
    starts: Whole
    rate: float
    mean: bool
    clip: float
    noise: Floats

    @classmethod
    def of(cls, training: Training, randomness: TrainingRandomness, shapes: list[tuple[int, ...]]) -> Steps:
        """Lay out the steps that follow from a training's randomness.

        Args:
            training: how the device trains.
            randomness: what it drew.
            shapes: the parameters' shapes, in order.
        """
        noise = randomness.dense_noise(training, shapes)
        if isinstance(training, LocalSgd):
            return cls(randomness.chosen, randomness.starts, training.learning_rate, True, 0.0, noise)
        rate = training.learning_rate / training.expected_batch
        return cls(randomness.chosen, randomness.starts, rate, False, training.message_clip, noise)


class Space(NamedTuple):
    """Work space for one device after the other.

    Attributes:
        slots: int64[height], where in `table` a row of the whole table is; -1 for not touched.
        rows: int64[height], the touched rows, as many as `train` says.
        table: float32[height, width], the values of `rows`.
        rest: float32, the other parameters.
    """

    slots: Whole
    rows: Whole
    table: Floats
    rest: Floats

    @classmethod
    def of(cls, height: int, width: int, rest: int) -> Space:
        """Make room for a table of float32[height, width] and for `rest` other parameters.

        Args:
            height: rows of the table.
            width: columns of the table.
            rest: how many parameters are not in it.
        """
        table, others = np.empty((height, width), np.float32), np.empty(rest, np.float32)
        return cls(np.full(height, -1), np.empty(height, np.int64), table, others)


class Kernel(ABC):
    """A compiled training of one architecture, whose first parameter is the table."""

    def __init__(self, task: TaskSpec) -> None:
        self._shapes = [parameter.shape for parameter in task.model.parameters]
        self._training = task.training
        self._dimension = task.model.dimension
        height, width = self._table(self._shapes[0])
        self._space = Space.of(height, width, self._dimension - height * width)
        self._count = 0

    def train(self, weights: Floats, examples: Examples, randomness: TrainingRandomness) -> None:
        """Train one device, and leave its parameters in the work space.

        Args:
            weights: float32[d], the model to start from.
            examples: the device's examples.
            randomness: what its training draws.
        """
        self._count = self._train(weights, examples, Steps.of(self._training, randomness, self._shapes))

    def delta(self, weights: Floats) -> Floats:
        """Return what the last training changed of `weights`: float32[d]."""
        whole = np.zeros(self._dimension, np.float32)
        _spread(weights, self._count, self._space, whole)
        return whole

    def norm(self, weights: Floats) -> float:
        """Return the L2 norm of what the last training changed of `weights`; not finite when it failed."""
        return math.sqrt(_squared(weights, self._count, self._space))

    def add(self, weights: Floats, scale: float, sums: Whole) -> None:
        """Add what the last training changed, times `scale` and rounded, to a sum.

        Args:
            weights: float32[d], the model that it started from.
            scale: what the change is multiplied with.
            sums: int64[d], added to in place.
        """
        _add(weights, self._count, self._space, scale, sums)

    @abstractmethod
    def statistics(self, weights: Floats, examples: Examples) -> dict[str, float]:
        """Return the statistics of the model float32[d] on one device's messages, as `logit_statistics`."""

    def _table(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the rows and columns of the table that a parameter of this shape is."""
        return shape[0], shape[1]

    @abstractmethod
    def _train(self, weights: Floats, examples: Examples, steps: Steps) -> int:
        """Fill the space, and return how many rows were touched."""


def logit_statistics(logits: NDArray[np.float64], labels: Floats) -> dict[str, float]:
    """Return the statistics of logits, float64[n]: see `fl_client.training.STATISTICS`."""
    loss = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    correct = np.count_nonzero((logits > 0) == (labels > 0.5))
    return {"examples": float(labels.size), "loss": float(loss.sum()), "correct": float(correct)}


@compiled
def gather(weights: Floats, numbers: NDArray[np.int32], all_rows: bool, space: Space) -> int:
    """Give every row in `numbers`, or all rows, a slot and its values from the start of `weights`.

    Args:
        weights: float32[d].
        numbers: the rows that a device touches, with repetitions.
        all_rows: whether all rows are wanted instead.
        space: where they go.

    Returns:
        How many rows have a slot.
    """
    slots, rows, table, rest = space
    rest[:] = weights[weights.size - rest.size :]
    if all_rows:
        for row in range(slots.size):
            slots[row] = rows[row] = row
        table[:] = weights[: table.size].reshape(table.shape)
        return slots.size
    width = table.shape[1]
    count = 0
    for number in numbers:
        if slots[number] < 0:
            slots[number] = count
            rows[count] = number
            for column in range(width):
                table[count, column] = weights[number * width + column]
            count += 1
    return count


@compiled
def release(count: int, space: Space) -> None:
    """Forget the slots of the `count` touched rows."""
    for place in range(count):
        space.slots[space.rows[place]] = -1


@compiled
def add_noise(noise: Floats, rate: np.float32, space: Space) -> None:
    """Step along the noise of one step.

    Args:
        noise: float32[d].
        rate: what it is multiplied with.
        space: where the parameters are; the table must hold all rows.
    """
    flat, rest = space.table.reshape(space.table.size), space.rest
    for place in range(flat.size):
        flat[place] -= rate * noise[place]
    for place in range(rest.size):
        rest[place] -= rate * noise[flat.size + place]


@compiled
def residual(logit: float, label: float) -> float:
    """Return the gradient of the binary cross-entropy with respect to the logit, for a label in {0, 1}."""
    return 1.0 / (1.0 + math.exp(-logit)) - label


@compiled
def _spread(weights: Floats, count: int, space: Space, whole: Floats) -> None:
    _, rows, table, rest = space
    width = table.shape[1]
    for place in range(count):
        first = rows[place] * width
        for column in range(width):
            whole[first + column] = table[place, column] - weights[first + column]
    behind = weights.size - rest.size
    for place in range(rest.size):
        whole[behind + place] = rest[place] - weights[behind + place]


@compiled
def _squared(weights: Floats, count: int, space: Space) -> float:
    _, rows, table, rest = space
    width = table.shape[1]
    total = 0.0
    for place in range(count):
        first = rows[place] * width
        for column in range(width):
            change = np.float64(table[place, column] - weights[first + column])
            total += change * change
    behind = weights.size - rest.size
    for place in range(rest.size):
        change = np.float64(rest[place] - weights[behind + place])
        total += change * change
    return total


@compiled
def _add(weights: Floats, count: int, space: Space, scale: float, sums: Whole) -> None:
    _, rows, table, rest = space
    width = table.shape[1]
    for place in range(count):
        first = rows[place] * width
        for column in range(width):
            change = np.float64(table[place, column] - weights[first + column])
            sums[first + column] += np.int64(np.rint(scale * change))
    behind = weights.size - rest.size
    for place in range(rest.size):
        sums[behind + place] += np.int64(np.rint(scale * np.float64(rest[place] - weights[behind + place])))
