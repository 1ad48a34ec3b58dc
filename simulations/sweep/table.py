"""A sweep's results as tables: a row a run, and a row a setting with its seeds put together."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from simulations.evaluation.mean_std import Spread
from simulations.sweep.grid import short
from simulations.sweep.running import CellResult, SweepResult

METRICS = {"auroc": "AUROC", "macro_f1": "macro-F1", "recall_at_fpr_1pct": "recall at 1% FPR"}
"""On test users, from `summary.json`; what people call them."""
_COPIED = (*METRICS, "pr_auc", "loss", "device_epsilon", "message_epsilon", "delta", "noise_multiplier", "rounds")
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
    """One combination of the axes' values, over its seeds.

    Attributes:
        values: by dotted key.
        metrics: of test users, by the names of `METRICS`; those that no seed has are missing.
        choice: AUROC on the calibration users, by which settings are ranked: test users choose nothing.
        epsilon: device level, the largest of its seeds', in the fleet where runs extrapolate to one; None where nothing
            is promised, or nothing was run.
        runs: its cells, one a seed.
    """

    values: tuple[tuple[str, Any], ...]
    metrics: Mapping[str, Spread]
    choice: Spread | None
    epsilon: float | None
    runs: tuple[CellResult, ...] = field(repr=False)

    @property
    def complete(self) -> int:
        return sum(one.summary is not None for one in self.runs)

    @property
    def errors(self) -> list[str]:
        return [one.error for one in self.runs if one.error]

    @property
    def label(self) -> str:
        return ", ".join(f"{short(key)} {value}" for key, value in self.values)


def settings_of(results: Sequence[CellResult]) -> list[Setting]:
    """The best first; those without a result last."""
    grouped: dict[str, list[CellResult]] = {}
    for one in results:
        grouped.setdefault(repr(one.cell.settings), []).append(one)
    settings = [_setting(runs) for runs in grouped.values()]
    return sorted(settings, key=lambda one: -one.choice.mean if one.choice else 1.0)


def best_by(key: str | None, settings: Sequence[Setting]) -> list[Setting]:
    """The best setting for each value of a dotted key, in its order; the best of all where there is no key."""
    best: dict[Any, Setting] = {}
    for one in settings:
        if one.choice is not None:
            best.setdefault(dict(one.values).get(key) if key else None, one)
    return [best[value] for value in sorted(best, key=lambda value: (value is None, value))]


def run_rows(result: SweepResult) -> list[dict[str, Any]]:
    """A row a run, every row with the same columns; empty where a run has no such figure."""
    names = {key: _column(key, [axis.key for axis in result.grid.axes]) for key in _keys(result)}
    return [_row(one, names) for one in result.results]


def write_tables(rows: Sequence[Mapping[str, Any]], csv_path: Path, parquet_path: Path) -> None:
    """The same rows as CSV and as Parquet."""
    with csv_path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), parquet_path)


def setting_fields(setting: Setting) -> dict[str, Any]:
    """For JSON."""
    return {
        "settings": dict(setting.values),
        **{name: asdict(spread) for name, spread in setting.metrics.items()},
        "calibration_auroc": asdict(setting.choice) if setting.choice else None,
        "device_epsilon": setting.epsilon,
        "runs": [one.cell.name for one in setting.runs],
        "errors": setting.errors,
    }


def _setting(runs: Sequence[CellResult]) -> Setting:
    summaries = [one.summary for one in runs if one.summary is not None]
    spreads = {name: Spread.of(one[name] for one in summaries) for name in METRICS}
    epsilons = [one["fleet_epsilon"] if one["extrapolated"] else one["device_epsilon"] for one in summaries]
    return Setting(
        values=runs[0].cell.settings,
        metrics={name: spread for name, spread in spreads.items() if spread is not None},
        choice=Spread.of(one["calibration"]["auroc"] for one in summaries),
        epsilon=None if not epsilons or None in epsilons else max(epsilons),
        runs=tuple(runs),
    )


def _keys(result: SweepResult) -> list[str]:
    return [key for key, _ in result.results[0].cell.settings]


def _column(key: str, keys: Sequence[str]) -> str:
    """The last part where only one key has it."""
    clash = sum(short(other) == short(key) for other in keys) > 1 or short(key) in (*_COPIED, *_COPIED_LAST)
    return key if clash else short(key)


def _row(one: CellResult, names: Mapping[str, str]) -> dict[str, Any]:
    summary = one.summary or {}
    return {
        "run": one.cell.name,
        **{names[key]: value for key, value in one.cell.settings},
        "seed": one.cell.config.seed,
        **{name: summary.get(name) for name in _COPIED},
        "calibration_auroc": summary.get("calibration", {}).get("auroc"),
        **{name: summary.get(name) for name in _COPIED_LAST},
        "state": "done" if one.summary else "failed" if one.error else "not run",
        "error": one.error or None,
        "aggregation": one.cell.config.server.aggregation,
    }
