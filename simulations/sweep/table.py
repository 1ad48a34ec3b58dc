"""A sweep's results as tables: a row for each run, and a row for each setting with its seeds put together."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from simulations.evaluation.mean_std import Spread
from simulations.evaluation.metrics import HEADLINE_METRICS
from simulations.sweep.grid import short
from simulations.sweep.running import CellResult, SweepResult

_COPIED = (
    *HEADLINE_METRICS,
    "pr_auc",
    "loss",
    "device_epsilon",
    "message_epsilon",
    "delta",
    "noise_multiplier",
    "rounds",
    "rounds_released",
)
"""Fields of `summary.json` in a run's row, before and after the calibration users' AUROC."""
_COPIED_LAST = (
    "extrapolated",
    "fleet_epsilon",
    "ended",
    "devices",
    "training_messages",
    "test_messages",
    "seconds",
    "release",
)


@dataclass(frozen=True)
class Setting:
    """A combination of the axes' values, over its seeds.

    Attributes:
        values: the values by dotted key.
        metrics: on test users, by the names of `HEADLINE_METRICS`; those that no seed has are missing.
        choice: AUROC on the calibration users, by which settings are ranked: test users choose nothing.
        epsilon: at device level, the largest of its seeds', in the fleet where runs extrapolate to one; None where
            nothing is promised, or nothing was run.
        runs: the results of its cells, one a seed.
    """

    values: tuple[tuple[str, Any], ...]
    metrics: Mapping[str, Spread]
    choice: Spread | None
    epsilon: float | None
    runs: tuple[CellResult, ...] = field(repr=False)

    @property
    def complete(self) -> int:
        """The number of runs that are complete."""
        return sum(run.summary is not None for run in self.runs)

    @property
    def errors(self) -> list[str]:
        """The errors of the runs that failed."""
        return [run.error for run in self.runs if run.error]

    @property
    def label(self) -> str:
        """The label for people; empty where the grid varies nothing."""
        return ", ".join(f"{short(key)} {value}" for key, value in self.values)


def settings_of(results: Sequence[CellResult]) -> list[Setting]:
    """Put runs together over their seeds: the best setting first, those without a result last."""
    grouped: dict[str, list[CellResult]] = {}
    for run in results:
        grouped.setdefault(repr(run.cell.settings), []).append(run)
    settings = [_setting(runs) for runs in grouped.values()]
    return sorted(settings, key=lambda setting: -setting.choice.mean if setting.choice else 1.0)


def best_by(key: str | None, settings: Sequence[Setting]) -> list[Setting]:
    """Choose the best setting for each value of a dotted key, in its order; the best of all where there is no key."""
    best: dict[Any, Setting] = {}
    for setting in settings:
        if setting.choice is not None:
            best.setdefault(dict(setting.values).get(key) if key else None, setting)
    return [best[value] for value in sorted(best, key=lambda value: (value is None, value))]


def run_rows(result: SweepResult) -> list[dict[str, Any]]:
    """Return a row for each run, all with the same columns; None where a run has no such figure."""
    names = {key: _column(key, [axis.key for axis in result.grid.axes]) for key in _keys(result)}
    return [_row(run, names) for run in result.results]


def write_tables(rows: Sequence[Mapping[str, Any]], csv_path: Path, parquet_path: Path) -> None:
    """Write rows as CSV and as Parquet.

    Args:
        rows: at least one, all with the same columns.
        csv_path: where the CSV file goes.
        parquet_path: where the Parquet file goes.
    """
    with csv_path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), parquet_path)


def setting_fields(setting: Setting) -> dict[str, Any]:
    """Return a setting for JSON."""
    return {
        "settings": dict(setting.values),
        **{name: asdict(spread) for name, spread in setting.metrics.items()},
        "calibration_auroc": asdict(setting.choice) if setting.choice else None,
        "device_epsilon": setting.epsilon,
        "runs": [run.cell.name for run in setting.runs],
        "errors": setting.errors,
    }


def _setting(runs: Sequence[CellResult]) -> Setting:
    summaries = [run.summary for run in runs if run.summary is not None]
    spreads = {name: Spread.of(summary[name] for summary in summaries) for name in HEADLINE_METRICS}
    epsilons = [summary["fleet_epsilon" if summary["extrapolated"] else "device_epsilon"] for summary in summaries]
    return Setting(
        values=runs[0].cell.settings,
        metrics={name: spread for name, spread in spreads.items() if spread is not None},
        choice=Spread.of(summary["calibration"]["auroc"] for summary in summaries),
        epsilon=None if not epsilons or None in epsilons else max(epsilons),
        runs=tuple(runs),
    )


def _keys(result: SweepResult) -> list[str]:
    return [key for key, _ in result.results[0].cell.settings]


def _column(key: str, keys: Sequence[str]) -> str:
    """Name a key's column by its last part, where no other column has that name."""
    clash = sum(short(other) == short(key) for other in keys) > 1 or short(key) in (*_COPIED, *_COPIED_LAST)
    return key if clash else short(key)


def _row(run: CellResult, names: Mapping[str, str]) -> dict[str, Any]:
    summary = run.summary or {}
    return {
        "run": run.cell.name,
        **{names[key]: value for key, value in run.cell.settings},
        "seed": run.cell.config.seed,
        **{name: summary.get(name) for name in _COPIED},
        "calibration_auroc": summary.get("calibration", {}).get("auroc"),
        **{name: summary.get(name) for name in _COPIED_LAST},
        "state": "done" if run.summary else "failed" if run.error else "not run",
        "error": run.error or None,
        "aggregation": run.cell.config.server.aggregation,
    }
