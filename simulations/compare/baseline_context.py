"""What the baselines of one seed have in common with its federation: messages, start weights and judges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from sklearn.metrics import roc_auc_score

from fl_client.training.training import Examples
from privacy.task.task import TaskSpec
from simulations.compare.methods import METRICS
from simulations.compare.pooling import held
from simulations.compare.preparing import PreparedSeed
from simulations.compare.training import Weights
from simulations.evaluation.metrics import Scorer, best_threshold, evaluate
from simulations.randomness import SeedTree
from simulations.runs.run import start_weights

Figures = dict[str, float | None]
"""By the names of `METRICS`."""


@dataclass(frozen=True)
class BaselineContext:
    """Attributes:
    start: float32[d], where the federation starts too.
    held: the messages of each device that has some, after the last round.
    """

    task: TaskSpec
    start: Weights = field(repr=False)
    held: Sequence[Examples] = field(repr=False)
    calibration: Examples = field(repr=False)
    test: Examples = field(repr=False)
    seed: SeedTree
    scorer: Scorer = field(repr=False)

    @classmethod
    def of(cls, prepared: PreparedSeed) -> BaselineContext:
        task, data = prepared.task, prepared.data
        return cls(
            task=task,
            start=start_weights(prepared.federated),
            held=held(data.population, task.rounds),
            calibration=data.calibration,
            test=data.test,
            seed=prepared.federated.seeds.child("compare"),
            scorer=Scorer(task),
        )

    def calibrated(self, models: Sequence[Weights]) -> float:
        """Mean AUROC on the calibration users; NaN where a score is no number."""
        scores = self.scorer.scores_of(models, self.calibration.features)
        if not np.isfinite(scores).all():
            return math.nan
        return float(np.mean([roc_auc_score(self.calibration.labels, one) for one in scores]))

    def evaluate_models(self, models: Sequence[Weights]) -> list[Figures]:
        """On the test users, each model with the threshold that is best on the calibration users."""
        choosing = self.scorer.scores_of(models, self.calibration.features)
        scores = self.scorer.scores_of(models, self.test.features)
        thresholds = [best_threshold(self.calibration.labels, one) for one in choosing]
        found = [asdict(evaluate(self.test.labels, *one)) for one in zip(scores, thresholds, strict=True)]
        return [{name: one[name] for name in METRICS} for one in found]
