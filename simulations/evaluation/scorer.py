"""Scores of a model on many examples, in chunks, on the architecture that devices train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_client.training.features import Inputs
from fl_client.training.models import build, load_flat
from privacy.task.task import TaskSpec

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
        found: NDArray[np.float64] = self.scores_of([weights], features)[0]
        return found

    def scores_of(self, models: Sequence[NDArray[np.float32]], features: Inputs) -> NDArray[np.float64]:
        """Of several models, float32[d] each, on the same rows, made dense only once: float64[models, n]."""
        found = np.empty((len(models), len(features)))
        for start in range(0, len(features), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(features)))
            inputs = torch.from_numpy(features.rows(rows).dense())
            for place, weights in enumerate(models):
                load_flat(self._module, torch.from_numpy(weights))
                found[place, rows] = self._probabilities(inputs)
        return found

    def _probabilities(self, inputs: Tensor) -> NDArray[np.float64]:
        with torch.no_grad():
            return torch.sigmoid(self._module(inputs).squeeze(1).double()).numpy()
