"""The benchmark of utility: its baseline learns, its split is a run's own, its tables stand where marks are."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from privacy.task.task import FeatureSpec
from simulations.config.config import load_config
from simulations.data.dataset import Table
from simulations.population import build
from simulations.randomness import SeedTree
from simulations.scenario import Scenario
from tests.support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
TEXTS = [f"good {i % 7} day {i}" if i % 2 else f"awful {i % 7} person {i}" for i in range(300)]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def utility() -> ModuleType:
    return import_module("utility")


def table() -> Table:
    return Table(TEXTS, (np.arange(300) % 2 == 0).astype(np.int8), None, np.arange(300), 0)


def test_the_baseline_learns_from_training_rows_and_is_judged_on_the_test_rows_of_a_run(
    utility: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "".join(f"{text},{int(i % 2 == 0)}\n" for i, text in enumerate(TEXTS)))
    config = load_config(None, {"seed": 3, "data.path": str(path), "data.partition": "dirichlet:1", "data.devices": 9})
    seeds = SeedTree.root(3)
    data = build(config.data, FeatureSpec(buckets=64), seeds, Scenario.of(config, seeds).poison, 1)
    parts = utility._same_split(table(), 3)
    np.testing.assert_array_equal(table().required_labels()[parts.test], data.test.labels)
    np.testing.assert_array_equal(parts.novel, data.novel)
    auroc, macro_f1, setting = utility.central(table(), parts)
    assert auroc > 0.95
    assert macro_f1 > 0.9
    assert setting.startswith("C ")


def test_a_page_gets_a_table_for_each_set_between_its_marks(utility: ModuleType) -> None:
    row = {
        "data": "edos",
        "method": "8",
        "auroc": 0.81,
        "auroc_range": (0.8, 0.82),
        "macro_f1": 0.7,
        "macro_f1_range": (0.69, 0.71),
        "runs": 3,
        "setting": "100 rounds of 200, rate 3",
    }
    text = utility.page("# A\n<!-- edos -->\nold\n<!-- /edos -->\nafter\n", [row])
    assert "| ε 8 | .810 (.800 to .820) | .700 (.690 to .710) | 3 | 100 rounds of 200, rate 3 |\n<!-- /edos -->" in text
    assert "old" not in text
    assert text.endswith("after\n")
    assert utility.page(text, [row]) == text
