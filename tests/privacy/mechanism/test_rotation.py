from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy import linalg, stats

from privacy.base.canonical import sha256
from privacy.mechanism.rotation import rotate, spread, unrotate

Apply = Callable[[NDArray[np.float64], bytes], NDArray[np.float64]]
SEED = bytes(range(32))
dimensions = st.integers(1, 300)
seeds = st.binary(min_size=32, max_size=32)


def gaussian(dimension: int, number: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng([dimension, number]).standard_normal(dimension)


def seed_of(number: int) -> bytes:
    return sha256(number.to_bytes(4, "big"))


def dense_rotation(dimension: int, seed: bytes) -> NDArray[np.float64]:
    """The rotation as one matrix, from SciPy's Hadamard matrix and signs read bit by bit off AES-256-CTR."""
    size = 2 ** math.floor(math.log2(dimension))
    windows = [0] if size == dimension else [0, dimension - size]
    octets = -(-size // 8)
    key = sha256(b"havenfl/rotation/1/key", seed)
    counter = sha256(b"havenfl/rotation/1/counter", seed)[:16]
    stream = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(octets * len(windows)))
    matrix = np.eye(dimension)
    for number, start in enumerate(windows):
        bits = "".join(f"{octet:08b}" for octet in stream[number * octets : (number + 1) * octets])
        signs = [-1.0 if bit == "1" else 1.0 for bit in bits[:size]]
        step = np.eye(dimension)
        step[start : start + size, start : start + size] = linalg.hadamard(size) / math.sqrt(size) @ np.diag(signs)
        matrix = step @ matrix
    return matrix


@pytest.mark.parametrize("dimension", [1, 2, 3, 5, 7, 8, 9, 16, 31, 32, 33, 100, 255, 256, 600])
def test_agrees_with_the_dense_matrix(dimension: int) -> None:
    vector, dense = gaussian(dimension), dense_rotation(dimension, SEED)
    assert rotate(vector, SEED) == pytest.approx(dense @ vector, abs=1e-12)
    assert unrotate(vector, SEED) == pytest.approx(dense.T @ vector, abs=1e-12)


@given(dimensions, seeds)
def test_keeps_norms_and_inner_products(dimension: int, seed: bytes) -> None:
    first, second = gaussian(dimension, 1), gaussian(dimension, 2)
    after = rotate(first, seed), rotate(second, seed)
    assert np.linalg.norm(after[0]) == pytest.approx(np.linalg.norm(first), rel=1e-13)
    assert after[0] @ after[1] == pytest.approx(first @ second, abs=1e-12 * dimension)


@given(dimensions, seeds)
def test_unrotate_is_the_inverse_on_both_sides(dimension: int, seed: bytes) -> None:
    vector = gaussian(dimension)
    assert unrotate(rotate(vector, seed), seed) == pytest.approx(vector, abs=1e-13)
    assert rotate(unrotate(vector, seed), seed) == pytest.approx(vector, abs=1e-13)


@given(dimensions, seeds, st.floats(-100, 100), st.floats(-100, 100))
def test_is_linear(dimension: int, seed: bytes, a: float, b: float) -> None:
    first, second = gaussian(dimension, 1), gaussian(dimension, 2)
    parts = a * rotate(first, seed) + b * rotate(second, seed)
    assert rotate(a * first + b * second, seed) == pytest.approx(parts, abs=1e-11)


@pytest.mark.parametrize("dimension", [1000, 1 << 14, 100_003])
@pytest.mark.parametrize("place", [0, 0.4, 1], ids=["first", "middle", "last"])
def test_flattens_a_one_hot_vector(dimension: int, place: float) -> None:
    """By `spread`'s bound, which fails with probability 1e-9."""
    norm, vector = 3.0, np.zeros(dimension)
    vector[int(place * (dimension - 1))] = norm
    bound = norm * math.sqrt(2 * math.log(2 * dimension / 1e-9) / spread(dimension))
    assert np.abs(rotate(vector, SEED)).max() <= bound


@pytest.mark.parametrize("dimension", [64, 100])
def test_coordinates_are_sub_gaussian_over_seeds(dimension: int) -> None:
    """A flat vector of norm 1: each coordinate has mean 0 and the parameter 1 / sqrt(p) at most."""
    vector = np.full(dimension, dimension**-0.5)
    rotated = np.array([rotate(vector, seed_of(number)) for number in range(4000)])
    limit = 1 / spread(dimension)
    assert np.abs(rotated.mean(0)).max() < 6 * math.sqrt(limit / 4000)
    assert rotated.var(0).max() < limit * (1 + 6 * math.sqrt(2 / 4000))
    beyond = (np.abs(rotated) > 3 * math.sqrt(limit)).mean()
    assert 0 < beyond < 2 * stats.norm.sf(3) * 1.2


def test_a_large_vector_keeps_its_norm_and_returns() -> None:
    vector = gaussian(1_000_003)
    rotated = rotate(vector, SEED)
    assert np.linalg.norm(rotated) == pytest.approx(np.linalg.norm(vector), rel=1e-13)
    assert np.linalg.norm(unrotate(rotated, SEED) - vector) < 1e-14 * np.linalg.norm(vector)


def test_another_seed_is_another_rotation() -> None:
    vector = gaussian(300)
    assert not np.allclose(rotate(vector, SEED), rotate(vector, seed_of(1)))


@pytest.mark.parametrize("apply", [rotate, unrotate])
def test_the_argument_is_left_alone(apply: Apply) -> None:
    vector = gaussian(300)
    before = vector.copy()
    apply(vector[::-1], SEED)
    assert np.array_equal(vector, before)


@pytest.mark.parametrize(("dimension", "size"), [(1, 1), (2, 2), (3, 2), (4, 4), (1023, 512), (1024, 1024)])
def test_spread_is_the_largest_power_of_two(dimension: int, size: int) -> None:
    assert spread(dimension) == size


@pytest.mark.parametrize("dimension", [0, -1])
def test_spread_of_nothing(dimension: int) -> None:
    with pytest.raises(ValueError, match=f"dimension: expected at least 1, got {dimension}"):
        spread(dimension)


@pytest.mark.parametrize("vector", [np.empty(0), np.ones((2, 2)), np.float64(1), np.ones(4, np.float32)])
@pytest.mark.parametrize("apply", [rotate, unrotate])
def test_bad_vectors(apply: Apply, vector: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="vector: expected float64"):
        apply(vector, SEED)


@pytest.mark.parametrize("size", [0, 31, 33])
@pytest.mark.parametrize("apply", [rotate, unrotate])
def test_bad_seeds(apply: Apply, size: int) -> None:
    with pytest.raises(ValueError, match=f"seed: expected 32 bytes, got {size}"):
        apply(np.ones(4), bytes(size))
