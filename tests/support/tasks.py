"""Small valid tasks."""

from __future__ import annotations

from privacy.task import (
    AggregationPolicy,
    Budget,
    DeviceMechanism,
    FeatureSpec,
    LocalTraining,
    ModelSpec,
    ParameterSpec,
    PoissonParticipation,
    TaskSpec,
)


def make_task(dimension: int = 8, **changes: object) -> TaskSpec:
    """A small valid task; `changes` replace whole sections."""
    sections: dict[str, object] = {
        "name": "abuse",
        "population": "test-population",
        "model": ModelSpec(architecture="test", parameters=(ParameterSpec(name="weight", shape=(dimension,)),)),
        "features": FeatureSpec(buckets=16),
        "training": LocalTraining(
            steps=1, sampling_rate=1.0, expected_batch=8.0, learning_rate=1.0, message_clip=1.0, message_noise=0.0
        ),
        "mechanism": DeviceMechanism(clip=1.0, noise_multiplier=1.0),
        "participation": PoissonParticipation(population=100, sampling_rate=0.1),
        "aggregation": AggregationPolicy(corrupt_share=0.05, dropout_share=0.3, min_survivors=2, modulus_bits=32),
        "budget": Budget(epsilon=8.0, delta=1e-5),
        "rounds": 10,
        "randomness": "seeded",
    }
    return TaskSpec(**{**sections, **changes})  # type: ignore[arg-type]
