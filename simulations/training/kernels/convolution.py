"""Character CNN: products of characters and filters by table, gradients at each channel's strongest window only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_client.training.models import CharacterCnn
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

_WIDTH, _CHANNELS, _REACH = CharacterCnn.WIDTH, CharacterCnn.CHANNELS, CharacterCnn.KERNEL
_BIAS = _CHANNELS * _WIDTH * _REACH
_OUTPUT = _BIAS + _CHANNELS
_NOWHERE = -1
"""The place of a window that is all padding."""

Text = NDArray[np.int32]


class CharacterCnnKernel(Kernel):
    """The kernel of `character-cnn`.

    A window's value is a sum of five rows of a table of all characters under all filters, made once a step. Windows
    that tie hold the same characters, so it does not matter which of them gets the gradient.
    """

    def statistics(self, weights: Floats, examples: Examples) -> dict[str, float]:
        """See `Kernel.statistics`."""
        return logit_statistics(_logits(weights, _texts(examples), self._space), examples.labels)

    def _train(self, weights: Floats, examples: Examples, steps: Steps) -> int:
        return _train(weights, _texts(examples), steps, self._space)


class _Texts(NamedTuple):
    """Character numbers of all messages, packed, their labels float32[n], and how many windows a padded message has."""

    starts: Whole
    characters: Text
    labels: Floats
    windows: int


class _Filters(NamedTuple):
    """The filters as the two directions read them, and what they make of each character.

    Attributes:
        by_place: float32[reach, width, channels].
        by_channel: float32[channels, reach, width].
        values: float32[reach, characters, channels].
    """

    by_place: Floats
    by_channel: Floats
    values: Floats


class _Scratch(NamedTuple):
    """What one text gives, written over by the next.

    Attributes:
        active: float32[channels], the strongest window's value, then its activation.
        where: int32[channels], where that window begins.
        gradient: float32[channels], with respect to `active`.
        vectors: float32[characters, width], gradients with respect to the characters' vectors.
    """

    active: Floats
    where: NDArray[np.int32]
    gradient: Floats
    vectors: Floats


class _Sums(NamedTuple):
    """A step's gradients: of the filters, of the characters' vectors, and of the biases and the output layer."""

    filters: Floats
    vectors: Floats
    outer: Floats


def _texts(examples: Examples) -> _Texts:
    sequences = examples.features
    if not isinstance(sequences, Sequences):
        raise TypeError("examples: expected sequences of characters, got hashed n-grams")
    return _Texts(sequences.starts, sequences.numbers, examples.labels, sequences.length - _REACH + 1)


@compiled
def _train(weights: Floats, texts: _Texts, steps: Steps, space: Space) -> int:
    count = gather(weights, texts.characters, steps.noise.size > 0, space)
    filters, scratch = _empty_filters(count), _empty_scratch(count)
    outer = np.zeros(2 * _CHANNELS + 1, np.float32)
    sums = _Sums(np.zeros_like(filters.by_channel), np.zeros((count, _WIDTH), np.float32), outer)
    for step in range(steps.starts.size - 1):
        batch = steps.chosen[steps.starts[step] : steps.starts[step + 1]]
        rate = np.float32(steps.rate / max(1, batch.size) if steps.mean else steps.rate)
        _arrange(space, count, filters)
        for example in batch:
            text = texts.characters[texts.starts[example] : texts.starts[example + 1]]
            _strongest(text, texts.windows, space.slots, filters.values, scratch)
            move = _to_channels(texts.labels[example], space.rest, scratch)
            _to_vectors(text, space.slots, scratch, filters.by_channel)
            if steps.clip > 0:
                move = _clip(steps.clip, text, move, scratch, space)
            _add_example(text, move, scratch, space, sums)
        _descend(rate, count, sums, space)
        if steps.noise.size:
            add_noise(steps.noise[step], rate, space)
    release(count, space)
    return count


@compiled
def _logits(weights: Floats, texts: _Texts, space: Space) -> NDArray[np.float64]:
    count = gather(weights, texts.characters, False, space)
    filters, scratch = _empty_filters(count), _empty_scratch(count)
    _arrange(space, count, filters)
    logits = np.empty(texts.starts.size - 1)
    for example in range(logits.size):
        text = texts.characters[texts.starts[example] : texts.starts[example + 1]]
        _strongest(text, texts.windows, space.slots, filters.values, scratch)
        logits[example] = _logit(space.rest, scratch.active)
    release(count, space)
    return logits


@compiled
def _empty_filters(count: int) -> _Filters:
    by_place = np.empty((_REACH, _WIDTH, _CHANNELS), np.float32)
    by_channel = np.empty((_CHANNELS, _REACH, _WIDTH), np.float32)
    return _Filters(by_place, by_channel, np.empty((_REACH, count, _CHANNELS), np.float32))


@compiled
def _empty_scratch(count: int) -> _Scratch:
    active, gradient = np.empty(_CHANNELS, np.float32), np.empty(_CHANNELS, np.float32)
    return _Scratch(active, np.empty(_CHANNELS, np.int32), gradient, np.zeros((count, _WIDTH), np.float32))


@compiled
def _arrange(space: Space, count: int, filters: _Filters) -> None:
    for channel in range(_CHANNELS):
        for column in range(_WIDTH):
            for reach in range(_REACH):
                value = space.rest[(channel * _WIDTH + column) * _REACH + reach]
                filters.by_place[reach, column, channel] = value
                filters.by_channel[channel, reach, column] = value
    for reach in range(_REACH):
        np.dot(space.table[:count], filters.by_place[reach], filters.values[reach])


@compiled
def _strongest(text: Text, windows: int, slots: Whole, values: Floats, scratch: _Scratch) -> None:
    """Find every channel's largest value over all windows, and where it is."""
    best, where = scratch.active, scratch.where
    best[:] = np.float32(0) if text.size < windows else np.float32(-np.inf)
    where[:] = _NOWHERE
    whole = max(0, text.size - _REACH + 1)
    for start in range(min(whole, windows)):
        first, second = values[0, slots[text[start]]], values[1, slots[text[start + 1]]]
        third, fourth = values[2, slots[text[start + 2]]], values[3, slots[text[start + 3]]]
        fifth, place = values[4, slots[text[start + 4]]], np.int32(start)
        for channel in range(_CHANNELS):
            value = first[channel] + second[channel] + third[channel] + fourth[channel] + fifth[channel]
            better = value > best[channel]
            best[channel] = value if better else best[channel]
            where[channel] = place if better else where[channel]
    for start in range(whole, min(text.size, windows)):
        for channel in range(_CHANNELS):
            value = np.float32(0)
            for reach in range(text.size - start):
                value += values[reach, slots[text[start + reach]], channel]
            if value > best[channel]:
                best[channel] = value
                where[channel] = start


@compiled
def _logit(rest: Floats, active: Floats) -> float:
    """Turn values into activations, and return the logit."""
    logit = np.float64(rest[rest.size - 1])
    for channel in range(_CHANNELS):
        active[channel] = max(active[channel] + rest[_BIAS + channel], np.float32(0))
        logit += active[channel] * rest[_OUTPUT + channel]
    return logit


@compiled
def _to_channels(label: float, rest: Floats, scratch: _Scratch) -> np.float32:
    """Turn values into activations, find the channels' gradients, and return the residual."""
    move = np.float32(residual(_logit(rest, scratch.active), label))
    for channel in range(_CHANNELS):
        scratch.gradient[channel] = move * rest[_OUTPUT + channel] if scratch.active[channel] > 0 else np.float32(0)
    return move


@compiled
def _to_vectors(text: Text, slots: Whole, scratch: _Scratch, by_channel: Floats) -> None:
    """Find one example's gradients with respect to its characters' vectors."""
    for channel in range(_CHANNELS):
        start, gradient = scratch.where[channel], scratch.gradient[channel]
        if gradient == 0 or start == _NOWHERE:
            continue
        for reach in range(min(_REACH, text.size - start)):
            vector = scratch.vectors[slots[text[start + reach]]]
            for column in range(_WIDTH):
                vector[column] += gradient * by_channel[channel, reach, column]


@compiled
def _clip(clip: float, text: Text, move: np.float32, scratch: _Scratch, space: Space) -> np.float32:
    """Scale one example's gradients to what the clip leaves of them, and return what it leaves of the residual."""
    factor = np.float32(min(1.0, clip / (math.sqrt(_squared(text, move, scratch, space)) + OPACUS_EPSILON)))
    for place in range(text.size):
        if not _stood_before(text, place):
            scratch.vectors[space.slots[text[place]]] *= factor
    for channel in range(_CHANNELS):
        scratch.gradient[channel] *= factor
    return factor * move


@compiled
def _squared(text: Text, move: np.float32, scratch: _Scratch, space: Space) -> float:
    """Return the squared norm of one example's gradient over all parameters."""
    total = np.float64(move) ** 2
    for channel in range(_CHANNELS):
        window, start = 1.0, scratch.where[channel]
        if start != _NOWHERE:
            for reach in range(min(_REACH, text.size - start)):
                vector = space.table[space.slots[text[start + reach]]]
                for column in range(_WIDTH):
                    window += np.float64(vector[column]) ** 2
        total += np.float64(scratch.gradient[channel]) ** 2 * window
        total += (np.float64(move) * np.float64(scratch.active[channel])) ** 2
    for place in range(text.size):
        if not _stood_before(text, place):
            own = scratch.vectors[space.slots[text[place]]]
            for column in range(_WIDTH):
                total += np.float64(own[column]) ** 2
    return total


@compiled
def _stood_before(text: Text, place: int) -> bool:
    for other in range(place):  # noqa: SIM110 - no generators in compiled code
        if text[other] == text[place]:
            return True
    return False


@compiled
def _add_example(text: Text, move: np.float32, scratch: _Scratch, space: Space, sums: _Sums) -> None:
    """Add one example's gradients to the step's, and clear its vectors for the next."""
    for number in text:
        slot = space.slots[number]
        for column in range(_WIDTH):
            sums.vectors[slot, column] += scratch.vectors[slot, column]
            scratch.vectors[slot, column] = 0
    for channel in range(_CHANNELS):
        start, gradient = scratch.where[channel], scratch.gradient[channel]
        sums.outer[channel] += gradient
        sums.outer[_CHANNELS + channel] += move * scratch.active[channel]
        if gradient == 0 or start == _NOWHERE:
            continue
        for reach in range(min(_REACH, text.size - start)):
            vector = space.table[space.slots[text[start + reach]]]
            for column in range(_WIDTH):
                sums.filters[channel, reach, column] += gradient * vector[column]
    sums.outer[2 * _CHANNELS] += move


@compiled
def _descend(rate: np.float32, count: int, sums: _Sums, space: Space) -> None:
    rest, table = space.rest, space.table
    for channel in range(_CHANNELS):
        for column in range(_WIDTH):
            for reach in range(_REACH):
                rest[(channel * _WIDTH + column) * _REACH + reach] -= rate * sums.filters[channel, reach, column]
    for slot in range(count):
        for column in range(_WIDTH):
            table[slot, column] -= rate * sums.vectors[slot, column]
    for place in range(sums.outer.size):
        rest[_BIAS + place] -= rate * sums.outer[place]
    sums.filters[:] = 0
    sums.vectors[:] = 0
    sums.outer[:] = 0
