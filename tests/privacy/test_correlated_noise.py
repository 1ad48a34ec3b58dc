from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from privacy.correlated_noise import NoiseStream, secure_normals, tree_prefix_variances
from privacy.correlation import (
    BandedToeplitz,
    BinaryTree,
    BufferedLinearToeplitz,
    Correlation,
    toeplitz_coefficients,
)
from simulations.randomness import SeedTree

ROUNDS, DIMENSION = 20, 3
BANDED = BandedToeplitz(coefficients=(1.0, 0.6, 0.4, 0.1))
BLT = BufferedLinearToeplitz(scales=(0.4, 0.2), decays=(0.95, 0.5))
ALL: list[Correlation] = [BandedToeplitz(coefficients=(1.0,)), BANDED, BLT, BinaryTree()]


def normals(seed: int, dimension: int = DIMENSION) -> Callable[[], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return lambda: rng.standard_normal(dimension)


@pytest.mark.parametrize("correlation", [BANDED, BLT])
def test_the_noise_is_the_inverse_applied(correlation: BandedToeplitz | BufferedLinearToeplitz) -> None:
    column = toeplitz_coefficients(correlation, ROUNDS)
    matrix = np.array([[column[i - j] if i >= j else 0.0 for j in range(ROUNDS)] for i in range(ROUNDS)])
    fresh = [normals(1)() for _ in range(1)]
    draw = normals(1)
    fresh = [draw() for _ in range(ROUNDS)]
    stream, given = NoiseStream(correlation, DIMENSION), normals(1)
    found = np.stack([stream.next(given) for _ in range(ROUNDS)])
    np.testing.assert_allclose(found, np.linalg.solve(matrix, np.stack(fresh)), atol=1e-12)


@pytest.mark.parametrize("correlation", ALL)
def test_a_stream_goes_on_after_any_round_as_if_it_had_never_stopped(correlation: Correlation) -> None:
    whole, given = NoiseStream(correlation, DIMENSION), normals(2)
    expected = [whole.next(given) for _ in range(ROUNDS)]
    stream, given = NoiseStream(correlation, DIMENSION), normals(2)
    for number in range(ROUNDS):
        stream = NoiseStream.restored(correlation, stream.drawn, stream.memory())
        np.testing.assert_array_equal(stream.next(given), expected[number])


@pytest.mark.parametrize("correlation", ALL)
def test_a_memory_of_another_round_or_kind_is_refused(correlation: Correlation) -> None:
    with pytest.raises(ValueError, match="memory: expected"):
        NoiseStream.restored(correlation, 7, np.zeros((9, DIMENSION)))
    stream = NoiseStream(correlation, DIMENSION)
    for _ in range(3):
        stream.next(normals(3))
    damaged = stream.memory()
    if damaged.size:
        damaged[0, 0] = np.nan
        with pytest.raises(ValueError, match="finite"):
            NoiseStream.restored(correlation, 3, damaged)
    assert "0." not in repr(stream)


def test_the_trees_prefixes_have_the_variance_of_their_nodes() -> None:
    """20,000 streams at once: each prefix's variance to within five standard errors."""
    streams = 20_000
    stream, draw = NoiseStream(BinaryTree(), streams), normals(4, streams)
    prefixes = np.cumsum([stream.next(draw) for _ in range(ROUNDS)], axis=0)
    expected = tree_prefix_variances(ROUNDS)
    assert expected[0] == 1
    assert expected[1] == pytest.approx(2 / 3)
    np.testing.assert_allclose(prefixes.var(axis=1), expected, rtol=5 * (2 / streams) ** 0.5)


def test_a_tree_is_linear_in_what_it_was_given() -> None:
    """The noised nodes explain every prefix: least squares over them leaves nothing (Honaker 2015)."""
    rounds = 8
    nodes = [(start, height) for height in range(4) for start in range(0, rounds, 1 << height)]
    unit = np.zeros((rounds, len(nodes)))
    calls = iter(range(len(nodes)))
    stream = NoiseStream(BinaryTree(), len(nodes))
    prefix = np.zeros(len(nodes))
    for number in range(rounds):
        prefix = prefix + stream.next(lambda: np.eye(len(nodes))[next(calls)])
        unit[number] = prefix
    assert next(calls, None) is None
    np.testing.assert_allclose((unit**2).sum(axis=1), tree_prefix_variances(rounds))


def test_secure_normals_are_normal() -> None:
    drawn = secure_normals(SeedTree.root(3).stream(), 200_000)()
    assert kstest(drawn, "norm").pvalue > 1e-3
    assert abs(drawn.mean()) < 5 / 200_000**0.5
    assert abs(np.mean(drawn**4) - 3) < 5 * (96 / 200_000) ** 0.5


class Extreme:
    """All bits zero, or all one: the ends of what can be drawn."""

    origin = "system"

    def __init__(self, byte: int) -> None:
        self._byte = byte

    def token(self, size: int) -> bytes:
        return bytes([self._byte]) * size


@pytest.mark.parametrize(("byte", "expected"), [(0, -9.2), (255, 0.0)])
def test_the_ends_are_finite(byte: int, expected: float) -> None:
    drawn = secure_normals(Extreme(byte), 4)()
    np.testing.assert_allclose(drawn, expected, atol=0.06)
