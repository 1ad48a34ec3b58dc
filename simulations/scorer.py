"""Scores of a model on many examples, in chunks, on the architecture that devices train."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fl_client.inputs import Inputs
from fl_client.models import build, load_flat
from privacy.task import TaskSpec

_CHUNK = 256
"""Rows made dense at a time: 16 MB at 16,384 buckets."""


class Scorer:
    """One module, reused for every model of a task."""

    def __init__(self, task: TaskSpec) -> None:
        self._module = build(task.model.architecture, task.features).eval()

    def scores(self, weights: NDArray[np.float32], features: Inputs) -> NDArray[np.float64]:
        """Probability of abuse of every row: float64[n].

        Args:
            weights: float32[d].
        """
        load_flat(self._module, torch.from_numpy(weights))
        starts = range(0, len(features), _CHUNK)
        parts = [self._chunk(features, np.arange(start, min(start + _CHUNK, len(features)))) for start in starts]
        return np.concatenate(parts) if parts else np.empty(0)

    def _chunk(self, features: Inputs, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        with torch.no_grad():
            logits = self._module(torch.from_numpy(features.rows(rows).dense())).squeeze(1)
            return torch.sigmoid(logits.double()).numpy()
