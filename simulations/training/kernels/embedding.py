"""The mean of word vectors and one hidden layer, on the rows of the table that a device touches."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_client.training.models import WordEmbedding
from fl_client.training.training import Examples
from privacy.features.rows import Sequences
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

_WIDTH, _HIDDEN = WordEmbedding.WIDTH, WordEmbedding.HIDDEN
_BIAS = _HIDDEN * _WIDTH
_OUTPUT = _BIAS + _HIDDEN


class WordEmbeddingKernel(Kernel):
    """The kernel of `word-embedding`.

    A message's gradients with respect to its words are all one vector, so their norm follows from how often each word
    stands in it: clipping needs no table for each example.
    """

    def statistics(self, weights: Floats, examples: Examples) -> dict[str, float]:
        """See `Kernel.statistics`."""
        texts, rest = _texts(examples), weights[self._space.table.size :]
        table = weights[: self._space.table.size].reshape(-1, _WIDTH)
        ends = np.cumsum(np.vstack([np.zeros(_WIDTH), table[texts.words]]), axis=0)
        means = np.diff(ends[texts.starts], axis=0) / np.maximum(np.diff(texts.starts), 1)[:, None]
        hidden = np.maximum(means @ rest[:_BIAS].reshape(_HIDDEN, _WIDTH).T + rest[_BIAS:_OUTPUT], 0)
        return logit_statistics(hidden @ rest[_OUTPUT:-1].astype(np.float64) + rest[-1], examples.labels)

    def _train(self, weights: Floats, examples: Examples, steps: Steps) -> int:
        return _train(weights, _texts(examples), steps, self._space)


class _Texts(NamedTuple):
    """Word numbers of all messages, packed, and their labels float32[n]."""

    starts: Whole
    words: NDArray[np.int32]
    labels: Floats


class _Layers(NamedTuple):
    """What the layers of a batch of m examples hold.

    Attributes:
        means: float32[m, width], means of words' vectors.
        vectors: float32[m, width], gradients with respect to `means`.
        active: float32[m, hidden], activations.
        hidden: float32[m, hidden], gradients with respect to them before the rectifier.
        moves: float32[m], residuals.
    """

    means: Floats
    vectors: Floats
    active: Floats
    hidden: Floats
    moves: Floats


def _texts(examples: Examples) -> _Texts:
    if not isinstance(examples.features, Sequences):
        raise TypeError("examples: expected sequences of words, got hashed n-grams")
    return _Texts(examples.features.starts, examples.features.numbers, examples.labels)


@compiled
def _train(weights: Floats, texts: _Texts, steps: Steps, space: Space) -> int:
    count = gather(weights, texts.words, steps.noise.size > 0, space)
    for step in range(steps.starts.size - 1):
        batch = steps.chosen[steps.starts[step] : steps.starts[step + 1]]
        rate = np.float32(steps.rate / max(1, batch.size) if steps.mean else steps.rate)
        if batch.size:
            layers = _forward_and_back(texts, batch, space)
            if steps.clip > 0:
                _clip(steps.clip, texts, batch, layers)
            _descend(rate, layers, space.rest)
            _scatter(rate, texts, batch, layers.vectors, space)
        if steps.noise.size:
            add_noise(steps.noise[step], rate, space)
    release(count, space)
    return count


@compiled
def _forward_and_back(texts: _Texts, batch: Whole, space: Space) -> _Layers:
    size, rest = batch.size, space.rest
    weight = rest[:_BIAS].reshape(_HIDDEN, _WIDTH)
    means, vectors = np.zeros((size, _WIDTH), np.float32), np.empty((size, _WIDTH), np.float32)
    active, hidden = np.empty((size, _HIDDEN), np.float32), np.empty((size, _HIDDEN), np.float32)
    moves = np.empty(size, np.float32)
    _average(texts, batch, space, means)
    np.dot(means, weight.T, active)
    for place in range(size):
        moves[place] = _to_hidden(texts.labels[batch[place]], rest, active[place], hidden[place])
    np.dot(hidden, weight, vectors)
    return _Layers(means, vectors, active, hidden, moves)


@compiled
def _average(texts: _Texts, batch: Whole, space: Space, means: Floats) -> None:
    for place in range(batch.size):
        mean = means[place]
        first, last = texts.starts[batch[place]], texts.starts[batch[place] + 1]
        for entry in range(first, last):
            row = space.table[space.slots[texts.words[entry]]]
            for column in range(_WIDTH):
                mean[column] += row[column]
        factor = np.float32(1.0 / max(1, last - first))
        for column in range(_WIDTH):
            mean[column] *= factor


@compiled
def _to_hidden(label: float, rest: Floats, active: Floats, hidden: Floats) -> np.float32:
    """Turn products into activations, find the hidden layer's gradients, and return the residual."""
    logit = rest[rest.size - 1]
    for unit in range(_HIDDEN):
        active[unit] = max(active[unit] + rest[_BIAS + unit], np.float32(0))
        logit += active[unit] * rest[_OUTPUT + unit]
    move = np.float32(residual(logit, label))
    for unit in range(_HIDDEN):
        hidden[unit] = move * rest[_OUTPUT + unit] if active[unit] > 0 else np.float32(0)
    return move


@compiled
def _clip(clip: float, texts: _Texts, batch: Whole, layers: _Layers) -> None:
    """Scale each example's gradient to what the clip leaves of it."""
    for place in range(batch.size):
        words = texts.words[texts.starts[batch[place]] : texts.starts[batch[place] + 1]]
        norm = math.sqrt(_squared(words, place, layers))
        factor = np.float32(min(1.0, clip / (norm + OPACUS_EPSILON)))
        layers.moves[place] *= factor
        layers.hidden[place] *= factor
        layers.vectors[place] *= factor


@compiled
def _squared(words: NDArray[np.int32], place: int, layers: _Layers) -> float:
    """Return the squared norm of one example's gradient over all parameters."""
    hidden, outputs, vector, inputs = 0.0, 1.0, 0.0, 1.0
    for unit in range(_HIDDEN):
        hidden += np.float64(layers.hidden[place, unit]) ** 2
        outputs += np.float64(layers.active[place, unit]) ** 2
    for column in range(_WIDTH):
        vector += np.float64(layers.vectors[place, column]) ** 2
        inputs += np.float64(layers.means[place, column]) ** 2
    repeats = 0
    for word in words:
        for other in words:
            repeats += word == other
    size = max(1, words.size)
    return hidden * inputs + np.float64(layers.moves[place]) ** 2 * outputs + vector * repeats / (size * size)


@compiled
def _descend(rate: np.float32, layers: _Layers, rest: Floats) -> None:
    outer = np.dot(layers.hidden.T, layers.means).reshape(_BIAS)
    for place in range(_BIAS):
        rest[place] -= rate * outer[place]
    for place in range(layers.moves.size):
        move = rate * layers.moves[place]
        for unit in range(_HIDDEN):
            rest[_BIAS + unit] -= rate * layers.hidden[place, unit]
            rest[_OUTPUT + unit] -= move * layers.active[place, unit]
        rest[rest.size - 1] -= move


@compiled
def _scatter(rate: np.float32, texts: _Texts, batch: Whole, vectors: Floats, space: Space) -> None:
    for place in range(batch.size):
        first, last = texts.starts[batch[place]], texts.starts[batch[place] + 1]
        step = rate / np.float32(max(1, last - first))
        for entry in range(first, last):
            row = space.table[space.slots[texts.words[entry]]]
            for column in range(_WIDTH):
                row[column] -= step * vectors[place, column]
