"""Small valid tasks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privacy.release.files import model_digest
from privacy.task.task import (
    AggregationPolicy,
    Budget,
    DeviceMechanism,
    FeatureSpec,
    Fleet,
    InitialModel,
    LocalTraining,
    ModelSpec,
    ParameterSpec,
    PoissonParticipation,
    ServerOptimiser,
    SimulationOnly,
    TaskSpec,
)


def make_task(dimension: int = 8, **changes: object) -> TaskSpec:
    """A small valid task; `changes` replace whole sections."""
    layout = changes.get("model")
    size = layout.dimension if isinstance(layout, ModelSpec) else dimension
    sections: dict[str, object] = {
        "name": "abuse",
        "initial": stated(np.zeros(size, np.float32)),
        "population": "test-population",
        "model": ModelSpec(architecture="test", parameters=(ParameterSpec(name="weight", shape=(dimension,)),)),
        "features": FeatureSpec(buckets=16),
        "training": LocalTraining(
            steps=1, sampling_rate=1.0, expected_batch=8.0, learning_rate=1.0, message_clip=1.0, message_noise=0.0
        ),
        "mechanism": DeviceMechanism(clip=1.0, noise_multiplier=1.0),
        "optimiser": ServerOptimiser(learning_rate=1.0, momentum=0.5),
        "participation": PoissonParticipation(population=100, sampling_rate=0.1),
        "aggregation": usual_policy(10),
        "budget": Budget(epsilon=8.0, delta=1e-5),
        "rounds": 10,
        "randomness": "seeded",
    }
    return TaskSpec(**{**sections, **changes})  # type: ignore[arg-type]


def stated(weights: NDArray[np.float32]) -> InitialModel:
    """What a task says of the model that it begins with."""
    return InitialModel(digest=model_digest(weights))


def usual_policy(cohort: int) -> AggregationPolicy:
    """One device of 20 may be corrupt, and three of ten may drop out."""
    return AggregationPolicy(
        corrupt_fraction=0.05,
        max_dropouts=cohort * 3 // 10,
        min_survivors=max(2, cohort * 3 // 10 + 1),
        modulus_bits=32,
    )


def make_extrapolated_task(*, trusted: bool = False, **changes: object) -> TaskSpec:
    """Cohorts of 10 of 100 with the noise of cohorts of 500 of 1,000,000, in two shards, at a multiplier of 1."""
    small = make_task()
    fleet = Fleet(
        population=1_000_000,
        participation=PoissonParticipation(population=1_000_000, sampling_rate=500 / 1_000_000),
        aggregation=small.aggregation.model_copy(update={"shards": 2}),
        noise_multiplier=1.0,
        epsilon=8.0,
    )
    noise = fleet.noise_for(small.participation, small.aggregation, by_server=False)
    sections: dict[str, object] = {
        "simulation": SimulationOnly(fleet=fleet, trusted_aggregator=trusted),
        "mechanism": DeviceMechanism(clip=1.0, noise_multiplier=noise),
        "budget": Budget(delta=1e-5),
        **changes,
    }
    return make_task(**sections)  # type: ignore[arg-type]
