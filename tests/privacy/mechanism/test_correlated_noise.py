from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from privacy.mechanism.correlated_noise import NoiseStream, secure_normals, tree_prefix_variances
from privacy.task.correlation import BandedToeplitz, BinaryTree, BufferedLinearToeplitz, Correlation, dense
from simulations.randomness import SeedTree

ROUNDS, DIMENSION = 20, 3
BANDED = BandedToeplitz(coefficients=(1.0, 0.6, 0.4, 0.1))
BLT = BufferedLinearToeplitz(scales=(0.4, 0.2), decays=(0.95, 0.5))
ALL: list[Correlation] = [BandedToeplitz(coefficients=(1.0,)), BANDED, BLT, BinaryTree()]


def normals(seed: int, dimension: int = DIMENSION) -> Callable[[], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return lambda: rng.standard_normal(dimension)


@pytest.mark.parametrize("correlation", ALL[:-1])
def test_the_noise_is_the_inverse_applied(correlation: Correlation) -> None:
    draw = normals(1)
    fresh = np.stack([draw() for _ in range(ROUNDS)])
    stream, given = NoiseStream(correlation, DIMENSION), normals(1)
    noise = np.stack([stream.next(given) for _ in range(ROUNDS)])
    np.testing.assert_allclose(noise, np.linalg.solve(dense(correlation, ROUNDS), fresh), atol=1e-12)


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
    with pytest.raises(ValueError, match="of float64, got float32"):
        NoiseStream.restored(correlation, 3, stream.memory().astype(np.float32))
    with pytest.raises(ValueError, match="drawn: expected 0 or more, got -3"):
        NoiseStream.restored(correlation, -3, stream.memory())
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


def prefixes_by_node(rounds: int) -> NDArray[np.float64]:
    """How much of each node's z is in the noise of each prefix: float64[rounds, nodes], nodes as `dense` has them."""
    complete = [(t, height) for t in range(1, rounds + 1) for height in range(t.bit_length()) if t % (1 << height) == 0]
    by_height = sorted(range(len(complete)), key=lambda drawn: (complete[drawn][1], complete[drawn][0]))
    one_each = iter(np.eye(len(complete)))
    stream = NoiseStream(BinaryTree(), len(complete))
    noise = np.cumsum([stream.next(lambda: next(one_each)) for _ in range(rounds)], axis=0)
    assert next(one_each, None) is None
    return noise[:, by_height]


@pytest.mark.parametrize("rounds", [1, 2, 7, 8, 21])
def test_a_trees_release_is_a_function_of_its_noised_nodes(rounds: int) -> None:
    """Nodes C x + z, decoded, give the prefix sums of x and the stream's noise: nothing but the nodes is released."""
    decoder = prefixes_by_node(rounds)
    np.testing.assert_allclose(decoder @ dense(BinaryTree(), rounds), np.tril(np.ones((rounds, rounds))), atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_a_trees_variances_with_momentum(momentum: float) -> None:
    rounds = 21
    lags = np.arange(rounds)[:, None] - np.arange(rounds)
    decayed = np.where(lags >= 0, momentum ** np.maximum(lags, 0), 0.0)
    expected = ((decayed @ prefixes_by_node(rounds)) ** 2).sum(axis=1)
    np.testing.assert_allclose(tree_prefix_variances(rounds, momentum), expected, rtol=1e-12)


@pytest.mark.parametrize("correlation", ALL)
@pytest.mark.parametrize("shape", [(), (1,), (DIMENSION + 1,), (1, DIMENSION)])
def test_one_number_is_never_spread_over_all_places(correlation: Correlation, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="normals: expected 3 numbers"):
        NoiseStream(correlation, DIMENSION).next(lambda: np.ones(shape))


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
