"""A comparison's results as tables: a row a trial for machines, and a row a contender over its seeds."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from simulations.compare.methods import METHODS, METRICS, Method, Quartiles, Trial
from simulations.evaluation.mean_std import Spread


@dataclass(frozen=True)
class Row:
    """A contender over its seeds.

    Attributes:
        metrics: on test users, by the names of `METRICS`; those that no seed has are missing.
        quartiles: of devices alone: the mean over seeds of each.
        epsilon: the largest of its seeds'; None where there is none.
        settings: how it was trained, without repetitions.
        edges: seeds whose best setting lies at the edge of the grid.
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
    """In the order of `METHODS`."""
    return [_row(one, [trial for trial in trials if trial.method == one]) for one in METHODS]


def row_fields(row: Row) -> dict[str, Any]:
    """For JSON; an epsilon of None is none at all, and `unit` says why."""
    return {
        "contender": row.method.key,
        **{name: vars(spread) for name, spread in row.metrics.items()},
        "quartiles": {name: vars(one) for name, one in row.quartiles.items()},
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
    """A row a trial; empty where it has no such figure."""
    rows = [_trial_fields(one) for one in trials]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _trial_fields(trial: Trial) -> dict[str, Any]:
    quartiles = {
        f"{name}_{part.name}_quartile" if part.name != "median" else f"{name}_median": _part(trial, name, part.name)
        for name in METRICS
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
    held = trial.quartiles.get(name)
    return None if held is None else getattr(held, part)


def _row(method: Method, trials: Sequence[Trial]) -> Row:
    spreads = {name: Spread.of(one.metrics[name] for one in trials) for name in METRICS}
    epsilons = [one.epsilon for one in trials]
    return Row(
        method=method,
        metrics={name: spread for name, spread in spreads.items() if spread is not None},
        quartiles=_quartiles([one.quartiles for one in trials]),
        epsilon=None if None in epsilons else max(one for one in epsilons if one is not None),
        seconds=Spread.of(one.seconds for one in trials),
        tuning_seconds=Spread.of(one.tuning_seconds for one in trials if one.tuning_seconds),
        settings=tuple(dict.fromkeys(one.setting for one in trials)),
        edges=sum(one.at_edge for one in trials),
        devices=max(one.devices for one in trials),
    )


def _quartiles(seeds: Sequence[Mapping[str, Quartiles]]) -> dict[str, Quartiles]:
    found = {name: [one[name] for one in seeds if name in one] for name in METRICS}
    return {name: _mean(ones) for name, ones in found.items() if ones}


def _mean(ones: Iterable[Quartiles]) -> Quartiles:
    parts = zip(*((one.lower, one.median, one.upper) for one in ones), strict=True)
    lower, median, upper = (statistics.fmean(part) for part in parts)
    return Quartiles(lower, median, upper)
