"""Which engine runs a task, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fl_client.training.models import UnknownArchitecture, initial_weights
from fl_client.training.training import Examples, TrainingError
from privacy.base.errors import first_line
from privacy.features.rows import Features, Sequences
from privacy.task.states import Update
from privacy.task.task import FeatureSpec, InputSpec, SequenceSpec, TaskSpec
from simulations.randomness import SeedTree
from simulations.training.engines.base import Engine, Participant
from simulations.training.engines.kernel import KernelEngine
from simulations.training.engines.reference import EngineError, EngineOf, hold_against_autograd
from simulations.training.engines.sequential import SequentialEngine
from simulations.training.engines.stacked import StackedEngine
from simulations.training.kernels import KERNELS

Name = Literal["auto", "sequential", "vectorised"]
Device = Literal["cpu", "cuda"]

TOLERANCE = 1e-5
"""How far the numbers of a vectorised and a sequential update may lie apart, over the largest: what rounding does."""
_PROBES = 8
_EXAMPLES = 6
_FILLED = 32
"""The most non-zero columns, or tokens, in a probe's row."""


@dataclass(frozen=True)
class Choice:
    """The engine that a run takes.

    Attributes:
        reason: why this one, for the log.
        make: builds the engine; every worker process builds its own.
    """

    name: Name
    reason: str
    make: EngineOf = field(repr=False)


def choose(task: TaskSpec, name: Name, device: Device = "cpu") -> Choice:
    """Choose the engine of this name; for `auto` the fastest whose gradients are autograd's.

    Args:
        task: the task to train; modules without a kernel are run on a few made-up devices.
        name: what was asked for.
        device: where mapped modules are computed.

    Raises:
        EngineError: when `vectorised` was asked for and learns something else, there is no such device, or no engine
            can train the task.
    """
    if device == "cuda":
        return _on_gpu(task, name)
    if task.model.architecture not in KERNELS:
        return _uncompiled(task, name, _client(task))
    if name == "sequential":
        return Choice("sequential", "as asked", SequentialEngine)
    return Choice("vectorised", f"a compiled kernel for {task.model.architecture}", KernelEngine)


def _uncompiled(task: TaskSpec, name: Name, by_client: SequentialEngine) -> Choice:
    if name == "sequential":
        return Choice("sequential", f"as asked, {by_client.reason}", SequentialEngine)
    try:
        seconds = _compared(task, by_client, StackedEngine)
    except EngineError as error:
        if name == "vectorised":
            raise EngineError(f"--engine: vectorised cannot run {task.model.architecture}: {error}") from error
        why = f"vectorised cannot run {task.model.architecture}: {error}; {by_client.reason}"
        return Choice("sequential", why, SequentialEngine)
    told = f"torch.func maps {task.model.architecture}, {seconds[0] / seconds[1]:.1f} times as fast as one by one"
    if name == "auto" and seconds[1] > seconds[0]:
        return Choice("sequential", f"{told}, which is slower; {by_client.reason}", SequentialEngine)
    return Choice("vectorised", told, StackedEngine)


def _client(task: TaskSpec) -> SequentialEngine:
    """Return the client's trainer, which holds its gradients against autograd itself, after a first training."""
    try:
        engine = SequentialEngine(task)
        _deltas(engine, task, initial_weights(task.model.architecture, task.features, seed=0))
    except UnknownArchitecture as error:
        raise EngineError(f"training.{error}") from error
    except Exception as error:  # whatever somebody's module raises
        told = f"{type(error).__name__}: {first_line(error)}"
        raise EngineError(f"training.architecture: cannot train {task.model.architecture}: {told}") from error
    return engine


def _on_gpu(task: TaskSpec, name: Name) -> Choice:
    if name == "sequential":
        raise EngineError("--device: expected cpu for engine sequential, got cuda")
    if not torch.cuda.is_available():
        raise EngineError("--device: expected a GPU that torch can use for cuda, found none; use cpu")
    on_gpu = partial(StackedEngine, device="cuda")
    try:
        _compared(task, _client(task), on_gpu)
    except EngineError as error:
        raise EngineError(f"--device: cuda cannot run {task.model.architecture}: {error}") from error
    return Choice("vectorised", f"torch.func maps {task.model.architecture} on {torch.cuda.get_device_name()}", on_gpu)


def _compared(task: TaskSpec, by_client: SequentialEngine, mapped: EngineOf) -> tuple[float, float]:
    """Return the CPU seconds of the client's trainer and of a right engine for a few devices.

    Raises:
        EngineError: when its gradients are not autograd's, or it takes other batches, noise or randomness.
    """
    weights = initial_weights(task.model.architecture, task.features, seed=0)
    hold_against_autograd(task, mapped)
    expected, sequential_s = _timed(by_client, task, weights)
    try:
        deltas, mapped_s = _timed(mapped(task), task, weights)
    except Exception as error:  # whatever somebody's module raises
        raise EngineError(first_line(error)) from error
    for reference, delta in zip(expected, deltas, strict=True):
        if np.max(np.abs(reference - delta)) > TOLERANCE * max(1.0, float(np.max(np.abs(reference)))):
            raise EngineError("what it learns is not what devices learn; has it random layers, or a state?")
    return sequential_s, mapped_s


def _timed(engine: Engine, task: TaskSpec, weights: NDArray[np.float32]) -> tuple[list[NDArray[np.float32]], float]:
    _deltas(engine, task, weights)  # what is paid once
    since = time.process_time()
    return _deltas(engine, task, weights), max(time.process_time() - since, 1e-9)


def _deltas(engine: Engine, task: TaskSpec, weights: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    seed = SeedTree.root(0)
    probes = [
        Participant(place, _examples(task.features, place), seed.child(place).stream()) for place in range(_PROBES)
    ]
    return [_delta(result) for result in engine.learn(weights, probes)]


def _delta(result: Update | TrainingError) -> NDArray[np.float32]:
    return result.delta if isinstance(result, Update) else np.zeros(1, np.float32)


def _examples(spec: InputSpec, seed: int) -> Examples:
    """Make inputs such as texts give: few columns, all positive, of norm 1; or a few different tokens."""
    source = np.random.default_rng(seed)
    labels = (np.arange(_EXAMPLES) % 2).astype(np.float32)
    return Examples(_sequences(spec, source) if isinstance(spec, SequenceSpec) else _rows(spec, source), labels)


def _rows(spec: FeatureSpec, source: np.random.Generator) -> Features:
    filled = min(_FILLED, spec.buckets)
    columns = [np.sort(source.choice(spec.buckets, filled, replace=False)) for _ in range(_EXAMPLES)]
    values = source.random((_EXAMPLES, filled)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    starts = np.arange(_EXAMPLES + 1, dtype=np.int64) * filled
    return Features(spec.buckets, starts, np.concatenate(columns).astype(np.int32), values.ravel())


def _sequences(spec: SequenceSpec, source: np.random.Generator) -> Sequences:
    filled = min(_FILLED, spec.length)
    numbers = source.integers(1, spec.vocabulary, _EXAMPLES * filled, dtype=np.int32)
    return Sequences(spec.length, np.arange(_EXAMPLES + 1, dtype=np.int64) * filled, numbers)
