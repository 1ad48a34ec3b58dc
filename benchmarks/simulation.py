"""What a simulated device costs, against pfl-research, Opacus, and the round of the whole protocol.

    python benchmarks/simulation.py            # a table
    python benchmarks/simulation.py --json     # one object

CPU time on one thread, medians of pairs measured in turn, of the same devices with the same local steps. Tasks: T, word
embedding 16,384 x 32, mean, 64, 1 (526,465 parameters), texts of 5 to 30 words; S, linear on 1,024 hashed n-grams of 30
to 60 a message; C, character CNN (256 x 16, 64 filters of 5) on 128 characters; each with 20 to 60 messages a device,
a cohort of 100, one epoch of batches of 16, central noise. D: T and S with per-example clipping and noise as Opacus
does it, 3 steps. M: the default model and training, 1 to 20 messages. "any module" is the generic path, "kernel" the
compiled one of the known architectures. Ours is a whole central round, over its cohort: randomness, training,
clipping, sum, noise, rotation both ways, decoding. The ratio says how many times less CPU that is. pfl's rows are left
out where it is not installed (see benchmarks/pfl_peer.py).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from measure import Row, compare, run
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from pfl_peer import PflPeer, available
from threadpoolctl import threadpool_limits
from torch import nn

from fl_client.features import Features
from fl_client.models import build, initial_weights, load_flat, model_spec
from fl_client.sequences import Sequences
from fl_client.training import Examples
from privacy.mechanism import Mechanism
from privacy.states import Total
from privacy.task import (
    AggregationPolicy,
    Budget,
    DeviceMechanism,
    FeatureSpec,
    InputSpec,
    LocalSgd,
    LocalTraining,
    PoissonParticipation,
    SequenceSpec,
    TaskSpec,
    Training,
)
from simulations import central
from simulations.engines import Engine, Trainee
from simulations.engines.kernel import KernelEngine
from simulations.engines.sequential import SequentialEngine
from simulations.engines.stacked import StackedEngine
from simulations.randomness import SeedTree

COHORT = 100
SEED = SeedTree.root(1)
SGD = LocalSgd(epochs=1, batch_size=16, learning_rate=0.1)
MODELS: dict[str, tuple[str, InputSpec]] = {
    "T": ("word-embedding", SequenceSpec(unit="words", vocabulary=16_384, length=32)),
    "S": ("hashed-linear", FeatureSpec(buckets=1_024)),
    "C": ("character-cnn", SequenceSpec(unit="characters", vocabulary=256, length=128)),
    "M": ("hashed-linear", FeatureSpec()),
}


def dp_sgd(steps: int, rate: float, noise: float) -> LocalTraining:
    return LocalTraining(
        steps=steps,
        sampling_rate=rate,
        expected_batch=16.0,
        learning_rate=0.1,
        message_clip=1.0,
        message_noise=noise,
    )


def task_of(name: str, training: Training, cohort: int = COHORT) -> TaskSpec:
    architecture, features = MODELS[name]
    return TaskSpec(
        name=name,
        population="benchmark",
        model=model_spec(architecture, features),
        features=features,
        training=training,
        mechanism=DeviceMechanism(clip=0.5, noise_multiplier=1.0),
        participation=PoissonParticipation(population=10 * cohort, sampling_rate=0.1),
        aggregation=AggregationPolicy(min_survivors=20, modulus_bits=32),
        budget=Budget(delta=1e-5),
        rounds=10,
        randomness="seeded",
    )


def devices_of(name: str, least: int, most: int, cohort: int = COHORT) -> list[Examples]:
    source = np.random.default_rng(7)
    found = []
    for size in source.integers(least, most + 1, cohort):
        labels = source.integers(0, 2, size).astype(np.float32)
        found.append(Examples(_inputs(MODELS[name][1], int(size), source), labels))
    return found


def _inputs(spec: InputSpec, size: int, source: np.random.Generator) -> Features | Sequences:
    if isinstance(spec, FeatureSpec):
        filled = source.integers(30, 61, size)
        columns = [np.sort(source.choice(spec.buckets, count, replace=False)) for count in filled]
        values = np.concatenate([np.full(count, count**-0.5, np.float32) for count in filled])
        return Features(spec.buckets, _starts(filled), np.concatenate(columns).astype(np.int32), values)
    longest = spec.unit == "characters"
    lengths = np.full(size, spec.length) if longest else source.integers(5, 31, size)
    # Zipf, as words and characters come.
    numbers = np.minimum(source.zipf(1.3, lengths.sum()), spec.vocabulary - 1).astype(np.int32)
    return Sequences(spec.length, _starts(lengths), numbers)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


class Ours:
    """A whole central round, time after time."""

    def __init__(self, task: TaskSpec, engine: Engine, devices: Sequence[Examples]) -> None:
        self._task, self._engine, self._devices = task, engine, devices
        self._weights = initial_weights(task.model.architecture, task.features, seed=1)
        self._number = 0

    def round(self) -> float:
        """CPU seconds."""
        started = time.process_time()
        self._number += 1
        mechanism = Mechanism.for_cohort(self._task, len(self._devices))
        trainees = [
            Trainee(place, one, SEED.child("device", place, "input", self._number).stream())
            for place, one in enumerate(self._devices)
        ]
        sums = np.zeros(self._task.length, np.int64)
        if any(list(central.add(mechanism, self._engine, self._weights, trainees, sums))):
            raise RuntimeError("a device failed")
        whole = central.total(mechanism, sums, len(trainees), bytes(32), SEED.child(self._number))
        mechanism.decode(Total(whole, len(trainees), len(trainees), bytes(32), ""))
        return time.process_time() - started


class Trained:
    """Training alone, with nothing done with the updates."""

    def __init__(self, task: TaskSpec, engine: Engine, devices: Sequence[Examples]) -> None:
        self._engine, self._devices = engine, devices
        self._weights = initial_weights(task.model.architecture, task.features, seed=1)

    def round(self) -> float:
        """CPU seconds."""
        trainees = [Trainee(place, one, SEED.child(place).stream()) for place, one in enumerate(self._devices)]
        started = time.process_time()
        for _ in self._engine.learn(self._weights, trainees):
            pass
        return time.process_time() - started


class Ghost:
    """Opacus' ghost clipping, wrapped once; batches of sixteen in turn, since it cannot take an empty one."""

    def __init__(self, task: TaskSpec, devices: Sequence[Examples]) -> None:
        training = task.training
        if not isinstance(training, LocalTraining):
            raise TypeError("training: expected DP-SGD")
        self._training, self._devices = training, devices
        self._module = GradSampleModuleFastGradientClipping(
            build(task.model.architecture, task.features),
            max_grad_norm=training.message_clip,
            use_ghost_clipping=True,
            loss_reduction="mean",
        )
        self._optimizer = DPOptimizerFastGradientClipping(
            torch.optim.SGD(self._module.parameters(), training.learning_rate),
            noise_multiplier=training.message_noise,
            max_grad_norm=training.message_clip,
            expected_batch_size=int(training.expected_batch),
            loss_reduction="mean",
        )
        self._loss = DPLossFastGradientClipping(
            self._module, self._optimizer, nn.BCEWithLogitsLoss(reduction="mean"), loss_reduction="mean"
        )
        self._start = torch.from_numpy(initial_weights(task.model.architecture, task.features, seed=1))

    def round(self) -> float:
        """CPU seconds."""
        started = time.process_time()
        for one in self._devices:
            load_flat(self._module, self._start)
            inputs, labels = torch.from_numpy(one.features.dense()), torch.from_numpy(one.labels)
            if inputs.is_floating_point():
                inputs.requires_grad_()
            for step in range(self._training.steps):
                batch = (torch.arange(16) + 16 * step) % len(labels)
                self._optimizer.zero_grad()
                self._loss(self._module(inputs[batch]).squeeze(1), labels[batch]).backward()
                self._optimizer.step()
        return time.process_time() - started


def pair(
    name: str, ours: Callable[[], float], peer: Callable[[], float], against: str, *, runs: int, cohort: int = COHORT
) -> Row:
    """Milliseconds a device; what is paid once is paid before."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(runs)]
    scale = 1_000 / cohort
    own, others = [one * scale for one, _ in pairs], [other * scale for _, other in pairs]
    row = compare(name, own, others, against=against, unit="ms")
    row["ratio"] = statistics.median(other / one for one, other in pairs)  # how many times faster
    return row


def against_pfl(runs: int) -> list[Row]:
    rows = []
    for name in ("T", "S", "C"):
        task, own = task_of(name, SGD), devices_of(name, 20, 60)
        generic = SequentialEngine(task) if name == "C" else StackedEngine(task)
        way = "one by one" if name == "C" else "mapped"
        peer = PflPeer(task, own)
        rows.append(
            pair(f"{name}, any module ({way})", Ours(task, generic, own).round, peer.round, "pfl 0.6", runs=runs)
        )
        rows.append(
            pair(f"{name}, kernel", Ours(task, KernelEngine(task), own).round, peer.round, "pfl 0.6", runs=runs)
        )
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


def pairs(runs: int) -> list[Row]:
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if not available():
            print("pfl is not installed: its rows are left out", file=sys.stderr)
        return (against_pfl(runs) if available() else []) + against_opacus(runs)


if __name__ == "__main__":
    run(__doc__, pairs)
