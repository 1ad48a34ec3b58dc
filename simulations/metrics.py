"""How well scores tell abuse from the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score, roc_curve

_MAX_FALSE_POSITIVE_RATE = 0.01


@dataclass(frozen=True)
class Metrics:
    """Quality on one set of examples; all but `log_loss` are in [0, 1], higher is better."""

    macro_f1: float
    """Mean of both classes' F1, at the threshold that calibration users chose."""
    auroc: float
    pr_auc: float
    """Average precision."""
    recall_at_fpr_1pct: float
    """The largest share of abuse found while at most 1% of harmless messages are flagged."""
    log_loss: float
    """Mean negative log-likelihood, in nats."""


def evaluate(labels: NDArray[np.float32], scores: NDArray[np.float64], threshold: float) -> Metrics | None:
    """Metrics of scores, the probabilities of abuse; None where not both classes are there to be told apart.

    Args:
        labels: float32[n], 0 or 1.
        scores: float64[n] in [0, 1].
        threshold: scores of at least this count as abuse.
    """
    if np.unique(labels).size < 2:
        return None
    return Metrics(
        macro_f1=float(f1_score(labels, scores >= threshold, average="macro", zero_division=0.0)),
        auroc=float(roc_auc_score(labels, scores)),
        pr_auc=float(average_precision_score(labels, scores)),
        recall_at_fpr_1pct=_recall_at_false_positive_rate(labels, scores, _MAX_FALSE_POSITIVE_RATE),
        log_loss=float(log_loss(labels, scores)),
    )


def best_threshold(labels: NDArray[np.float32], scores: NDArray[np.float64]) -> float:
    """The threshold of the highest macro-F1, halfway between two neighbouring scores.

    Raises:
        ValueError: when not both classes are there.
    """
    positives = float(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        raise ValueError("labels: expected both classes, got one")
    false_rate, true_rate, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    true_positives, false_positives = true_rate * positives, false_rate * negatives
    flagged = true_positives + false_positives
    abuse_f1 = 2 * true_positives / (flagged + positives)
    harmless_f1 = 2 * (negatives - false_positives) / (labels.size - flagged + negatives)
    # Place 0 flags nothing; the last flags everything, and there is no lower score to keep a distance from.
    best = 1 + int(np.argmax((abuse_f1 + harmless_f1)[1:]))
    below = thresholds[best + 1] if best + 1 < thresholds.size else thresholds[best]
    return float((thresholds[best] + below) / 2)


def _recall_at_false_positive_rate(labels: NDArray[np.float32], scores: NDArray[np.float64], limit: float) -> float:
    false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(true_rate[false_rate <= limit].max())
