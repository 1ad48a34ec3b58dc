"""Two workers of a local Ray against one, and what a round over Ray costs besides the devices' work.

    python benchmarks/simulation_ray.py            # a table
    python benchmarks/simulation_ray.py --json     # one object

Rounds of 512 devices of the default task, its noise included, in elapsed seconds: one worker and two take turns, on two
cores that must be free. Asked is 1.7 times as fast, a ratio of 0.59. What a round costs besides is that of two devices
on two workers, less that of one device in this process; 20 ms was expected.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from measure import Row, compare, run

from simulations.config import LOCAL_RAY, load_config
from simulations.crews.cluster import connected
from simulations.crews.local import LocalCrew
from simulations.crews.replay import ReplayingCrew
from simulations.ideal import Crew
from simulations.run import prepare
from simulations.shares import Job, Worker

_DEVICES = 512
_SMALL_ROUNDS = 20
_EXPECTED = 0.02


class Rounds:
    """Rounds of one crew after the other, in elapsed seconds."""

    def __init__(self, worker: Worker) -> None:
        task = worker.task
        self._weights = np.random.default_rng(0).normal(0, 0.01, task.model.dimension).astype(np.float32)
        self._clip = task.mechanism.clip
        self._number = 0

    def seconds(self, crew: Crew, devices: Sequence[int]) -> float:
        """Of one more round."""
        self._number += 1
        job = Job(self._number, self._weights, self._clip, bytes(32), len(devices), devices)
        started = time.perf_counter()
        sum(share.sums for share in crew.shares(job))
        return time.perf_counter() - started


def pairs(runs: int) -> list[Row]:
    prepared = prepare(load_config(None, {"seed": 1, "server.aggregation": "ideal", "server.cohort": _DEVICES}))
    worker = Worker(prepared.seeds, prepared.task, prepared.data.population.of, prepared.engine)
    with connected(LOCAL_RAY, 3):
        from simulations.crews.actors import RayTeam  # noqa: PLC0415 - Ray is imported with its settings

        one, two = (ReplayingCrew(RayTeam(worker, size, print_nothing), worker.task, print_nothing) for size in (1, 2))
        return _measured(Rounds(worker), LocalCrew(worker), one, two, runs)


def _measured(rounds: Rounds, local: Crew, one: Crew, two: Crew, runs: int) -> list[Row]:
    everybody, few = range(_DEVICES), range(2)
    for crew in (local, one, two):
        rounds.seconds(crew, everybody)  # what is paid once: compiling, products of a device's examples
    double, single, costs = [], [], []
    for _ in range(runs):
        double.append(rounds.seconds(two, everybody))
        single.append(rounds.seconds(one, everybody))
        costs.extend(rounds.seconds(two, few) - rounds.seconds(local, few[:1]) for _ in range(_SMALL_ROUNDS))
    return [
        compare(f"round of {_DEVICES} devices, two workers", double, single, against="one worker"),
        compare("what Ray costs a round", costs, [_EXPECTED] * len(costs), against="what was expected"),
    ]


def print_nothing(text: str) -> None:
    """Who joins is of no interest here."""


if __name__ == "__main__":
    run(__doc__, pairs)
