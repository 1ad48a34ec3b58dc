"""The pool holds every message of every device, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from fl_client.training.training import Examples
from simulations.compare.pooling import held, pooled
from tests.support.learning import BUCKETS, examples
from tests.support.reading import CHARACTERS, readers


class Population:
    """Devices with what they were given."""

    def __init__(self, parts: list[Examples]) -> None:
        self.parts = parts
        self.devices = len(parts)
        self.empty_devices, self.messages = 0, None

    def of(self, device: int, number: int) -> Examples:
        return self.parts[device] if number == 3 else self.parts[device + self.devices]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any), st.integers(0, 99))
def test_rows_come_in_the_order_of_devices(sizes: list[int], seed: int) -> None:
    source = np.random.default_rng(seed)
    dense = [source.random((size, BUCKETS)) * source.integers(2, size=(size, BUCKETS)) for size in sizes]
    parts = [examples(rows, source.integers(2, size=len(rows))) for rows in dense]
    pool = pooled(held(Population(parts), 3))
    np.testing.assert_array_equal(pool.features.dense(), np.vstack(dense).astype(np.float32))
    np.testing.assert_array_equal(pool.labels, np.concatenate([part.labels for part in parts]))


def test_sequences_are_pooled_too() -> None:
    parts = readers(CHARACTERS, [3, 0, 2])
    pool = pooled(held(Population(parts), 3))
    np.testing.assert_array_equal(pool.features.dense(), np.vstack([part.features.dense() for part in parts]))


def test_both_kinds_do_not_go_together() -> None:
    with pytest.raises(TypeError, match="got both"):
        pooled([examples(np.ones((1, BUCKETS)), [1]), *readers(CHARACTERS, [1])])
