"""Examples, tasks and architectures for tests of local training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from fl_client.training import models
from fl_client.training.training import Examples
from privacy.features.rows import Features
from privacy.task.task import FeatureSpec, LocalTraining, TaskSpec
from tests.support.tasks import make_task

BUCKETS = 16


class Tokens(nn.Module):
    """Reads a row's values as 16 token numbers, repeats and all, and adds up their vectors."""

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        self.table = self.lookup(features.buckets)
        self.output = nn.Linear(4, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(torch.tanh(self.pooled(rows.detach().long().remainder(BUCKETS))))
        return logits

    def lookup(self, size: int) -> nn.Module:
        return nn.Embedding(size, 4)

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.table(tokens)
        return vectors.sum(1)


class Bags(Tokens):
    """The same function, by a layer of which Opacus does not give autograd's gradients."""

    def lookup(self, size: int) -> nn.Module:
        return nn.EmbeddingBag(size, 4, mode="sum")

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.table(tokens.flatten(), torch.arange(0, tokens.numel(), BUCKETS))
        return vectors


def mlp(features: FeatureSpec) -> nn.Module:
    return nn.Sequential(nn.Linear(features.buckets, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 1))


def normalised_mlp(features: FeatureSpec) -> nn.Module:
    return nn.Sequential(
        nn.Linear(features.buckets, 4), nn.BatchNorm1d(4, affine=False, track_running_stats=False), nn.Linear(4, 1)
    )


@contextmanager
def registry_of_its_own() -> Iterator[None]:
    """What is registered inside is forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_ARCHITECTURES", dict(models._ARCHITECTURES))
        yield


def learning_task(
    architecture: str = "hashed-linear", buckets: int = BUCKETS, /, *, bias_input: float = 0.3, **training: float
) -> TaskSpec:
    """One full-batch step of plain, clipped gradients; `training` changes its constants."""
    features = FeatureSpec(buckets=buckets, bias_input=bias_input)
    constants = {
        "steps": 1,
        "sampling_rate": 1.0,
        "expected_batch": 1.0,
        "learning_rate": 1.0,
        "message_clip": 1.0,
        "message_noise": 0.0,
    }
    return make_task(
        features=features,
        model=models.model_spec(architecture, features),
        training=LocalTraining.model_validate({**constants, **training}),
    )


def examples(rows: ArrayLike, labels: Sequence[int] | NDArray[np.int64], buckets: int = BUCKETS) -> Examples:
    """Examples of dense rows, shape (n, buckets)."""
    dense = np.asarray(rows, np.float32).reshape(len(labels), buckets)
    places, columns = np.nonzero(dense)
    starts = np.searchsorted(places, np.arange(len(labels) + 1)).astype(np.int64)
    packed = Features(buckets, starts, columns.astype(np.int32), dense[places, columns])
    return Examples(packed, np.asarray(labels, np.float32))
