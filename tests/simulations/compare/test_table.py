"""Trials put together over their seeds."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from simulations.compare.methods import CENTRAL_DP, LOCAL_ONLY, METHODS, Quartiles, Trial
from simulations.compare.table import row_fields, rows_of, write_csv
from simulations.evaluation.mean_std import Spread
from simulations.evaluation.metrics import HEADLINE_METRICS

TRIALS = [
    Trial(
        method,
        seed,
        dict.fromkeys(HEADLINE_METRICS, 0.5 + 0.2 * seed),
        epsilon=None,
        seconds=seed,
        setting=f"seed {seed}",
    )
    for seed in (0, 1)
    for method in METHODS
]


def test_a_row_is_mean_and_spread_over_seeds() -> None:
    rows = rows_of(TRIALS)
    assert [row.method for row in rows] == list(METHODS)
    for row in rows:
        assert row.metrics["auroc"] == Spread(0.6, pytest.approx(0.2 / 2**0.5), 2)  # type: ignore[arg-type]
        assert row.settings == ("seed 0", "seed 1")


def test_epsilon_is_the_largest_and_none_where_a_seed_has_none() -> None:
    with_epsilon = [
        replace(trial, epsilon=2.0 + trial.seed) if trial.method == CENTRAL_DP else trial for trial in TRIALS
    ]
    epsilons = {row.method: row.epsilon for row in rows_of(with_epsilon)}
    assert epsilons == {**dict.fromkeys(METHODS), CENTRAL_DP: 3.0}
    half = [replace(trial, epsilon=None if trial.seed else trial.epsilon) for trial in with_epsilon]
    assert {row.epsilon for row in rows_of(half)} == {None}


def test_quartiles_and_missing_metrics(tmp_path: Path) -> None:
    trials = [
        replace(
            trial,
            quartiles={"auroc": Quartiles(0.1 + trial.seed, 0.2, 0.3)},
            metrics={**trial.metrics, "macro_f1": None},
        )
        if trial.method == LOCAL_ONLY
        else trial
        for trial in TRIALS
    ]
    row = next(row for row in rows_of(trials) if row.method == LOCAL_ONLY)
    assert row.quartiles == {"auroc": Quartiles(pytest.approx(0.6), 0.2, 0.3)}  # type: ignore[arg-type]
    assert "macro_f1" not in row.metrics
    assert row_fields(row)["quartiles"]["auroc"]["median"] == 0.2
    write_csv(trials, tmp_path / "table.csv")
    lines = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert len(lines) == len(TRIALS)
    assert [(line["auroc_lower_quartile"], line["macro_f1"]) for line in lines if line["contender"] == "alone"] == [
        ("0.1", ""),
        ("1.1", ""),
    ]
