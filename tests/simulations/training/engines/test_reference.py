"""Every engine's gradients are held against autograd's, and the right engine is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from fl_client.training import models
from fl_client.training.training import Examples, LocalTrainer
from privacy.features.rows import Sequences
from privacy.task.states import Update
from privacy.task.task import LocalSgd, LocalTraining, TaskSpec
from simulations.randomness import SeedTree
from simulations.training.engines import Engine, EngineError, Participant, choose
from simulations.training.engines.kernel import KernelEngine
from simulations.training.engines.reference import hold_against_autograd
from simulations.training.engines.sequential import SequentialEngine
from simulations.training.engines.stacked import StackedEngine
from simulations.training.kernels import KERNELS
from tests.support.learning import BUCKETS, learning_task, registry_of_its_own
from tests.support.reading import SHIPPED, reading_task
from tests.support.tasks import make_task
from tests.support.zoo import SPEC, TRAINED

TRAININGS: dict[str, LocalTraining | LocalSgd] = {
    "dp-sgd": LocalTraining(
        steps=2, sampling_rate=0.7, expected_batch=2.0, learning_rate=0.2, message_clip=0.3, message_noise=0.1
    ),
    "sgd": LocalSgd(epochs=2, batch_size=2, learning_rate=0.2),
}
TEXTS = [[3, 3, 3, 7, 3], [], [5, 5, 0, 5], [1, 2, 3, 4, 5, 6, 7, 8], [23]]
TELLING = (
    "embedding, padding 0",
    "table tied to the output",
    "convolution, circular",
    "layer norm without bias",
    "gru",
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    with registry_of_its_own():
        yield


def zoo_task(name: str, method: str) -> TaskSpec:
    models.register("zoo", TRAINED[name])
    return make_task(features=SPEC, model=models.model_spec("zoo", SPEC), training=TRAININGS[method])


def written(first: int, last: int) -> Examples:
    texts = TEXTS[first:last]
    starts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    numbers = np.array([number for text in texts for number in text], np.int32)
    return Examples(Sequences(SPEC.length, starts, numbers), np.arange(len(texts)).astype(np.float32) % 2)


def moves(engine: Engine, weights: np.ndarray) -> list[np.ndarray]:
    own = [written(0, 5), written(2, 3), written(0, 0), written(1, 4)]
    participants = [Participant(place, held, SeedTree.root(place).stream()) for place, held in enumerate(own)]
    found = [result.delta for result in engine.learn(weights, participants) if isinstance(result, Update)]
    assert len(found) == len(own)
    return found


def learns_the_same_or_is_refused(name: str, method: str) -> None:
    task = zoo_task(name, method)
    choice = choose(task, "auto")
    weights = np.random.default_rng(5).normal(0, 0.4, task.model.dimension).astype(np.float32)
    expected = moves(SequentialEngine(task), weights)
    try:
        hold_against_autograd(task, StackedEngine)
    except EngineError:
        assert choice.make is SequentialEngine
    else:
        for found, wanted in zip(moves(StackedEngine(task), weights), expected, strict=True):
            assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max() + 1e-6


@pytest.mark.long
@pytest.mark.parametrize("method", TRAININGS)
@pytest.mark.parametrize("name", TELLING)
def test_mapped_modules_learn_what_devices_learn_or_are_refused(name: str, method: str) -> None:
    learns_the_same_or_is_refused(name, method)


@pytest.mark.long
@pytest.mark.parametrize("method", TRAININGS)
@pytest.mark.parametrize("name", sorted(set(TRAINED) - set(TELLING)))
def test_every_kind_learns_what_devices_learn_or_is_refused(name: str, method: str) -> None:
    learns_the_same_or_is_refused(name, method)


@pytest.mark.parametrize("method", TRAININGS)
@pytest.mark.parametrize("architecture", sorted(KERNELS))
def test_kernels_move_along_autograds_gradients(architecture: str, method: str) -> None:
    if architecture in SHIPPED:
        task = reading_task(architecture, SHIPPED[architecture], TRAININGS[method])
    else:
        task = learning_task(architecture, BUCKETS).model_copy(update={"training": TRAININGS[method]})
    hold_against_autograd(task, KernelEngine)


def test_where_opacus_is_wrong_the_right_engine_is_taken() -> None:
    task = zoo_task("table tied to the output", "dp-sgd")
    assert LocalTrainer(task).reason.endswith("gradients of table.weight (Embedding) are not autograd's")
    assert choose(task, "vectorised").make is StackedEngine
    assert "one example at a time: Opacus' gradients of" in choose(task, "sequential").reason


def test_what_cannot_be_mapped_is_trained_by_devices_all_the_same() -> None:
    choice = choose(zoo_task("gru", "dp-sgd"), "auto")
    assert choice.make is SequentialEngine
    assert "vectorised cannot run zoo: " in choice.reason
    assert "one example at a time: Opacus cannot compute them" in choice.reason


def changed(change: Callable[[Tensor], Tensor]) -> Callable[[TaskSpec], Engine]:
    class Changed(StackedEngine):
        """Wrong in the gradient of one parameter."""

        def _clipped(self, training, stacked, batch):  # type: ignore[no-untyped-def]
            return {
                **(found := super()._clipped(training, stacked, batch)),
                "table.weight": change(found["table.weight"]),
            }

    return Changed


@pytest.mark.parametrize(
    "change",
    [lambda value: value * 1.01, lambda value: value.roll(1, 1), lambda value: value + 1e-3, torch.zeros_like],
    ids=["a little longer", "of the next token", "all a little", "none"],
)
def test_an_engine_that_is_wrong_is_refused_with_the_layers_name(change: Callable[[Tensor], Tensor]) -> None:
    task = zoo_task("embedding", "dp-sgd")
    hold_against_autograd(task, StackedEngine)
    with pytest.raises(EngineError, match=r"its gradients of table.weight \(Embedding\) are not autograd's"):
        hold_against_autograd(task, changed(change))


class Loose(StackedEngine):
    """Takes twice the clip."""

    def __init__(self, task: TaskSpec) -> None:
        training = task.training
        assert isinstance(training, LocalTraining)
        twice = training.model_copy(update={"message_clip": 2 * training.message_clip})
        super().__init__(task.model_copy(update={"training": twice}))


def test_an_engine_with_another_clip_is_refused() -> None:
    with pytest.raises(EngineError, match="are not autograd's"):
        hold_against_autograd(zoo_task("embedding", "dp-sgd"), Loose)
