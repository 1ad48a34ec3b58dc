"""What a simulated device costs: against pfl-research, Opacus and Flower, in large cohorts, under the whole protocol,
and against what this core's arithmetic and memory would allow.

    python benchmarks/simulation.py                        # a table, without Flower's rows
    python benchmarks/simulation.py --json                 # one object
    python benchmarks/simulation.py --rows flower flat     # these groups of rows
    python benchmarks/simulation.py --rows flower-large --runs 2

CPU time on one thread, medians of pairs measured in turn, of the same devices with the same local steps. Tasks: T, word
embedding 16,384 x 32, mean, 64, 1 (526,465 parameters), texts of 5 to 30 words; S, linear on 1,024 hashed n-grams of 30
to 60 a message; C, character CNN (256 x 16, 64 filters of 5) on 128 characters; each with 20 to 60 messages a device,
a cohort of 100, one epoch of batches of 16, central noise. D: T and S with per-example clipping and noise as Opacus
does it, 3 steps. M: the default model and training. "any module" is the generic path, "kernel" the compiled one of the
known architectures.

* pfl, opacus: ours is a whole central round over its cohort: randomness, training, clipping, sum, noise,
  decoding. pfl's rows are left out where it is not installed (see pfl_peer.py).
* flower, flower-large: the same against Flower's own simulation in one Ray actor, with 100 and 1,000 nodes, and with
  all of 1,000 in the cohort (see flower_peer.py); CPU time of all its processes, Ray's included.
* flat: M in cohorts of 10,000 and 100 of a generated population of a million (see simulation_flat.py).
* secure: M under the whole protocol against its sum alone (see simulation_secure.py).
* run: a whole `fl-sim run` against an earlier checkout, which AGAINST names (see simulation_run.py).
* floor: T, S and C against what their arithmetic and memory must cost (see simulation_floor.py).

Beside Flower and the floor, a figure of ours is the mean of ten rounds in a row: one alone would find its memory gone
from the cache. In the first four groups, the ratio says how many times less CPU ours is; in the others, how many times
more.
"""

from __future__ import annotations

import sys

import simulation_flat
import simulation_floor
import simulation_run
import simulation_secure
from flower_peer import FlowerPeer
from measure import Measure, Row, run_chosen
from opacus_peer import Ghost
from pfl_peer import PflPeer, available
from simulation_rounds import Ours, Trained, pair
from simulation_tasks import SGD, devices_of, dp_sgd, task_of

from simulations.processes.workers import one_thread
from simulations.training.engines.kernel import KernelEngine
from simulations.training.engines.sequential import SequentialEngine
from simulations.training.engines.stacked import StackedEngine


def against_pfl(runs: int) -> list[Row]:
    if not available():
        print("pfl is not installed: its rows are left out", file=sys.stderr)
        return []
    rows = []
    for name in ("T", "S", "C"):
        task, own = task_of(name, SGD), devices_of(name, 20, 60)
        generic = SequentialEngine(task) if name == "C" else StackedEngine(task)
        way = "one by one" if name == "C" else "mapped"
        any_module, kernel = Ours(task, generic, own).round, Ours(task, KernelEngine(task), own).round
        peer = PflPeer(task, own).round
        rows.append(pair(f"{name}, any module ({way})", any_module, peer, "pfl 0.6", runs=runs))
        rows.append(pair(f"{name}, kernel", kernel, peer, "pfl 0.6", runs=runs))
    task, own = task_of("T", SGD, 1_000), devices_of("T", 20, 60, 1_000)
    kernel, peer = Ours(task, KernelEngine(task), own).round, PflPeer(task, own).round
    rows.append(pair("T, kernel, cohort 1,000", kernel, peer, "pfl 0.6", runs=runs, cohort=1_000))
    return rows


def against_opacus(runs: int) -> list[Row]:
    rows = []
    for name in ("T", "S"):
        task, own = task_of(name, dp_sgd(3, 0.4, 1.0)), devices_of(name, 20, 60)
        kernel, hooks = Ours(task, KernelEngine(task), own).round, Trained(task, SequentialEngine(task), own).round
        rows.append(pair(f"D on {name}, kernel", kernel, hooks, "Opacus hooks, training alone", runs=runs))
        ghost = Ghost(task, own).round
        rows.append(pair(f"D on {name}, kernel", kernel, ghost, "Opacus ghost clipping, training alone", runs=runs))
    task, own = task_of("M", dp_sgd(5, 1.0, 0.0)), devices_of("M", 1, 20)
    kernel, hooks = Ours(task, KernelEngine(task), own).round, Trained(task, SequentialEngine(task), own).round
    rows.append(pair("M, kernel", kernel, hooks, "Opacus hooks, training alone", runs=runs))
    return rows


def against_flower(runs: int) -> list[Row]:
    return [_against_flower(nodes, 100, runs) for nodes in (100, 1_000)]


def against_flower_at_large(runs: int) -> list[Row]:
    return [_against_flower(1_000, 1_000, runs)]


def _against_flower(nodes: int, cohort: int, runs: int) -> Row:
    task, own = task_of("T", SGD, cohort), devices_of("T", 20, 60, nodes)[:cohort]
    kernel = Ours(task, KernelEngine(task), own).ten_rounds
    with FlowerPeer(nodes, cohort) as flower:
        name = f"T, kernel, {nodes:,} nodes, cohort {cohort:,}"
        return pair(name, kernel, flower.round, "Flower 1.41 on Ray", runs=runs, cohort=cohort)


GROUPS: dict[str, Measure] = {
    "pfl": against_pfl,
    "opacus": against_opacus,
    "flower": against_flower,
    "flower-large": against_flower_at_large,
    "flat": simulation_flat.rows,
    "secure": simulation_secure.rows,
    "run": simulation_run.rows,
    "floor": simulation_floor.rows,
}


if __name__ == "__main__":
    one_thread()
    run_chosen(__doc__, GROUPS, default=["pfl", "opacus", "flat", "secure", "floor"])
