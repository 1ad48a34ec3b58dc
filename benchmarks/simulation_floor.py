"""What tasks T, S and C must cost: their arithmetic at the speed of this core's sgemm, or their memory at that of its
memcpy, whichever takes longer (the roofline of Williams, Waterman and Patterson 2009).

Counted for each device, in float32: the products of its layers forwards and backwards, the sums of its words' vectors,
and the steps of its dense layers; its inputs and the weights that it touches read once, and their places in the sum of
updates read and written. Of a round: the sum read and written once for its noise. Not counted, though ours does them:
draws, clipping, decoding. The character CNN has two floors: as a dense convolution, which is what its module computes,
and by a table of its characters under all filters, which is what our kernel does, and takes less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from measure import Row, cpu
from simulation_rounds import Ours, pair
from simulation_tasks import COHORT, SGD, devices_of, task_of

from fl_client.training.models import CharacterCnn, WordEmbedding
from fl_client.training.training import Examples
from privacy.features.rows import Features, Sequences
from simulations.training.engines.kernel import KernelEngine

_TRIES = 3
_SIDE = 1_024
"""Rows and columns of the matrices that are multiplied."""
_COPIED = 1 << 26
"""Bytes: more than any cache holds."""
_FLOAT, _MULTIPLY_ADD = 4, 2
"""Bytes, and operations."""
_FORTH_AND_BACK = 3
"""Products of a layer: with its inputs, and the gradients with respect to inputs and weights."""


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and bytes read and written."""

    flops: float
    moved: float


@dataclass(frozen=True)
class Core:
    """Operations, and bytes read and written, a second."""

    flops: float
    moved: float

    @classmethod
    def measured(cls) -> Core:
        """Measure this core: the best of several tries."""
        matrix, source = torch.randn(_SIDE, _SIDE), np.ones(_COPIED, np.uint8)
        target = np.empty_like(source)
        product = min(cpu(lambda: matrix @ matrix)[0] for _ in range(_TRIES))
        copy = min(cpu(lambda: np.copyto(target, source))[0] for _ in range(_TRIES))
        return cls(_MULTIPLY_ADD * _SIDE**3 / product, 2 * _COPIED / copy)

    def seconds(self, work: Sequence[Work]) -> float:
        """Return the fewest seconds for all of the work."""
        return max(sum(part.flops for part in work) / self.flops, sum(part.moved for part in work) / self.moved)


def word_embedding(examples: Examples) -> Work:
    """Count the work of a device in T."""
    texts, width, hidden = _sequences(examples), WordEmbedding.WIDTH, WordEmbedding.HIDDEN
    dense = hidden * width + hidden
    products = len(examples) * _FORTH_AND_BACK * _MULTIPLY_ADD * dense
    vectors = 2 * texts.numbers.size * width  # added up, and the gradient taken off
    touched = np.unique(texts.numbers).size * width + dense + hidden + 1
    steps = _steps(examples) * _MULTIPLY_ADD * dense
    return Work(products + vectors + steps, _moved(texts.numbers.nbytes, examples, touched))


def hashed_linear(examples: Examples) -> Work:
    """Count the work of a device in S."""
    rows = examples.features
    if not isinstance(rows, Features):
        raise TypeError("examples: expected hashed n-grams, got sequences")
    touched = np.unique(rows.columns).size + 1
    read = rows.columns.nbytes + rows.values.nbytes
    return Work(2 * _MULTIPLY_ADD * rows.values.size, _moved(read, examples, touched))


def dense_convolution(examples: Examples) -> Work:
    """Count the work of a device in C: every window under every filter, gradients at the strongest windows alone."""
    filters = CharacterCnn.CHANNELS * CharacterCnn.WIDTH * CharacterCnn.KERNEL
    return _convolution(examples, len(examples) * _windows(examples) * _MULTIPLY_ADD * filters)


def tabled_convolution(examples: Examples) -> Work:
    """Count the work of a device in C with the products of characters and filters made once a step, added up later."""
    channels, reach = CharacterCnn.CHANNELS, CharacterCnn.KERNEL
    characters = np.unique(_sequences(examples).numbers).size
    table = _steps(examples) * characters * _MULTIPLY_ADD * channels * CharacterCnn.WIDTH * reach
    sums = len(examples) * _windows(examples) * channels * reach  # reach - 1 additions and a comparison
    return _convolution(examples, table + sums)


def _convolution(examples: Examples, forwards: float) -> Work:
    texts, channels, width = _sequences(examples), CharacterCnn.CHANNELS, CharacterCnn.WIDTH
    filters = channels * width * CharacterCnn.KERNEL
    backwards = len(examples) * 2 * _MULTIPLY_ADD * filters
    steps = _steps(examples) * _MULTIPLY_ADD * filters
    touched = np.unique(texts.numbers).size * width + filters + 2 * channels + 1
    return Work(forwards + backwards + steps, _moved(texts.numbers.nbytes, examples, touched))


def _moved(inputs: int, examples: Examples, touched: int) -> float:
    """Bytes: a touched weight is read, and its place in the sum read and written."""
    return inputs + examples.labels.nbytes + 3 * _FLOAT * touched


def _steps(examples: Examples) -> int:
    return -(-len(examples) // SGD.batch_size)


def _windows(examples: Examples) -> int:
    return _sequences(examples).length - CharacterCnn.KERNEL + 1


def _sequences(examples: Examples) -> Sequences:
    if not isinstance(examples.features, Sequences):
        raise TypeError("examples: expected sequences, got hashed n-grams")
    return examples.features


_FLOORS = (
    ("T", word_embedding, "its floor"),
    ("S", hashed_linear, "its floor"),
    ("C", dense_convolution, "its floor as a dense convolution"),
    ("C", tabled_convolution, "its floor by a table of products"),
)


def rows(runs: int, cohort: int = COHORT) -> list[Row]:
    """Measure whole central rounds, and the core anew beside each."""
    return [_row(*floor, runs, cohort) for floor in _FLOORS]


def _row(name: str, work_of: Callable[[Examples], Work], against: str, runs: int, cohort: int) -> Row:
    task, devices = task_of(name, SGD, cohort), devices_of(name, 20, 60, cohort)
    ours, noise = Ours(task, KernelEngine(task), devices), Work(task.length, 2 * _FLOAT * task.length)
    work = [noise, *map(work_of, devices)]

    def floor() -> float:
        return Core.measured().seconds(work)

    return pair(f"{name}, kernel", ours.ten_rounds, floor, against, runs=runs, cohort=cohort, times_less=False)
