"""Tasks and messages for models that read words or characters in order."""

from __future__ import annotations

import numpy as np

from fl_client.training import models
from fl_client.training.training import Examples
from privacy.features.rows import Sequences
from privacy.task.task import InputSpec, LocalSgd, LocalTraining, SequenceSpec, TaskSpec
from tests.support.tasks import make_task

WORDS = SequenceSpec(unit="words", vocabulary=40, length=9)
CHARACTERS = SequenceSpec(unit="characters", vocabulary=30, length=12)

SHIPPED = {"word-embedding": WORDS, "character-cnn": CHARACTERS}

METHODS = {
    "sgd": LocalSgd(epochs=1, batch_size=4, learning_rate=0.3),
    "epochs": LocalSgd(epochs=3, batch_size=3, learning_rate=0.1),
    "noisy": LocalTraining(
        steps=3, sampling_rate=0.6, expected_batch=2.0, learning_rate=0.3, message_clip=0.4, message_noise=0.3
    ),
    "clipped": LocalTraining(
        steps=2, sampling_rate=1.0, expected_batch=4.0, learning_rate=0.5, message_clip=0.05, message_noise=0.0
    ),
}


def reading_task(architecture: str, features: InputSpec, training: LocalSgd | LocalTraining) -> TaskSpec:
    return make_task(features=features, model=models.model_spec(architecture, features), training=training)


def readers(spec: SequenceSpec, sizes: list[int], seed: int = 0) -> list[Examples]:
    """Messages in which tokens repeat, some empty."""
    source, found = np.random.default_rng(seed), []
    for size in sizes:
        lengths = source.integers(0, spec.length + 1, size)
        numbers = source.integers(1, min(8, spec.vocabulary), lengths.sum(), dtype=np.int32)
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        labels = source.integers(2, size=size).astype(np.float32)
        found.append(Examples(Sequences(spec.length, starts, numbers), labels))
    return found
