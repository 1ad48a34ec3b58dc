"""The interval against DeLong's own formula, a bootstrap of users, and how often it holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.special import expit, logit
from scipy.stats import norm, t as student
from sklearn.metrics import roc_auc_score

from simulations.evaluation.interval import auroc_interval


def delong(labels: np.ndarray, scores: np.ndarray) -> float:
    """The variance of DeLong et al. 1988, by every pair."""
    higher = np.array([[(x > y) + 0.5 * (x == y) for y in scores[labels == 0]] for x in scores[labels == 1]])
    return float(np.var(higher.mean(1), ddof=1) / higher.shape[0] + np.var(higher.mean(0), ddof=1) / higher.shape[1])


def deviation(labels: np.ndarray, scores: np.ndarray, users: np.ndarray) -> float:
    """What the interval takes for the AUROC's standard deviation."""
    low, high = auroc_interval(labels, scores, users) or (0.0, 1.0)
    area = roc_auc_score(labels, scores)
    fewest = min(np.unique(users[labels == kind]).size for kind in (0, 1))
    return float((logit(high) - logit(low)) / 2 / student.ppf(0.975, fewest - 1) * area * (1 - area))


def written(rng: np.random.Generator, users: int, alike: float, shift: float) -> tuple[np.ndarray, ...]:
    """Messages of users who differ by `alike`, most of whom abuse nobody; abuse is scored higher by `shift`."""
    sizes = rng.integers(1, 12, users)
    owner = np.repeat(np.arange(users), sizes)
    labels = (rng.random(owner.size) < np.where(rng.random(users) < 0.3, 0.9, 0.02)[owner]).astype(np.int8)
    habit = rng.normal(size=users)[owner] * alike
    return labels, rng.normal(size=owner.size) + habit + shift * labels, owner


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.integers(0, 3))
def test_with_a_message_a_user_it_is_delongs(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, 40)])
    scores = np.round(rng.normal(size=44) + labels, decimals)
    if 0 < roc_auc_score(labels, scores) < 1 and delong(labels, scores) > 0:
        expected = math.sqrt(delong(labels, scores))
        assert deviation(labels, scores, np.arange(44)) == pytest.approx(expected, rel=1e-9)


def test_users_who_resemble_themselves_widen_it_as_a_bootstrap_of_users_does() -> None:
    rng = np.random.default_rng(3)
    labels, scores, owner = written(rng, 200, alike=1.5, shift=1.0)
    areas = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(owner == user) for user in rng.integers(0, 200, 200)])
        areas.append(roc_auc_score(labels[rows], scores[rows]))
    assert deviation(labels, scores, owner) == pytest.approx(float(np.std(areas)), rel=0.2)
    assert deviation(labels, scores, owner) > 1.2 * deviation(labels, scores, np.arange(labels.size))


@pytest.mark.long
@pytest.mark.parametrize("users", [15, 60])
def test_it_holds_the_truth_about_as_often_as_it_says(users: int) -> None:
    rng, alike, shift = np.random.default_rng(5), 1.0, 1.2
    truth = norm.cdf(shift / math.sqrt(2 * (1 + alike**2)))
    held = 0
    for _ in range(400):
        labels, scores, owner = written(rng, users, alike, shift)
        low, high = auroc_interval(labels, scores, owner) or (0.0, 1.0)
        held += low <= truth <= high
    assert held / 400 >= 0.91


def test_four_positives_prove_nothing() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros(1_200, np.int8)
    labels[:4] = 1
    low, high = auroc_interval(labels, expit(rng.normal(size=1_200)), np.arange(1_200)) or (0.5, 0.5)
    assert low < 0.5 < high
    assert high - low > 0.4


def test_ends_where_nothing_varies() -> None:
    labels, users = np.array([0, 0, 0, 1, 1, 1]), np.arange(6)
    low, high = auroc_interval(labels, labels / 2, users) or (0.0, 0.0)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 3)), 1.0)
    assert auroc_interval(labels, 1 - labels / 2, users) == (0.0, pytest.approx(1 - 0.025 ** (1 / 3)))
    assert auroc_interval(labels, labels / 2, np.array([0, 1, 2, 3, 3, 3])) == (0.0, 1.0)
    assert auroc_interval(np.ones(3), np.ones(3), np.arange(3)) is None
