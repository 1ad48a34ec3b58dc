"""One device's encoding against an oracle: the mechanism written out from its definition, on the same random bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy import linalg

from privacy.base.canonical import sha256
from privacy.base.randomness import Origin
from privacy.mechanism import discrete_gaussian as dgauss
from privacy.mechanism.mechanism import Mechanism
from privacy.task.states import Update
from privacy.task.task import (
    AdaptiveClip,
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    Statistic,
    TaskSpec,
)
from simulations.randomness import SeedTree
from tests.support.tasks import make_task

COHORT = 6
STATISTICS = (
    Statistic(name="examples", bound=50.0, sensitivity_fraction=0.2),
    Statistic(name="loss", bound=4.0, sensitivity_fraction=0.1),
)


class Recorded:
    """A stream that shows what it gave; of a seed, so that it can be had once more."""

    origin: Origin = "seeded"

    def __init__(self, seed: int) -> None:
        self._stream = SeedTree.root(seed).stream()
        self.given = b""

    def token(self, size: int) -> bytes:
        drawn = self._stream.token(size)
        self.given += drawn
        return drawn


class Bytes:
    """Takes numbers from recorded bytes in turn."""

    def __init__(self, given: bytes) -> None:
        self.left = given

    def take(self, size: int) -> bytes:
        taken, self.left = self.left[:size], self.left[size:]
        assert len(taken) == size
        return taken

    def words(self, count: int) -> list[int]:
        return [int.from_bytes(self.take(4), "little") for _ in range(count)]


def task_of(dimension: int, statistics: Sequence[Statistic], adaptive: AdaptiveClip | None, noise: float) -> TaskSpec:
    return make_task(
        dimension,
        mechanism=DeviceMechanism(clip=0.5, noise_multiplier=noise, adaptive=adaptive),
        statistics=tuple(statistics),
        participation=BoundedParticipation(cohort=COHORT, max_participations=1),
        aggregation=AggregationPolicy(max_dropouts=1, min_survivors=2, modulus_bits=32),
        budget=Budget(delta=1e-5),
    )


def noise_from(source: Bytes, variance: int, size: int) -> list[int]:
    """A word's low half picks a cell, the rest of a coin of 176 bits decides between the cell's value and its alias."""
    table = dgauss._table(variance)
    words = source.words(size)
    cells = [word % 2**16 for word in words]
    aliases = [int(table.packed[cell]) % 2**16 for cell in cells]
    draws = []
    for word, cell, alias in zip(words, cells, aliases, strict=True):
        leading, threshold = word >> 16, table.thresholds[cell]
        if leading == threshold >> 160:
            leading_and_rest = leading << 160 | int.from_bytes(source.take(20), "little")
            draws.append(table.lowest + (cell if leading_and_rest < threshold else alias))
        else:
            draws.append(table.lowest + (cell if leading < threshold >> 160 else alias))
    return draws


def turned(vector: NDArray[np.float64], seed: bytes) -> NDArray[np.float64]:
    """By SciPy's Hadamard matrix, over the first p coordinates and then over the last p."""
    size = 2 ** math.floor(math.log2(vector.size))
    key, counter = sha256(b"havenfl/rotation/1/key", seed), sha256(b"havenfl/rotation/1/counter", seed)[:16]
    stream = Bytes(Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(2 * size)))
    result = vector.copy()
    for start in sorted({0, vector.size - size}):
        bits = "".join(f"{octet:08b}" for octet in stream.take(-(-size // 8)))[:size]
        signs = np.array([1.0 - 2.0 * int(bit) for bit in bits])
        result[start : start + size] = linalg.hadamard(size) @ (signs * result[start : start + size]) / math.sqrt(size)
    return result


def contributed(task: TaskSpec, update: Update) -> NDArray[np.float64]:
    clip = task.mechanism.clip
    exact = [float(number) for number in update.delta]
    norm = math.sqrt(math.fsum(number**2 for number in exact))
    whole = [number * min(1.0, clip / norm) if norm else 0.0 for number in exact]
    for statistic in task.statistics:
        cut = min(max(update.statistics[statistic.name], 0.0), statistic.bound)
        whole.append(cut / statistic.bound * statistic.sensitivity_fraction * clip)
    if task.mechanism.adaptive:
        whole.append(task.mechanism.adaptive.sensitivity_fraction * (clip if norm <= clip else -clip))
    return np.array(whole)


def encoded(mechanism: Mechanism, update: Update, seed: bytes, source: Bytes) -> list[int]:
    noise = noise_from(source, mechanism.variance, mechanism.task.length)
    exact = turned(contributed(mechanism.task, update), seed) * mechanism.scale
    while True:
        rounded = [math.floor(x + word / 2**32) for x, word in zip(exact, source.words(exact.size), strict=True)]
        if sum(number**2 for number in rounded) <= mechanism.norm_bound**2:
            return [number + added for number, added in zip(rounded, noise, strict=True)]


@settings(max_examples=60)
@given(
    dimension=st.integers(1, 70),
    statistics=st.sampled_from([(), STATISTICS[:1], STATISTICS]),
    adaptive=st.sampled_from([None, AdaptiveClip(sensitivity_fraction=0.3)]),
    length=st.sampled_from([0.0, 0.3, 1.0, 1.5, 1e6]),
    figure=st.sampled_from([-1e9, 0.0, 0.4, 1.0, 1e9]),
    seed=st.integers(0, 2**32),
)
def test_an_encoding_is_the_definitions(
    *,
    dimension: int,
    statistics: tuple[Statistic, ...],
    adaptive: AdaptiveClip | None,
    length: float,
    figure: float,
    seed: int,
) -> None:
    """Clip, figures, bit, rotation, rounding, its bound and the noise of each place, from the very bytes drawn."""
    mechanism = Mechanism.for_cohort(task_of(dimension, statistics, adaptive, 1.0), COHORT)
    pointing = np.random.default_rng(seed).normal(size=dimension)
    delta = (pointing / np.linalg.norm(pointing) * 0.5 * length).astype(np.float32)
    update = Update(delta, {statistic.name: figure * statistic.bound for statistic in statistics})
    source = Recorded(seed)
    drawn = mechanism.encode(update, sha256(seed.to_bytes(8, "big")), source)
    expected = encoded(mechanism, update, sha256(seed.to_bytes(8, "big")), replayed := Bytes(source.given))
    assert drawn.integers.tolist() == expected
    assert not replayed.left


def test_an_update_that_is_hard_to_round_is_rounded_until_it_is_within_the_bound() -> None:
    """Coordinates half-way between integers, at the clip: one rounding in seven or so is too long and is not sent."""
    mechanism = Mechanism.for_cohort(task_of(64, (), None, 1.0), COHORT)
    seed, again = bytes(32), 0
    halves = np.full(64, math.floor(mechanism.scale * 0.5 / 8) + 0.5)
    halves[:32] *= -1
    delta = turned_back(halves, seed) / mechanism.scale
    delta *= min(1.0, 0.5 / float(np.linalg.norm(delta)))
    for number in range(60):
        source = Recorded(number)
        drawn = mechanism.encode(Update(delta.astype(np.float32)), seed, source)
        expected = encoded(mechanism, Update(delta.astype(np.float32)), seed, Bytes(source.given))
        assert drawn.integers.tolist() == expected
        again += len(source.given) > 2 * 4 * 64 + 100
    assert again > 0


def turned_back(vector: NDArray[np.float64], seed: bytes) -> NDArray[np.float64]:
    matrix = np.stack([turned(row, seed) for row in np.eye(vector.size)])
    result: NDArray[np.float64] = matrix @ vector
    return result


@pytest.mark.parametrize("variance", [256, 448**2, dgauss.ONE_TABLE])
def test_noise_is_drawn_from_fresh_bytes_for_every_place_and_call(variance: int) -> None:
    """Over two calls and a block's end: nothing is used twice, left out, cut or shared."""
    size = 1 << 15
    source = Recorded(variance)
    drawn = [*dgauss.sample(variance, size, source).tolist(), *dgauss.sample(variance, 100, source).tolist()]
    replayed = Bytes(source.given)
    assert drawn == [*noise_from(replayed, variance, size), *noise_from(replayed, variance, 100)]
    assert not replayed.left
