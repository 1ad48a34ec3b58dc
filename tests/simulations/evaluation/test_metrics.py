"""Known answers, brute force, and what happens when a class is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from fl_client.training.models import build, load_flat
from privacy.features.encoding import encode_texts
from privacy.features.rows import Features
from privacy.task.task import FeatureSpec
from simulations.evaluation.metrics import Metrics, Scorer, best_threshold, evaluate
from tests.support.reading import METHODS, reading_task

LABELS = np.array([0, 0, 1, 1], np.int8)
SCORES = np.array([0.1, 0.4, 0.35, 0.8])

EXAMPLES = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2, max_size=25).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)
Rows = list[tuple[bool, float]]


def arrays(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in rows], np.int8), np.array([score for _, score in rows], np.float64)


def macro_f1(labels: np.ndarray, verdicts: np.ndarray) -> float:
    f1 = []
    for kind in (0, 1):
        right = np.sum((labels == kind) & (verdicts == kind))
        f1.append(2 * right / (np.sum(labels == kind) + np.sum(verdicts == kind)))
    return float(np.mean(f1))


def test_known_answers() -> None:
    """By hand: of 4 pairs 3 are in order; precision is 1 at recall 1/2 and 2/3 at recall 1."""
    result = evaluate(LABELS, SCORES, 0.5)
    assert result.auroc == pytest.approx(3 / 4)
    assert result.pr_auc == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert result.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert result.recall_at_fpr_1pct == pytest.approx(1 / 2)
    assert result.loss == pytest.approx(-np.mean(np.log([0.9, 0.6, 0.35, 0.8])))


def test_recall_allows_one_false_positive_in_a_hundred() -> None:
    labels = np.repeat([0, 1], [100, 4])
    scores = np.concatenate([np.linspace(0, 0.5, 98), [0.7, 0.9], [0.95, 0.8, 0.6, 0.1]])
    assert evaluate(labels, scores, 0.5).recall_at_fpr_1pct == pytest.approx(2 / 4)


@given(EXAMPLES)
def test_auroc_is_the_fraction_of_pairs_in_order(rows: Rows) -> None:
    labels, scores = arrays(rows)
    pairs = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None, :])
    assert evaluate(labels, scores, 0.5).auroc == pytest.approx(np.mean((pairs + 1) / 2))


@given(EXAMPLES)
def test_no_threshold_beats_the_best(rows: Rows) -> None:
    labels, scores = arrays(rows)
    best = macro_f1(labels, scores >= best_threshold(labels, scores))
    assert best == pytest.approx(max(macro_f1(labels, scores >= cut) for cut in [*scores, math.inf]))


@given(EXAMPLES, st.floats(0, 1))
def test_macro_f1_is_the_mean_of_both_classes(rows: Rows, threshold: float) -> None:
    labels, scores = arrays(rows)
    assert evaluate(labels, scores, threshold).macro_f1 == pytest.approx(macro_f1(labels, scores >= threshold))


def test_the_threshold_keeps_a_distance_from_both_sides() -> None:
    assert best_threshold(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.6])) == pytest.approx(0.4)


def test_neighbouring_floats_are_still_told_apart() -> None:
    lower = 0.5
    upper = float(np.nextafter(lower, 1))
    assert lower < best_threshold(np.array([0, 1]), np.array([lower, upper])) <= upper


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_a_loss_and_nothing_else(label: int) -> None:
    labels = np.full(3, label, np.int8)
    result = evaluate(labels, np.full(3, 0.5), 0.5)
    assert result == Metrics(None, None, None, None, loss=pytest.approx(math.log(2)))
    with pytest.raises(ValueError, match="labels: expected both"):
        best_threshold(labels, np.full(3, 0.5))


def test_no_examples_have_no_metrics() -> None:
    assert evaluate(np.empty(0, np.int8), np.empty(0), 0.5) == Metrics(None, None, None, None, None)


def test_certain_and_wrong_is_a_finite_loss() -> None:
    result = evaluate(np.array([0, 1]), np.array([1.0, 0.0], np.float32), 0.5)
    assert result.loss is not None
    assert math.isfinite(result.loss)


@pytest.mark.parametrize("scores", [[0.1, math.nan], [0.1, 1.5], [-0.1, 0.5], [0.1], [0.1, 0.2, 0.3]])
def test_scores_that_are_no_probabilities_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="scores: expected"):
        evaluate(np.array([0, 1]), np.array(scores), 0.5)
    with pytest.raises(ValueError, match="scores: expected"):
        best_threshold(np.array([0, 1]), np.array(scores))


def test_sparse_rows_score_as_the_module_does_on_dense_ones() -> None:
    task = reading_task("hashed-linear", FeatureSpec(buckets=256), METHODS["sgd"])
    rows = encode_texts(task.features, ["you are a fool", "", "well played everybody, well played"] * 100)
    assert isinstance(rows, Features)
    models = [np.random.default_rng(seed).normal(size=task.model.dimension).astype(np.float32) for seed in (1, 2)]
    module = build(task.model.architecture, task.features).eval()
    for found, weights in zip(Scorer(task).scores_of(models, rows), models, strict=True):
        load_flat(module, torch.from_numpy(weights))
        expected = torch.sigmoid(module(torch.from_numpy(rows.dense())).squeeze(1)).detach().numpy()
        assert found == pytest.approx(expected, abs=1e-6)
