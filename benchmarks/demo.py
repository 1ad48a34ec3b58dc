"""What the rooms around local training cost: a whole federation against its local training alone.

    python benchmarks/demo.py            # a table
    python benchmarks/demo.py --json     # one object

The federation is the one of `make demo`: 1,000 devices, an expected cohort of 64, 30 rounds, secure aggregation for
real, ledger, evaluation, report. The peer is Opacus training alone for as many devices, in one process: what any
framework must spend. CPU seconds of all processes, medians of pairs measured in turn; the wall time is given besides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Row, compare, run
from processes import tree_seconds

from fl_client.training.training import LocalTrainer
from privacy.base.randomness import SystemRandomness
from simulations.config.config import load_config
from simulations.runs.run import prepare

_PERIOD = 0.1
"""Seconds between two looks."""


def federation(directory: Path) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds of all processes, and how many device-rounds there were."""
    schedule = ["--rounds", "30", "--cohort", "64"]
    command = [sys.executable, "-m", "simulations", "run", "--seed", "1", *schedule, "--force", "--out", str(directory)]
    started, cpu = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        while process.poll() is None:  # its workers' parent is not waited for, so what they cost is asked until the end
            cpu = tree_seconds(process.pid)
            time.sleep(_PERIOD)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    wall = time.perf_counter() - started
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return wall, cpu, sum(json.loads(line)["cohort"] for line in lines)


def training_alone(device_rounds: int) -> float:
    """CPU seconds of local training for as many devices of the same population."""
    prepared = prepare(load_config(None, {"seed": 1, "server.rounds": 30, "server.cohort": 64}))
    trainer, rng = LocalTrainer(prepared.task), SystemRandomness()
    weights = np.zeros(prepared.task.model.dimension, np.float32)
    population = prepared.data.population
    started = time.process_time()
    for number in range(device_rounds):
        trainer.train(weights, population.of(number % population.devices, 1), rng)
    return time.process_time() - started


def pairs(runs: int) -> list[Row]:
    walls, ours, peers = [], [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as scratch:
            wall, cpu, device_rounds = federation(Path(scratch) / "run")
        walls.append(wall)
        ours.append(cpu)
        peers.append(training_alone(device_rounds))
    return [
        compare("CPU", ours, peers, against="Opacus training of the same devices, nothing else"),
        compare("wall", walls, [60.0] * runs, against="the target"),
    ]


if __name__ == "__main__":
    run(__doc__, pairs)
