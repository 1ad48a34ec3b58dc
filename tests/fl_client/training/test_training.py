from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from numpy.typing import NDArray
from torch import nn

from fl_client.training import models
from fl_client.training.training import STATISTICS, Examples, LocalTrainer, TrainingError, epochs
from privacy.accounting.accountant import message_level_epsilon
from privacy.base.randomness import Randomness, RandomnessError, uniform_unit
from privacy.task.task import FeatureSpec, LocalSgd, Statistic, TaskSpec
from simulations.randomness import SeedTree
from tests.support.learning import (
    BUCKETS,
    Bags,
    Tokens,
    examples,
    learning_task,
    mlp,
    registry_of_its_own,
)

ARCHITECTURES = ["hashed-linear", "mlp", "token-mlp"]
NOBODY = examples([], [])
MANY = 1 << 14

Gradients = Callable[[NDArray[np.float64], Examples], NDArray[np.float64]]
"""Weights float64[d] and n examples to their gradients float64[n, d]."""


@pytest.fixture(autouse=True, scope="module")
def registry() -> Iterator[None]:
    with registry_of_its_own():
        models.register("mlp", mlp)
        models.register("token-mlp", Tokens)
        yield


def stream(seed: int = 1) -> Randomness:
    return SeedTree.root(seed).stream()


def start_of(task: TaskSpec) -> NDArray[np.float32]:
    return models.initial_weights(task.model.architecture, task.features, seed=5)


def update(task: TaskSpec, data: Examples, rng: Randomness | None = None) -> NDArray[np.float32]:
    return LocalTrainer(task).train(start_of(task), data, rng or stream()).delta


def crowd(size: int, seed: int = 0, scale: float = 1.0) -> Examples:
    """Rows of token numbers from 0 to 15, times `scale`."""
    source = np.random.default_rng(seed)
    return examples(scale * source.integers(0, 16, (size, BUCKETS)), source.integers(0, 2, size))


# Oracles: DP-SGD without noise, example by example, with neither Opacus nor batches.


def descend(task: TaskSpec, data: Examples, gradients: Gradients, rng: Randomness) -> NDArray[np.float64]:
    training, start = task.training, start_of(task).astype(np.float64)
    rng.token(8)  # the seed of the noise
    chosen = uniform_unit(rng, training.steps * len(data)) < training.sampling_rate
    weights = start.copy()
    for batch in chosen.reshape(training.steps, len(data)):
        total = np.zeros_like(weights)
        for gradient in gradients(weights, data)[batch]:
            total += gradient / max(1.0, np.linalg.norm(gradient) / training.message_clip)
        weights -= training.learning_rate * total / training.expected_batch
    return weights - start


def logistic_gradients(bias_input: float) -> Gradients:
    def gradients(weights: NDArray[np.float64], data: Examples) -> NDArray[np.float64]:
        rows = np.hstack([data.features.dense(), np.full((len(data), 1), bias_input)])
        errors = 1 / (1 + np.exp(-rows @ weights)) - data.labels
        return np.asarray(errors[:, None] * rows, np.float64)

    return gradients


def autograd_gradients(task: TaskSpec) -> Gradients:
    module = models.build(task.model.architecture, task.features).double()

    def gradients(weights: NDArray[np.float64], data: Examples) -> NDArray[np.float64]:
        models.load_flat(module, torch.from_numpy(weights))
        rows, labels = torch.from_numpy(data.features.dense()).double(), torch.from_numpy(data.labels).double()
        gradients = [_gradient(module, row, label) for row, label in zip(rows, labels, strict=True)]
        return np.stack(gradients)

    return gradients


def _gradient(module: nn.Module, row: torch.Tensor, label: torch.Tensor) -> NDArray[np.float64]:
    loss = nn.functional.binary_cross_entropy_with_logits(module(row[None]).squeeze(), label)
    parts = torch.autograd.grad(loss, list(module.parameters()))
    return np.concatenate([part.numpy().ravel() for part in parts])


@pytest.mark.parametrize("bias_input", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("scale", [0.02, 1.0])
def test_without_noise_it_is_clipped_logistic_regression(scale: float, bias_input: float) -> None:
    """At the small scale no gradient is clipped but those of the largest intercept, at the large one all are."""
    training = {"steps": 7, "sampling_rate": 0.4, "expected_batch": 3.0, "learning_rate": 0.3, "message_clip": 0.7}
    task = learning_task(bias_input=bias_input, **training)
    expected = descend(task, crowd(12, scale=scale), logistic_gradients(bias_input), stream(2))
    np.testing.assert_allclose(update(task, crowd(12, scale=scale), stream(2)), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_noise_it_clips_every_example_by_itself(architecture: str) -> None:
    task = learning_task(architecture, steps=5, sampling_rate=0.5, expected_batch=4.0, message_clip=0.3)
    data = crowd(9)
    expected = descend(task, data, autograd_gradients(task), stream(3))
    np.testing.assert_allclose(update(task, data, stream(3)), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@settings(max_examples=25)
@given(
    rows=st.lists(st.lists(st.integers(0, 15), min_size=BUCKETS, max_size=BUCKETS), min_size=1, max_size=5),
    labels=st.lists(st.integers(0, 1), min_size=5, max_size=5),
    scale=st.sampled_from([0.01, 1.0, 1e4]),
    clip=st.sampled_from([1e-2, 1.0, 30.0]),
)
@example(rows=[[3] * BUCKETS, [3] * BUCKETS], labels=[1, 0, 0, 0, 0], scale=1.0, clip=1e-2)
def test_no_message_moves_the_sum_by_more_than_the_clip(
    architecture: str, rows: list[list[int]], labels: list[int], scale: float, clip: float
) -> None:
    task = _clipping_task(architecture, clip)
    dense = scale * np.array(rows)
    assert _largest_move(task, examples(dense, labels[: len(rows)])) <= clip * (1 + 1e-4) + 1e-6


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_message_does_move_the_sum_by_the_clip(architecture: str) -> None:
    """So that the bound above says something."""
    assert _largest_move(learning_task(architecture, message_clip=1e-2), crowd(5)) == pytest.approx(1e-2, rel=1e-3)


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_layers_that_opacus_has_wrong_gradients_of_are_trained_right() -> None:
    """Also where the first weights saturate, so that the wrong layer's gradients vanish beside the others'."""
    models.register("bags", Bags)
    bags, tokens = (learning_task(name, message_clip=100.0) for name in ("bags", "token-mlp"))
    for seed in range(8):
        torch.manual_seed(seed)
        assert LocalTrainer(bags).reason.startswith("one example at a time")
    assert LocalTrainer(tokens).reason == "by Opacus"
    np.testing.assert_allclose(update(bags, crowd(5)), update(tokens, crowd(5)), atol=1e-6)


def test_a_model_that_is_another_one_here_is_refused() -> None:
    task = learning_task("token-mlp")
    models.register("token-mlp", mlp)
    with pytest.raises(models.UnknownArchitecture, match="its parameters here are not those of the task"):
        LocalTrainer(task)


@cache
def _clipping_task(architecture: str, clip: float) -> TaskSpec:
    return learning_task(architecture, message_clip=clip)


_trainer, _start_of = cache(LocalTrainer), cache(start_of)


def _largest_move(task: TaskSpec, data: Examples) -> float:
    """How far the update is from the one without an example, at most, over the examples."""
    trainer, start, everyone = _trainer(task), _start_of(task), np.arange(len(data))
    full = trainer.train(start, data, stream()).delta.astype(np.float64)
    moves = []
    for left_out in everyone:
        kept = everyone[everyone != left_out]
        others = Examples(data.features.rows(kept), data.labels[kept])
        moves.append(np.linalg.norm(full - trainer.train(start, others, stream()).delta))
    return float(max(moves))


def test_noise_has_the_promised_spread() -> None:
    """16 independent steps of std noise * clip * rate / batch; 4 standard errors around it."""
    task = learning_task(
        "hashed-linear", MANY, steps=16, learning_rate=0.5, expected_batch=8.0, message_clip=2.0, message_noise=3.0
    )
    noise = update(task, examples([], [], MANY))
    expected = 3.0 * 2.0 * 0.5 / 8.0 * np.sqrt(16)
    assert noise.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * noise.size))
    assert abs(noise.mean()) < 4 * expected / np.sqrt(noise.size)


@pytest.mark.parametrize("steps", [1, 3])
def test_noise_is_added_to_what_is_learnt(steps: int) -> None:
    """On the straight part of the loss: the noise of examples is the noise of no examples."""
    constants = {"steps": steps, "learning_rate": 1e-3, "message_clip": 1e-2}
    quiet, noisy = learning_task(**constants), learning_task(**constants, message_noise=1.0)
    data = crowd(4, scale=0.1)
    np.testing.assert_allclose(update(noisy, data) - update(quiet, data), update(noisy, NOBODY), rtol=0, atol=1e-7)


def test_messages_are_drawn_at_the_public_rate() -> None:
    """Every step that has the message moves the intercept by half the learning rate, times its input."""
    task = learning_task(steps=1_000, sampling_rate=0.25, learning_rate=1e-4)
    intercept = update(task, examples([[0.0] * BUCKETS], [1]))[-1]
    assert intercept / (0.5e-4 * FeatureSpec().bias_input) == pytest.approx(250, abs=4 * np.sqrt(1_000 * 0.25 * 0.75))


@pytest.mark.parametrize("architecture", ["hashed-linear", "mlp"])
def test_without_examples_or_noise_nothing_changes(architecture: str) -> None:
    task = learning_task(architecture, steps=3)
    np.testing.assert_array_equal(update(task, NOBODY), np.zeros(task.model.dimension, np.float32))


@pytest.mark.parametrize("size", [0, 1, 40, 41])
def test_how_many_messages_there_are_changes_neither_steps_nor_noise(size: int) -> None:
    """At a rate that draws none of them: the same bits for 40 messages as for 41, and none."""
    task = learning_task(steps=5, sampling_rate=1e-9, expected_batch=3.0, message_noise=1.0)
    np.testing.assert_array_equal(update(task, crowd(size)), update(task, NOBODY))


@pytest.mark.parametrize("size", [2, 40, 41])
def test_how_many_messages_there_are_does_not_change_the_normaliser(size: int) -> None:
    task = learning_task(expected_batch=8.0)
    message = crowd(1).features.dense()
    single, many = (update(task, examples(np.repeat(message, k, axis=0), [1] * k)) for k in (1, size))
    np.testing.assert_allclose(many, size * single, rtol=1e-5, atol=1e-7)


def test_same_randomness_same_update() -> None:
    task = learning_task(steps=4, sampling_rate=0.5, message_noise=1.0)
    first = update(task, crowd(6), stream(1))
    np.testing.assert_array_equal(update(task, crowd(6), stream(1)), first)
    assert not np.any(update(task, crowd(6), stream(2)) == first)


def test_torch_and_the_model_it_was_given_stay_as_they_were() -> None:
    task = learning_task(steps=2, sampling_rate=0.5, message_noise=1.0)
    trainer, start, before = LocalTrainer(task), start_of(task), torch.get_rng_state()
    trainer.train(start, crowd(6), stream())
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(start, start_of(task))


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_trainer_remembers_no_device(architecture: str) -> None:
    """One trainer for six devices, the third without messages, the fourth failing, gives what fresh ones give."""
    task = learning_task(architecture, steps=3, sampling_rate=0.5, message_noise=0.5)
    trainer, start = LocalTrainer(task), start_of(task)
    devices = [crowd(4, 1), crowd(9, 2), NOBODY, crowd(4, 3), crowd(1, 4), crowd(7, 5)]
    for place, data in enumerate(devices):
        if place == 3:
            with pytest.raises(TrainingError):
                trainer.train(np.full_like(start, np.nan), data, stream(place))
            continue
        fresh = LocalTrainer(task).train(start, data, stream(place)).delta
        np.testing.assert_array_equal(trainer.train(start, data, stream(place)).delta, fresh)


def test_updates_of_one_trainer_share_no_memory() -> None:
    task = learning_task()
    trainer, start = LocalTrainer(task), start_of(task)
    first = trainer.train(start, crowd(4, 1), stream()).delta
    kept = first.copy()
    trainer.train(start, crowd(4, 2), stream())
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_that_is_not_finite_gives_no_update(bad: float) -> None:
    task = learning_task()
    with pytest.raises(TrainingError, match=r"not finite; lower training\.learning_rate"):
        LocalTrainer(task).train(np.full(BUCKETS + 1, bad, np.float32), crowd(3), stream())


def test_diverging_training_gives_no_update() -> None:
    with pytest.raises(TrainingError, match="not finite"):
        update(learning_task(steps=2, learning_rate=1e38, expected_batch=1e-3), crowd(3))


def test_an_architecture_the_host_does_not_know_is_refused_before_training() -> None:
    task = learning_task()
    unknown = task.model_copy(update={"model": task.model.model_copy(update={"architecture": "transformer"})})
    with pytest.raises(models.UnknownArchitecture, match="'transformer'"):
        LocalTrainer(unknown)


@pytest.mark.parametrize("architecture", ["hashed-linear", "mlp"])
@pytest.mark.parametrize("size", [0, 5])
def test_it_trains_without_a_warning(architecture: str, size: int) -> None:
    task = learning_task(architecture, steps=3, sampling_rate=0.3, message_noise=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        update(task, crowd(size))


# Statistics.


def reporting(task: TaskSpec, *names: str) -> TaskSpec:
    return task.model_copy(
        update={"statistics": tuple(Statistic(name=name, bound=64.0, sensitivity_fraction=0.1) for name in names)}
    )


@pytest.mark.parametrize("seed", range(4))
def test_statistics_are_those_of_the_model_that_was_received(seed: int) -> None:
    """Against NumPy, on the whole data once, whatever the steps draw from it."""
    task, data = reporting(learning_task(steps=5, sampling_rate=0.5), *STATISTICS), crowd(13, seed, scale=0.1)
    weights = np.random.default_rng(seed).normal(0, 1, BUCKETS + 1).astype(np.float32)
    statistics = LocalTrainer(task).train(weights, data, stream(seed)).statistics
    logits = np.hstack([data.features.dense(), np.full((13, 1), FeatureSpec().bias_input)]) @ weights.astype(np.float64)
    losses = np.logaddexp(0, logits) - data.labels * logits
    assert statistics["examples"] == 13
    assert statistics["loss"] == pytest.approx(losses.sum(), rel=1e-5)
    assert statistics["correct"] == ((logits > 0) == (data.labels == 1)).sum()
    assert 0 < statistics["correct"] < 13


def test_training_is_the_same_with_statistics_as_without() -> None:
    task, data = learning_task(steps=3, sampling_rate=0.5, message_noise=1.0), crowd(6)
    np.testing.assert_array_equal(update(reporting(task, "loss", "correct"), data), update(task, data))


def test_a_device_without_messages_reports_zeros() -> None:
    task = reporting(learning_task(), *STATISTICS)
    statistics = LocalTrainer(task).train(start_of(task), NOBODY, stream()).statistics
    assert statistics == {"examples": 0.0, "loss": 0.0, "correct": 0.0}


def test_nothing_is_computed_that_no_task_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> dict[str, float]:
        raise AssertionError("statistics were computed")

    monkeypatch.setattr(LocalTrainer, "_statistics", never)
    task = learning_task()
    assert LocalTrainer(task).train(start_of(task), crowd(3), stream()).statistics == {}
    with pytest.raises(AssertionError, match="were computed"):
        update(reporting(task, "loss"), crowd(3))


def test_a_statistic_that_nobody_computes_is_refused_before_training() -> None:
    with pytest.raises(TrainingError, match="statistics: expected examples, loss, correct, got age, sex"):
        LocalTrainer(reporting(learning_task(), "sex", "loss", "age"))


def test_repr_shows_no_example() -> None:
    assert repr(crowd(2)) == "Examples()"


def sgd_task(epochs: int, batch_size: int) -> TaskSpec:
    training = LocalSgd(epochs=epochs, batch_size=batch_size, learning_rate=0.5)
    return learning_task("hashed-linear").model_copy(update={"training": training})


def test_plain_sgd_steps_along_the_mean_gradient_of_each_batch_in_its_random_order() -> None:
    task, own = sgd_task(epochs=2, batch_size=4), crowd(10)
    weights = start_of(task).astype(np.float64)
    rows, labels = np.hstack([own.features.dense(), np.full((10, 1), FeatureSpec().bias_input)]), own.labels
    orders = epochs(task.training, 10, SeedTree.root(3).stream())
    assert len({tuple(range(10)), *map(tuple, orders)}) == 3, "each epoch in a random order of its own"
    for order in orders:
        assert sorted(order) == list(range(10))
        for batch in (order[:4], order[4:8], order[8:]):
            moves = 1 / (1 + np.exp(-(rows[batch] @ weights))) - labels[batch]
            weights -= 0.5 * moves @ rows[batch] / len(batch)
    update = LocalTrainer(task).train(start_of(task), own, SeedTree.root(3).stream())
    assert update.delta == pytest.approx(weights - start_of(task), abs=1e-5)


def test_plain_sgd_promises_nothing_for_a_message() -> None:
    assert message_level_epsilon(sgd_task(1, 4).training, 1, 1e-5) == float("inf")
    assert message_level_epsilon(sgd_task(1, 4).training, 0, 1e-5) == 0


def test_a_device_trains_with_the_source_that_its_task_promises() -> None:
    task = learning_task().model_copy(update={"randomness": "system"})
    with pytest.raises(RandomnessError, match="as the task promises, got a source that is seeded"):
        update(task, NOBODY, stream())
