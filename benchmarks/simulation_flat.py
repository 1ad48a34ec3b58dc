"""What a device of the default task costs, and what memory it takes, in small and large cohorts of a large population.

Messages are made when their device is drawn, and that is part of the cost. A cohort of 10,000 has 14 shards.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from charged_rounds import charged, ideal
from measure import Row, compare
from processes import most_resident, resident_from_now_on

from simulations.processes.workers import one_thread

_GOAL = 60.0
"""MiB that a large cohort may take beyond a small one."""
_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """The sizes of the population and of the two cohorts."""

    population: int = 1_000_000
    small: int = 100
    large: int = 10_000


@dataclass(frozen=True)
class Spent:
    """CPU milliseconds a device, a pair after the other, and MiB by which the peak of memory grew."""

    small: Sequence[float]
    large: Sequence[float]
    growth: float


def rows(runs: int) -> list[Row]:
    sizes = Sizes()
    table = []
    for aggregation in ("central", "ideal"):
        # In a fresh process: the memory that earlier rows took would hide this one's.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            spent = fresh.submit(measured, aggregation, sizes, runs).result()
        name = f"M, {aggregation}, cohort {sizes.large:,} of {sizes.population:,}"
        table += [
            compare(name, spent.large, spent.small, against=f"cohort {sizes.small:,}", unit="ms"),
            compare(f"{name}, peak of memory", [spent.growth], [_GOAL], against="the goal", unit="MiB"),
        ]
    return table


def measured(aggregation: str, sizes: Sizes, runs: int) -> Spent:
    """Measure after a round of the small cohort, in which what is paid once is paid."""
    one_thread()
    repeats = sizes.large // sizes.small // 10  # a tenth of the devices of a large round
    base = {
        "seed": 1,
        "data.devices": sizes.population,
        "privacy.noise_multiplier": 1.0,
        "server.aggregation": aggregation,
        "server.rounds": 1 + repeats * runs,
    }
    with drawn(base, sizes.small) as small, drawn(base, sizes.large) as large:
        small(1)
        before = resident_from_now_on()
        pairs = [(small(repeats), large(1)) for _ in range(runs)]
    ones, others = zip(*pairs, strict=True)
    return Spent(ones, others, (most_resident() - before) / _MEBIBYTE)


@contextmanager
def drawn(flags: Mapping[str, object], cohort: int) -> Iterator[Callable[[int], float]]:
    """CPU milliseconds a device of so many rounds, their cohorts drawn anew."""
    source = np.random.default_rng(cohort)
    with charged({**flags, "server.cohort": cohort}, ideal) as rounds:

        def milliseconds(count: int) -> float:
            devices = rounds.population.devices
            cohorts = (source.choice(devices, cohort, replace=False).tolist() for _ in range(count))
            return sum(map(rounds.round, cohorts)) / count / cohort * 1_000

        yield milliseconds
