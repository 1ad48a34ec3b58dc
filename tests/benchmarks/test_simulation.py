"""The benchmark of simulated devices runs, on a few small ones, so that it keeps up with the code."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("simulation")


def test_a_round_of_ours_and_a_peer_are_measured(simulation: ModuleType) -> None:
    task, own = simulation.task_of("S", simulation.dp_sgd(1, 0.5, 0.5), 40), simulation.devices_of("S", 16, 20, 40)
    ours, ghost = simulation.Ours(task, simulation.KernelEngine(task), own), simulation.Ghost(task, own)
    row = simulation.pair("S", ours.round, ghost.round, "Opacus ghost clipping", runs=1, cohort=40)
    assert (row["runs"], row["unit"]) == (1, "ms")
    assert 0 < row["ours"] < row["peer"]
