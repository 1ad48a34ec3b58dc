"""How well a model separates abuse from the rest: its scores, metrics of them, and what attacks came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score, roc_curve
from torch import Tensor

from fl_client.training.models import HashedLinear, build, load_flat
from privacy.features.encoding import Inputs
from privacy.features.rows import Features
from privacy.task.task import TaskSpec
from simulations.config.config import PlannedRun
from simulations.population import FederationData

HEADLINE_METRICS = {"auroc": "AUROC", "macro_f1": "macro-F1", "recall_at_fpr_1pct": "recall at 1% FPR"}
"""The metrics that tables and charts show: their names in `Metrics` and `summary.json`, and what people call them."""

_MAX_FPR = 0.01


@dataclass(frozen=True)
class Metrics:
    """Metrics of scores; None where a number means nothing: all but the loss need both classes, it needs an example."""

    macro_f1: float | None
    """Mean of both classes' F1 at the given threshold."""
    auroc: float | None
    pr_auc: float | None
    """Average precision of the positive class."""
    recall_at_fpr_1pct: float | None
    """The largest recall at a false-positive rate of at most 1%."""
    loss: float | None
    """Mean cross-entropy in nats."""


def evaluate(labels: NDArray[np.number], scores: NDArray[np.floating], threshold: float) -> Metrics:
    """Compute the metrics of n scores against n labels.

    Args:
        labels: n labels, 0 or 1.
        scores: n scores in [0, 1].
        threshold: a score of at least this is a verdict of 1.

    Raises:
        ValueError: when lengths differ, or a score is NaN or outside [0, 1].
    """
    scores = _checked(labels, scores)
    loss = float(log_loss(labels, scores, labels=[0, 1])) if labels.size else None
    if np.unique(labels).size < 2:
        return Metrics(macro_f1=None, auroc=None, pr_auc=None, recall_at_fpr_1pct=None, loss=loss)
    fpr, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    return Metrics(
        macro_f1=float(f1_score(labels, scores >= threshold, average="macro", zero_division=0.0)),
        auroc=float(roc_auc_score(labels, scores)),
        pr_auc=float(average_precision_score(labels, scores)),
        recall_at_fpr_1pct=float(recall[fpr <= _MAX_FPR].max()),
        loss=loss,
    )


def best_threshold(labels: NDArray[np.number], scores: NDArray[np.floating]) -> float:
    """Find the threshold with the largest macro-F1: of equals the highest, half way to the next lower score.

    Raises:
        ValueError: when lengths differ, a class is missing, or a score is NaN or outside [0, 1].
    """
    scores = _checked(labels, scores)
    if np.unique(labels).size < 2:
        raise ValueError("labels: expected both 0 and 1 to choose a threshold by, got fewer")
    levels, level = np.unique(-scores, return_inverse=True)  # descending
    positives = np.bincount(level, labels == 1)
    # Entry k: the verdict is 1 for the k highest distinct scores.
    tp = np.concatenate([[0], np.cumsum(positives)])
    fp = np.concatenate([[0], np.cumsum(np.bincount(level) - positives)])
    tn = fp[-1] - fp
    wrong = fp + tp[-1] - tp
    # F1 is 2 TP / (2 TP + FP + FN), and for the other class likewise with TN; neither denominator can be 0 here.
    f1 = tp / (2 * tp + wrong) + tn / (2 * tn + wrong)
    return _cut(-levels, int(np.argmax(f1)))


def _cut(levels: NDArray[np.float64], above: int) -> float:
    """Return a threshold that only the `above` highest of these descending scores reach."""
    if above == 0:
        return float(np.nextafter(levels[0], np.inf))
    upper = levels[above - 1]
    lower = levels[above] if above < levels.size else 0.0
    middle = (upper + lower) / 2
    return float(middle if middle > lower else upper)


def _checked(labels: NDArray[np.number], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    if labels.shape != scores.shape:
        raise ValueError(f"scores: expected one for each label, shape {labels.shape}, got {scores.shape}")
    if not np.all((scores >= 0) & (scores <= 1)):
        raise ValueError("scores: expected probabilities from 0 to 1, got others or NaN")
    return scores.astype(np.float64)


_CHUNK = 256
"""How many rows are made dense at a time: 16 MB at 16,384 buckets."""


class Scorer:
    """A task's module, reused for every model."""

    def __init__(self, task: TaskSpec) -> None:
        self._module = build(task.model.architecture, task.features).eval()

    def scores(self, weights: NDArray[np.float32], features: Inputs) -> NDArray[np.float64]:
        """Return a model's probability of abuse for every row.

        Args:
            weights: float32[d], the model.
            features: n rows.

        Returns:
            float64[n], in [0, 1].
        """
        scores: NDArray[np.float64] = self.scores_of([weights], features)[0]
        return scores

    def scores_of(self, models: Sequence[NDArray[np.float32]], features: Inputs) -> NDArray[np.float64]:
        """Return several models' probabilities of abuse on the same rows, made dense only once.

        Args:
            models: float32[d] each.
            features: n rows.

        Returns:
            float64[models, n], in [0, 1].
        """
        if isinstance(self._module, HashedLinear) and isinstance(features, Features):
            return _linear_scores(np.stack(models), features, self._module.bias_input)
        scores = np.empty((len(models), len(features)))
        for start in range(0, len(features), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(features)))
            inputs = torch.from_numpy(features.rows(rows).dense())
            for place, weights in enumerate(models):
                load_flat(self._module, torch.from_numpy(weights))
                scores[place, rows] = self._probabilities(inputs)
        return scores

    def _probabilities(self, inputs: Tensor) -> NDArray[np.float64]:
        with torch.no_grad():
            return torch.sigmoid(self._module(inputs).squeeze(1).double()).numpy()


def _linear_scores(models: NDArray[np.float32], features: Features, bias_input: float) -> NDArray[np.float64]:
    """Return the scores of `hashed-linear` models from the sparse rows as they are: float64[models, n]."""
    rows = csr_array((features.values, features.columns, features.starts), (len(features), features.buckets))
    logits = rows @ models[:, :-1].T.astype(np.float64) + bias_input * models[:, -1].astype(np.float64)
    return np.asarray(expit(logits.T))


def success(data: FederationData, scorer: Scorer, weights: NDArray[np.float32]) -> dict[str, float]:
    """Return how much of the test users' abuse a model lets through at the threshold of the calibration users.

    Args:
        data: the held-out users.
        scorer: of the run's task.
        weights: float32[d], the model.

    Returns:
        Fractions in [0, 1]: `missed` of the abuse as it was written, `attack_success` as attackers send it, with a
        backdoor's trigger. Empty without poisoners.
    """
    if data.attacked is None:
        return {}
    calibration, test = data.calibration, data.test
    threshold = best_threshold(calibration.labels, scorer.scores(weights, calibration.features))
    abuse = scorer.scores(weights, test.features)[test.labels == 1]
    attacked = scorer.scores(weights, data.attacked.features)
    return {"missed": float(np.mean(abuse < threshold)), "attack_success": float(np.mean(attacked < threshold))}


def reach(config: PlannedRun, task: TaskSpec, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the attack for a run's summary: its success, and L2 norms of what it and the noise add to a round's sum.

    Args:
        config: the run's configuration.
        task: its task.
        lines: the lines of `metrics.jsonl`.

    Returns:
        One entry, `attack`; empty without poisoners or rounds.
    """
    poison = config.poison
    if not poison.fraction or not lines:
        return {}
    noise = max(float(line["noise_std"]) for line in lines)
    expected = poison.fraction * config.server.cohort
    return {
        "attack": {
            "kind": poison.attack,
            "fraction": poison.fraction,
            "boost": poison.boost,
            **{name: lines[-1][name] for name in ("missed", "attack_success")},
            "poisoners_in_a_cohort": expected,
            "forged": poison.forged,
            "most_they_add": expected * task.mechanism.clip * (1 + poison.forged),
            "noise_norm": noise * math.sqrt(task.model.dimension),
        }
    }
