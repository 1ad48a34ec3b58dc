from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from privacy.secagg.primitives.masking import pack, unpack, width, word_count, word_type

BITS = st.integers(8, 32)


@given(bits=BITS, length=st.integers(1, 50), devices=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_the_packing_of_a_sum_is_the_sum_of_the_packings(bits: int, length: int, devices: int, seed: int) -> None:
    largest = (1 << (width(bits) - 1)) // devices
    values = np.random.default_rng(seed).integers(-largest, largest, (devices, length))
    values[0, 0] = -largest
    total = pack(values[0], bits)
    for row in values[1:]:
        total += pack(row, bits)
    np.testing.assert_array_equal(unpack(total, bits, length), values.sum(0))


@given(BITS, st.integers(1, 70))
def test_the_edge_of_the_modulus(bits: int, length: int) -> None:
    edge = 1 << (width(bits) - 1)
    extremes = np.resize(np.array([edge - 1, -edge]), length)
    np.testing.assert_array_equal(unpack(pack(extremes, bits), bits, length), extremes)


@pytest.mark.parametrize("bits", [8, 10, 16, 21, 32])
def test_one_beyond_the_edge_wraps(bits: int) -> None:
    edge = 1 << (width(bits) - 1)
    beyond = pack(np.array([edge - 1]), bits) + pack(np.array([1]), bits)
    assert unpack(beyond, bits, 1)[0] == -edge
    below = pack(np.array([-edge]), bits) + pack(np.array([-1]), bits)
    assert unpack(below, bits, 1)[0] == edge - 1


@given(BITS, st.integers(1, 10_000))
def test_words_waste_less_than_one_coordinate_each(bits: int, length: int) -> None:
    sent = word_count(bits, length) * word_type(bits).itemsize * 8
    assert width(bits) >= bits
    assert sent < length * width(bits) * 1.1 + 64


@pytest.mark.parametrize(
    ("bits", "expected"),
    [(8, 8), (9, 9), (10, 10), (11, 12), (12, 12), (13, 16), (16, 16), (17, 21), (21, 21), (22, 32), (32, 32)],
)
def test_widths(bits: int, expected: int) -> None:
    assert width(bits) == expected
