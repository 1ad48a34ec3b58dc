"""What the baselines of a seed have in common with its federation: messages, start weights and held-out users."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from sklearn.metrics import roc_auc_score

from fl_client.training.models import start_weights
from fl_client.training.training import Examples
from privacy.task.task import TaskSpec
from simulations.compare.pooling import held
from simulations.compare.preparing import PreparedSeed
from simulations.compare.training import Weights
from simulations.evaluation.metrics import HEADLINE_METRICS, Scorer, best_threshold, evaluate
from simulations.randomness import SeedTree

Figures = dict[str, float | None]
"""A model's metrics on test users, by the names of `HEADLINE_METRICS`; None where a number means nothing."""


@dataclass(frozen=True)
class BaselineContext:
    """A seed's task, messages and held-out users, which all of its baselines are trained and evaluated with.

    Attributes:
        task: the federation's task.
        start: float32[d], where the federation starts too.
        held: the messages of each device that has some, after the last round.
        calibration: the examples that choose settings and thresholds.
        test: the examples that models are compared on.
        seed: the baselines' part of the seed tree.
        scorer: the task's.
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
        """Collect what the baselines need of a prepared seed."""
        task, data = prepared.task, prepared.data
        return cls(
            task=task,
            start=start_weights(prepared.federated.task),
            held=held(data.population, task.rounds),
            calibration=data.calibration,
            test=data.test,
            seed=prepared.federated.seeds.child("compare"),
            scorer=Scorer(task),
        )

    def calibrated(self, models: Sequence[Weights]) -> float:
        """Return the models' mean AUROC on the calibration users; NaN where a score is no number."""
        calibration = self.scorer.scores_of(models, self.calibration.features)
        if not np.isfinite(calibration).all():
            return math.nan
        return float(np.mean([roc_auc_score(self.calibration.labels, scores) for scores in calibration]))

    def evaluate(self, models: Sequence[Weights]) -> list[Figures]:
        """Evaluate models on the test users, each with the threshold that is best on the calibration users."""
        calibration = self.scorer.scores_of(models, self.calibration.features)
        test = self.scorer.scores_of(models, self.test.features)
        thresholds = [best_threshold(self.calibration.labels, scores) for scores in calibration]
        metrics = [asdict(evaluate(self.test.labels, *pair)) for pair in zip(test, thresholds, strict=True)]
        return [{name: figures[name] for name in HEADLINE_METRICS} for figures in metrics]
