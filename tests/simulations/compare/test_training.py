"""Training on pooled messages is plain SGD and DP-SGD, however it is cut into parts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.training import models
from fl_client.training.training import Examples, TrainingError
from privacy.task.task import LocalTraining
from simulations.compare import training
from simulations.compare.grids import EPOCHS
from simulations.compare.training import course, dp_sgd
from simulations.randomness import SeedTree
from tests.support.learning import BUCKETS, examples, learning_task, mlp, registry_of_its_own

SEED = SeedTree.root(5)
TASK = learning_task()
START = np.zeros(BUCKETS + 1, np.float32)


def pool(size: int, seed: int = 3) -> tuple[NDArray[np.float64], NDArray[np.int64], Examples]:
    source = np.random.default_rng(seed)
    rows, labels = source.random((size, BUCKETS)) / 4, source.integers(2, size=size)
    return rows, labels, examples(rows, labels)


def dp(steps: int, noise: float) -> LocalTraining:
    return LocalTraining(
        steps=steps, sampling_rate=1.0, expected_batch=12.0, learning_rate=2.0, message_clip=9.0, message_noise=noise
    )


def descended(rows: NDArray[np.float64], labels: NDArray[np.int64], rate: float, steps: int) -> NDArray[np.float64]:
    """Gradient descent on the mean logistic loss, the intercept beside an input of 0.3, written again."""
    inputs, weights = np.hstack([rows, np.full((len(rows), 1), 0.3)]), np.zeros(BUCKETS + 1)
    for _ in range(steps):
        weights -= rate * inputs.T @ (1 / (1 + np.exp(-inputs @ weights)) - labels) / len(rows)
    return weights


def test_where_a_batch_holds_all_messages_a_course_is_gradient_descent() -> None:
    rows, labels, messages = pool(12)
    models_of_course = list(course(TASK, START, messages, 2.0, SEED))
    assert len(models_of_course) == len(EPOCHS)
    for epochs, weights in zip(EPOCHS, models_of_course, strict=True):
        np.testing.assert_allclose(weights, descended(rows, labels, 2.0, epochs), atol=1e-5)


def test_a_course_that_diverges_ends() -> None:
    _, _, messages = pool(12)
    assert len(list(course(TASK, START, messages, 1e60, SEED))) < len(EPOCHS)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_dp_sgd_takes_every_step_once_in_however_many_parts(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    rows, labels, messages = pool(12)
    monkeypatch.setattr(training, "_DRAWN", most * (BUCKETS + 1))
    weights = dp_sgd(TASK, START, messages, dp(7, 0.0), SEED)
    np.testing.assert_allclose(weights, descended(rows, labels, 2.0, 7), atol=1e-5)


@pytest.mark.parametrize("most", [1, 64])
def test_the_noise_of_dp_sgd_is_that_of_all_its_steps_and_never_the_same_twice(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    task, steps, noise = learning_task("hashed-linear", 4_096), 64, 50.0
    start = np.zeros(task.model.dimension, np.float32)
    monkeypatch.setattr(training, "_DRAWN", most * task.model.dimension)
    nothing = examples(np.zeros((0, 4_096)), [], 4_096)
    weights = dp_sgd(task, start, nothing, dp(steps, noise), SEED)
    # Independent draws grow with the root of their number, one draw used again with the number itself.
    expected = 2.0 * noise * 9.0 / 12.0 * np.sqrt(steps)
    assert np.std(weights) == pytest.approx(expected, rel=0.05)


def test_dp_sgd_that_diverges_is_an_error() -> None:
    _, _, messages = pool(12)
    with pytest.raises(TrainingError):
        dp_sgd(TASK, START, messages, dp(7, 0.0).model_copy(update={"learning_rate": 1e60}), SEED)


def test_a_model_without_a_kernel_is_trained_by_the_clients_trainer() -> None:
    _, _, messages = pool(40)
    with registry_of_its_own():
        models.register("mlp", mlp)
        task = learning_task("mlp")
        start = models.initial_weights("mlp", task.features, 1)
        *_, last = course(task, start, messages, 0.5, SEED)
    assert not training.has_kernel(task)
    assert np.isfinite(last).all()
    assert np.abs(last - start).max() > 0.01
