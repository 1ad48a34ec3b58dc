"""Modules of many kinds are trained by DP-SGD as autograd would, in 64 bits and one row at a time, or are refused.

By default one of each kind is trained; with `-m long`, its variants too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fl_client.training.models import UnknownArchitecture, build, model_spec, register
from fl_client.training.training import Examples, LocalTrainer
from privacy.base.randomness import Randomness
from privacy.features.rows import Sequences
from privacy.task.task import LocalSgd, LocalTraining, TaskSpec
from simulations.randomness import SeedTree
from tests.support.learning import registry_of_its_own
from tests.support.tasks import make_task
from tests.support.zoo import REFUSED, SPEC, TRAINED

CLIP = 0.05
TEXTS = ([3, 3, 3, 7, 3], [], [5, 5, 0, 5], [1, 2, 3, 4, 5, 6, 7, 8], [23], [9, 1, 9, 1, 9, 1, 9, 1])
DP_SGD = LocalTraining(
    steps=1, sampling_rate=1.0, expected_batch=1.0, learning_rate=1.0, message_clip=CLIP, message_noise=0.0
)


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    with registry_of_its_own():
        yield


def task_of(name: str, training: LocalTraining | LocalSgd = DP_SGD) -> TaskSpec:
    register("zoo", TRAINED[name])
    return make_task(features=SPEC, model=model_spec("zoo", SPEC), training=training)


def written(*texts: list[int]) -> Examples:
    starts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    numbers = np.array([number for text in texts for number in text], np.int32)
    return Examples(Sequences(SPEC.length, starts, numbers), np.arange(len(texts)).astype(np.float32) % 2)


def weights_of(task: TaskSpec) -> NDArray[np.float32]:
    """None is zero, as they are after a round."""
    return np.random.default_rng(5).normal(0, 0.4, task.model.dimension).astype(np.float32)


def rng() -> Randomness:
    return SeedTree.root(3).stream()


def clipped_sum(task: TaskSpec, weights: NDArray[np.float32], examples: Examples) -> NDArray[np.float64]:
    """The sum of the clipped gradients of single rows, float64[d]; layers that draw begin with the device's seed."""
    module = build("zoo", SPEC).double()
    nn.utils.vector_to_parameters(torch.from_numpy(weights).double(), module.parameters())
    total = np.zeros(task.model.dimension)
    seed = int.from_bytes(rng().token(8), "little")
    for row in range(len(examples)):
        torch.manual_seed(seed)
        logit = module(torch.from_numpy(examples.features.dense()[row : row + 1])).double().squeeze()
        loss = nn.functional.softplus(logit) - float(examples.labels[row]) * logit
        module.zero_grad()
        torch.autograd.backward(loss)
        parts = [
            torch.zeros_like(value) if value.grad is None else value.grad.to_dense() for value in module.parameters()
        ]
        gradient = np.concatenate([part.numpy().ravel() for part in parts])
        total += gradient * min(1.0, CLIP / (np.linalg.norm(gradient) + 1e-6))
    return total


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if ", " in name else []) for name in TRAINED]
)
def test_every_kind_is_trained_as_by_autograd(name: str) -> None:
    task = task_of(name)
    trainer, weights = LocalTrainer(task), weights_of(task)
    # What is drawn for a row depends on the rows before it: modules that draw are compared on one row at a time.
    devices = [written(text) for text in TEXTS] if "drop" in name else [written(*TEXTS), written(*TEXTS[:2])]
    for examples in devices:
        expected = clipped_sum(task, weights, examples)
        found = -trainer.train(weights, examples, rng()).delta
        assert np.abs(found - expected).max() <= 2e-4 * np.abs(expected).max() + 2e-7
    assert not trainer.train(weights, written(), rng()).delta.any()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRAINED)
def test_every_kind_is_trained_by_plain_sgd(name: str) -> None:
    task = task_of(name, LocalSgd(epochs=2, batch_size=4, learning_rate=0.1))
    trainer, weights = LocalTrainer(task), weights_of(task)
    assert trainer.train(weights, written(*TEXTS), rng()).delta.any()
    assert not trainer.train(weights, written(), rng()).delta.any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_every_other_kind_is_refused_before_anything_is_trained(name: str) -> None:
    factory, reason = REFUSED[name]
    register("zoo", factory)
    with pytest.raises(UnknownArchitecture, match=f"'zoo': .*({reason})"):
        model_spec("zoo", SPEC)


def test_there_are_enough_kinds() -> None:
    assert len(TRAINED) + len(REFUSED) >= 60
