"""Devices come to hold messages as rounds pass."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from privacy.task.task import FeatureSpec
from simulations.config.data import DataConfig
from simulations.config.sections import PoisonConfig
from simulations.data.dataset import load
from simulations.data.errors import DataError
from simulations.population import build
from simulations.population.poison import Poison
from simulations.population.timeline import arrivals
from simulations.randomness import SeedTree

TIMES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@given(TIMES, st.integers(1, 20), st.floats(0, 1))
def test_the_older_comes_first_and_all_are_there_in_the_last_round(
    times: list[float], rounds: int, history: float
) -> None:
    arrival = arrivals(np.array(times), rounds, history)
    order = np.argsort(times, kind="stable")
    assert np.all(np.diff(arrival[order]) >= 0)
    assert arrival.min() >= 0
    assert arrival.max() <= rounds
    assert all(arrival[a] == arrival[b] for a in range(len(times)) for b in range(a) if times[a] == times[b])


def test_a_fraction_is_there_from_the_start_and_the_rest_comes_evenly() -> None:
    arrival = arrivals(np.random.default_rng(1).permutation(1_000).astype(float), 4, 0.5)
    assert np.bincount(arrival).tolist() == [500, 125, 125, 125, 125]


def test_what_a_device_holds_only_grows(tmp_path: Path) -> None:
    rows = [
        f"text {n} by {n % 40},{n // 40 % 2},u{n % 40},2026-01-01T{n // 60:02}:{n % 60:02}:00" for n in range(1_200)
    ]
    path = tmp_path / "chat.csv"
    path.write_text("\n".join(["text,label,user,written", *rows]))
    data = DataConfig(path=path, user_column="user", time_column="written", history=0.25)
    seeds = SeedTree.root(1)
    population = build(data, FeatureSpec(buckets=256), seeds, Poison(seeds, PoisonConfig()), 4).population
    held = [population.of(3, number) for number in range(5)]
    sizes = [len(examples) for examples in held]
    assert sizes == sorted(sizes)
    assert sizes[0] == pytest.approx(24 / 4, abs=1)
    assert sizes[-1] == 24
    for before, after in pairwise(held):
        assert after.labels[: len(before)].tolist() == before.labels.tolist()


@pytest.mark.parametrize("written", ["yesterday", "", "nan"])
def test_a_time_that_is_none_is_named_with_its_row(tmp_path: Path, written: str) -> None:
    path = tmp_path / "chat.csv"
    path.write_text(f"text,label,written\nhello,0,1\nyou,1,{written}\n")
    with pytest.raises(DataError, match=r"--time-column: expected a number or a date .* row 2"):
        load(DataConfig(path=path, time_column="written"))
