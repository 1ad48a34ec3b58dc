"""A comparison's results as tables: a row for each trial for machines, and a row for each method over its seeds."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from simulations.compare.methods import METHODS, Method, Quartiles, Trial
from simulations.evaluation.mean_std import Spread
from simulations.evaluation.metrics import HEADLINE_METRICS


@dataclass(frozen=True)
class Row:
    """A method over its seeds.

    Attributes:
        method: the method.
        metrics: on test users, by the names of `HEADLINE_METRICS`; those that no seed has are missing.
        quartiles: of devices alone, the mean of each over seeds.
        epsilon: the largest of its seeds'; None where there is none.
        seconds: of training at the chosen setting.
        tuning_seconds: of training and evaluating the grid; None where nothing was tuned.
        settings: how it was trained, without repetitions.
        edges: how many seeds' best setting lies at the edge of the grid.
        devices: how many models there are in a seed.
    """

    method: Method
    metrics: Mapping[str, Spread]
    quartiles: Mapping[str, Quartiles]
    epsilon: float | None
    seconds: Spread | None
    tuning_seconds: Spread | None
    settings: tuple[str, ...]
    edges: int
    devices: int


def rows_of(trials: Sequence[Trial]) -> list[Row]:
    """Put trials together over their seeds, a row for each method in the order of `METHODS`."""
    return [_row(method, [trial for trial in trials if trial.method == method]) for method in METHODS]


def row_fields(row: Row) -> dict[str, Any]:
    """Return a row for JSON; an epsilon of None is none at all, and `unit` says why."""
    return {
        "contender": row.method.key,
        **{name: vars(spread) for name, spread in row.metrics.items()},
        "quartiles": {name: vars(quartiles) for name, quartiles in row.quartiles.items()},
        "epsilon": row.epsilon,
        "unit": row.method.unit,
        "sees_messages": row.method.sees,
        "seconds": vars(row.seconds) if row.seconds else None,
        "tuning_seconds": vars(row.tuning_seconds) if row.tuning_seconds else None,
        "settings": list(row.settings),
        "seeds_at_edge_of_grid": row.edges,
        "models": row.devices,
    }


def write_csv(trials: Sequence[Trial], path: Path) -> None:
    """Write a row for each trial; cells are empty where it has no such figure."""
    rows = [_trial_fields(trial) for trial in trials]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _trial_fields(trial: Trial) -> dict[str, Any]:
    quartiles = {
        f"{name}_{part.name}_quartile" if part.name != "median" else f"{name}_median": _part(trial, name, part.name)
        for name in HEADLINE_METRICS
        for part in fields(Quartiles)
    }
    return {
        "contender": trial.method.key,
        "seed": trial.seed,
        **trial.metrics,
        "epsilon": trial.epsilon,
        "unit": trial.method.unit,
        "seconds": round(trial.seconds, 4),
        "tuning_seconds": round(trial.tuning_seconds, 2),
        "setting": trial.setting,
        "at_edge_of_grid": trial.at_edge,
        "models": trial.devices,
        **quartiles,
    }


def _part(trial: Trial, name: str, part: str) -> float | None:
    quartiles = trial.quartiles.get(name)
    return None if quartiles is None else getattr(quartiles, part)


def _row(method: Method, trials: Sequence[Trial]) -> Row:
    spreads = {name: Spread.of(trial.metrics[name] for trial in trials) for name in HEADLINE_METRICS}
    epsilons = [trial.epsilon for trial in trials]
    return Row(
        method=method,
        metrics={name: spread for name, spread in spreads.items() if spread is not None},
        quartiles=_quartiles([trial.quartiles for trial in trials]),
        epsilon=None if None in epsilons else max(epsilon for epsilon in epsilons if epsilon is not None),
        seconds=Spread.of(trial.seconds for trial in trials),
        tuning_seconds=Spread.of(trial.tuning_seconds for trial in trials if trial.tuning_seconds),
        settings=tuple(dict.fromkeys(trial.setting for trial in trials)),
        edges=sum(trial.at_edge for trial in trials),
        devices=max(trial.devices for trial in trials),
    )


def _quartiles(seeds: Sequence[Mapping[str, Quartiles]]) -> dict[str, Quartiles]:
    by_name = {name: [seed[name] for seed in seeds if name in seed] for name in HEADLINE_METRICS}
    return {name: _mean(quartiles) for name, quartiles in by_name.items() if quartiles}


def _mean(seeds: Iterable[Quartiles]) -> Quartiles:
    parts = zip(*((quartiles.lower, quartiles.median, quartiles.upper) for quartiles in seeds), strict=True)
    lower, median, upper = (statistics.fmean(part) for part in parts)
    return Quartiles(lower, median, upper)
