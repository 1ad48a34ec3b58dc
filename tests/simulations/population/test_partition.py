"""Every row is on exactly one device."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from simulations.data.errors import DataError
from simulations.population.partition import by_time, by_user, dirichlet, parse_alpha

LABELS = (np.arange(4_000) % 4 == 0).astype(np.int8)


def draw(alpha: float, seed: int = 1, devices: int = 100) -> list[np.ndarray]:
    return dirichlet(LABELS, devices, alpha, np.random.default_rng(seed))


@given(
    labels=st.lists(st.integers(0, 1), min_size=1, max_size=200),
    devices=st.integers(1, 50),
    alpha=st.floats(1e-3, 1e6),
    seed=st.integers(0, 2**32),
)
def test_dirichlet_places_every_row_once(labels: list[int], devices: int, alpha: float, seed: int) -> None:
    placed = dirichlet(np.array(labels, np.int8), devices, alpha, np.random.default_rng(seed))
    assert len(placed) == devices
    assert sorted(np.concatenate(placed).tolist()) == list(range(len(labels)))
    assert all(rows.dtype == np.int64 and np.all(np.diff(rows) > 0) for rows in placed)


@given(st.lists(st.sampled_from("abcde"), min_size=1))
def test_a_user_holds_exactly_their_own_rows(users: list[str]) -> None:
    placed = by_user(users)
    assert sorted(np.concatenate(placed).tolist()) == list(range(len(users)))
    owners = [{users[row] for row in rows} for rows in placed]
    assert all(len(owner) == 1 for owner in owners)
    assert [owner.pop() for owner in owners] == list(dict.fromkeys(users))


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=100), st.integers(1, 30))
def test_by_time_gives_each_device_a_run_of_consecutive_rows(times: list[float], devices: int) -> None:
    placed = by_time(np.array(times), devices)
    assert len(placed) == devices
    assert sorted(np.concatenate(placed).tolist()) == list(range(len(times)))
    assert max(rows.size for rows in placed) - min(rows.size for rows in placed) <= 1
    held = [[times[row] for row in rows] for rows in placed if rows.size]
    assert all(max(earlier) <= min(later) for earlier, later in pairwise(held))


def test_the_seed_decides() -> None:
    first, again, other = draw(0.3), draw(0.3), draw(0.3, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_small_alpha_skews_sizes_and_labels_and_large_alpha_does_not() -> None:
    skewed, even = draw(0.1), draw(1e5)
    assert any(rows.size == 0 for rows in skewed)
    assert np.std([rows.size for rows in skewed]) > 5 * np.std([rows.size for rows in even])
    fractions = np.array([LABELS[rows].mean() for rows in skewed if rows.size])
    assert np.mean((fractions < 0.05) | (fractions > 0.6)) > 0.5
    assert np.abs([LABELS[rows].mean() - 0.25 for rows in even]).max() < 0.25


def test_devices_fractions_of_a_class_are_dirichlet() -> None:
    """The variance of one coordinate of Dir(alpha, ..., alpha) is (N - 1) / (N^2 (N alpha + 1))."""
    devices, alpha = 20, 0.5
    labels = np.ones(20_000, np.int8)
    rng = np.random.default_rng(3)
    fractions = [[rows.size / labels.size for rows in dirichlet(labels, devices, alpha, rng)] for _ in range(100)]
    assert np.var(fractions) == pytest.approx((devices - 1) / (devices**2 * (devices * alpha + 1)), rel=0.15)


def test_alpha_is_read() -> None:
    assert parse_alpha("dirichlet:0.3") == 0.3


@pytest.mark.parametrize(
    "text",
    [
        "dirichlet",
        "dirichlet:",
        "dirichlet:x",
        "dirichlet:0",
        "dirichlet:-1",
        "iid:1",
        "dirichlet:nan",
        "dirichlet:inf",
        "",
    ],
)
def test_other_partitions_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="--partition: expected time, or dirichlet:ALPHA"):
        parse_alpha(text)
