"""Character CNN: products of characters and filters by table, gradients at each channel's strongest window only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_client.training.features import Sequences
from fl_client.training.models import CharacterCnn
from fl_client.training.training import Examples
from simulations.training.kernels.base import (
    Floats,
    Kernel,
    Space,
    Steps,
    Whole,
    add_noise,
    compiled,
    gather,
    judged,
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
    """A window's value is a sum of five rows of a table of all characters under all filters, made once a step.

    Windows that tie hold the same characters, so it does not matter which of them gets the gradient.
    """

    def statistics(self, weights: Floats, examples: Examples) -> dict[str, float]:
        return judged(_logits(weights, _texts(examples), self._space), examples.labels)

    def _train(self, weights: Floats, examples: Examples, steps: Steps) -> int:
        return _train(weights, _texts(examples), steps, self._space)


class _Texts(NamedTuple):
    """Character numbers of all messages, packed, float32[n] labels, and how many windows a padded message has."""

    starts: Whole
    characters: Text
    labels: Floats
    windows: int


class _Filters(NamedTuple):
    """The filters as the two directions read them, and what they make of each character.

    Attributes:
        by_place: float32[reach, width, channels]; by_channel: float32[channels, reach, width].
        values: float32[reach, characters, channels].
    """

    by_place: Floats
    by_channel: Floats
    values: Floats


class _Found(NamedTuple):
    """What one text gives: float32[channels], where each was found, and the gradients with respect to them and to the
    characters' vectors.
    """

    active: Floats
    where: NDArray[np.int32]
    gradient: Floats
    vectors: Floats


class _Sums(NamedTuple):
    """A step's gradients: of the filters, of the character vectors, and of the biases and the output layer."""

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
    filters, found = _no_filters(count), _nothing_found(count)
    outer = np.zeros(2 * _CHANNELS + 1, np.float32)
    sums = _Sums(np.zeros_like(filters.by_channel), np.zeros((count, _WIDTH), np.float32), outer)
    for step in range(steps.starts.size - 1):
        batch = steps.chosen[steps.starts[step] : steps.starts[step + 1]]
        rate = np.float32(steps.rate / max(1, batch.size) if steps.mean else steps.rate)
        _arrange(space, count, filters)
        for example in batch:
            text = texts.characters[texts.starts[example] : texts.starts[example + 1]]
            _strongest(text, texts.windows, space.slots, filters.values, found)
            move = _judge(texts.labels[example], space.rest, found)
            _to_vectors(text, space.slots, found, filters.by_channel)
            if steps.clip > 0:
                move = _clip(steps.clip, text, move, found, space)
            _add_example(text, move, found, space, sums)
        _descend(rate, count, sums, space)
        if steps.noise.size:
            add_noise(steps.noise[step], rate, space)
    release(count, space)
    return count


@compiled
def _logits(weights: Floats, texts: _Texts, space: Space) -> NDArray[np.float64]:
    count = gather(weights, texts.characters, False, space)
    filters, found = _no_filters(count), _nothing_found(count)
    _arrange(space, count, filters)
    logits = np.empty(texts.starts.size - 1)
    for example in range(logits.size):
        text = texts.characters[texts.starts[example] : texts.starts[example + 1]]
        _strongest(text, texts.windows, space.slots, filters.values, found)
        logits[example] = _logit(space.rest, found.active)
    release(count, space)
    return logits


@compiled
def _no_filters(count: int) -> _Filters:
    by_place = np.empty((_REACH, _WIDTH, _CHANNELS), np.float32)
    by_channel = np.empty((_CHANNELS, _REACH, _WIDTH), np.float32)
    return _Filters(by_place, by_channel, np.empty((_REACH, count, _CHANNELS), np.float32))


@compiled
def _nothing_found(count: int) -> _Found:
    active, gradient = np.empty(_CHANNELS, np.float32), np.empty(_CHANNELS, np.float32)
    return _Found(active, np.empty(_CHANNELS, np.int32), gradient, np.zeros((count, _WIDTH), np.float32))


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
def _strongest(text: Text, windows: int, slots: Whole, values: Floats, found: _Found) -> None:
    """Every channel's largest value over all windows, and where it is."""
    best, where = found.active, found.where
    best[:] = np.float32(0) if text.size < windows else np.float32(-np.inf)
    where[:] = _NOWHERE
    whole = max(0, text.size - _REACH + 1)
    for start in range(min(whole, windows)):
        one, two = values[0, slots[text[start]]], values[1, slots[text[start + 1]]]
        three, four = values[2, slots[text[start + 2]]], values[3, slots[text[start + 3]]]
        five, place = values[4, slots[text[start + 4]]], np.int32(start)
        for channel in range(_CHANNELS):
            value = one[channel] + two[channel] + three[channel] + four[channel] + five[channel]
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
    """The logit; values become activations."""
    logit = np.float64(rest[rest.size - 1])
    for channel in range(_CHANNELS):
        active[channel] = max(active[channel] + rest[_BIAS + channel], np.float32(0))
        logit += active[channel] * rest[_OUTPUT + channel]
    return logit


@compiled
def _judge(label: float, rest: Floats, found: _Found) -> np.float32:
    """From values to activations and their gradients; returns the residual."""
    move = np.float32(residual(_logit(rest, found.active), label))
    for channel in range(_CHANNELS):
        found.gradient[channel] = move * rest[_OUTPUT + channel] if found.active[channel] > 0 else np.float32(0)
    return move


@compiled
def _to_vectors(text: Text, slots: Whole, found: _Found, by_channel: Floats) -> None:
    """One example's gradients with respect to its characters' vectors."""
    for channel in range(_CHANNELS):
        start, share = found.where[channel], found.gradient[channel]
        if share == 0 or start == _NOWHERE:
            continue
        for reach in range(min(_REACH, text.size - start)):
            vector = found.vectors[slots[text[start + reach]]]
            for column in range(_WIDTH):
                vector[column] += share * by_channel[channel, reach, column]


@compiled
def _clip(clip: float, text: Text, move: np.float32, found: _Found, space: Space) -> np.float32:
    """Scale one example's gradients to what the clip leaves of them; returns what is left of the residual."""
    factor = np.float32(min(1.0, clip / (math.sqrt(_squared(text, move, found, space)) + 1e-6)))
    for place in range(text.size):
        if not _stood_before(text, place):
            found.vectors[space.slots[text[place]]] *= factor
    for channel in range(_CHANNELS):
        found.gradient[channel] *= factor
    return factor * move


@compiled
def _squared(text: Text, move: np.float32, found: _Found, space: Space) -> float:
    """Squared norm of one example's gradient over all parameters."""
    total = np.float64(move) ** 2
    for channel in range(_CHANNELS):
        window, start = 1.0, found.where[channel]
        if start != _NOWHERE:
            for reach in range(min(_REACH, text.size - start)):
                vector = space.table[space.slots[text[start + reach]]]
                for column in range(_WIDTH):
                    window += np.float64(vector[column]) ** 2
        total += np.float64(found.gradient[channel]) ** 2 * window
        total += (np.float64(move) * np.float64(found.active[channel])) ** 2
    for place in range(text.size):
        if not _stood_before(text, place):
            own = found.vectors[space.slots[text[place]]]
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
def _add_example(text: Text, move: np.float32, found: _Found, space: Space, sums: _Sums) -> None:
    """To the step's gradients; clears the example's own vectors for the next."""
    for number in text:
        slot = space.slots[number]
        for column in range(_WIDTH):
            sums.vectors[slot, column] += found.vectors[slot, column]
            found.vectors[slot, column] = 0
    for channel in range(_CHANNELS):
        start, share = found.where[channel], found.gradient[channel]
        sums.outer[channel] += share
        sums.outer[_CHANNELS + channel] += move * found.active[channel]
        if share == 0 or start == _NOWHERE:
            continue
        for reach in range(min(_REACH, text.size - start)):
            vector = space.table[space.slots[text[start + reach]]]
            for column in range(_WIDTH):
                sums.filters[channel, reach, column] += share * vector[column]
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
