"""The benchmark of simulated devices runs, on a few small ones, so that it keeps up with the code."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import numpy as np
import pytest

from fl_client.training.training import Examples
from privacy.features.rows import Features, Sequences
from tests.support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def simulation() -> ModuleType:
    return import_module("simulation")


@pytest.mark.long
def test_a_round_of_ours_and_a_peer_are_measured(simulation: ModuleType) -> None:
    task, own = simulation.task_of("S", simulation.dp_sgd(1, 0.5, 0.5), 40), simulation.devices_of("S", 16, 20, 40)
    ours, ghost = simulation.Ours(task, simulation.KernelEngine(task), own), simulation.Ghost(task, own)
    row = simulation.pair("S", ours.round, ghost.round, "Opacus ghost clipping", runs=1, cohort=40)
    assert (row["runs"], row["unit"]) == (1, "ms")
    assert min(row["ours"], row["peer"]) > 0
    assert row["ratio"] == pytest.approx(row["peer"] / row["ours"])


def test_the_protocol_is_compared_with_its_sum() -> None:
    flags = {"seed": 1, "privacy.noise_multiplier": 1.0, "data.devices": 60}
    rows = import_module("simulation_secure").rows(1, cohort=30, flags=flags)
    assert [row["against"] for row in rows] == ["its exact sum, same training", "its exact sum, kernel"]
    assert all(min(row["ours"], row["peer"]) > 0 for row in rows)
    assert all(row["ratio"] == pytest.approx(row["ours"] / row["peer"]) for row in rows)


@pytest.mark.parametrize("aggregation", ["central", "ideal"])
def test_cohorts_of_two_sizes_are_measured(aggregation: str) -> None:
    flat = import_module("simulation_flat")
    spent = flat.measured(aggregation, flat.Sizes(population=2_000, small=4, large=80), 1)
    assert len(spent.small) == len(spent.large) == 1
    assert min(*spent.small, *spent.large) > 0
    assert 0 <= spent.growth < 60


def test_the_floor_of_the_word_embedding_by_hand() -> None:
    """Two messages of two and one words, two different: one step."""
    floor = import_module("simulation_floor")
    texts = Sequences(32, np.array([0, 2, 3]), np.array([5, 6, 5], np.int32))
    work = floor.word_embedding(Examples(texts, np.zeros(2, np.float32)))
    dense = 32 * 64 + 64
    assert work.flops == 2 * 3 * 2 * dense + 2 * 3 * 32 + 2 * dense
    assert work.moved == 3 * 4 + 2 * 4 + 12 * (2 * 32 + dense + 64 + 1)


def test_the_floor_of_the_linear_model_by_hand() -> None:
    """Two messages of two and one n-grams, two different."""
    floor = import_module("simulation_floor")
    rows = Features(1_024, np.array([0, 2, 3]), np.array([5, 6, 5], np.int32), np.ones(3, np.float32))
    work = floor.hashed_linear(Examples(rows, np.zeros(2, np.float32)))
    assert (work.flops, work.moved) == (2 * 2 * 3, 3 * (4 + 4) + 2 * 4 + 12 * 3)


def test_a_table_of_products_takes_less_than_a_dense_convolution() -> None:
    floor, tasks = import_module("simulation_floor"), import_module("simulation_tasks")
    [device] = tasks.devices_of("C", 40, 40, 1)
    dense, tabled = floor.dense_convolution(device), floor.tabled_convolution(device)
    assert dense.moved == tabled.moved
    assert dense.flops - tabled.flops > 40 * 124 * 2 * 64 * 16 * 5 * 0.8


@pytest.mark.long
def test_a_round_is_compared_with_its_floor() -> None:
    floor = import_module("simulation_floor")
    rows = floor.rows(1, cohort=20)
    assert [row["name"] for row in rows] == ["T, kernel", "S, kernel", "C, kernel", "C, kernel"]
    assert all(min(row["ours"], row["peer"]) > 0 for row in rows)
    assert all(row["ratio"] == pytest.approx(row["ours"] / row["peer"]) for row in rows)


@pytest.mark.long
def test_a_round_of_flower_on_ray_is_measured() -> None:
    flower_peer = import_module("flower_peer")
    with flower_peer.FlowerPeer(nodes=4, cohort=2) as flower:
        first, second = flower.round(), flower.round()
    assert min(first, second) > 0
