"""The tasks of `simulation.py`, and the devices that train in them."""

from __future__ import annotations

import numpy as np

from fl_client.training.models import initial_model, model_spec
from fl_client.training.training import Examples
from privacy.features.rows import Features, Sequences
from privacy.task.task import (
    AggregationPolicy,
    Budget,
    DeviceMechanism,
    FeatureSpec,
    InputSpec,
    LocalSgd,
    LocalTraining,
    PoissonParticipation,
    SequenceSpec,
    ServerOptimiser,
    TaskSpec,
    Training,
)

COHORT = 100
SGD = LocalSgd(epochs=1, batch_size=16, learning_rate=0.1)
_MODELS: dict[str, tuple[str, InputSpec]] = {
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
    architecture, features = _MODELS[name]
    return TaskSpec(
        name=name,
        population="benchmark",
        model=model_spec(architecture, features),
        initial=initial_model(architecture, features, seed=1),
        features=features,
        training=training,
        mechanism=DeviceMechanism(clip=0.5, noise_multiplier=1.0),
        optimiser=ServerOptimiser(learning_rate=1.0, momentum=0.9),
        participation=PoissonParticipation(population=10 * cohort, sampling_rate=0.1),
        aggregation=AggregationPolicy(max_dropouts=cohort // 10, min_survivors=20, modulus_bits=32),
        budget=Budget(delta=1e-5),
        rounds=10,
        randomness="seeded",
    )


def devices_of(name: str, least: int, most: int, cohort: int = COHORT) -> list[Examples]:
    source = np.random.default_rng(7)
    devices = []
    for size in source.integers(least, most + 1, cohort):
        labels = source.integers(0, 2, size).astype(np.float32)
        devices.append(Examples(_inputs(_MODELS[name][1], int(size), source), labels))
    return devices


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
