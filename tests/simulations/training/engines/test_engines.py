"""Every engine gives what the client's trainer gives, clipping and noise included."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from fl_client.training import models
from fl_client.training.models import WordEmbedding
from fl_client.training.training import Examples, TrainingError
from privacy.features.rows import Sequences
from privacy.task.states import Update
from privacy.task.task import FeatureSpec, LocalSgd, SequenceSpec, Statistic, TaskSpec
from simulations.randomness import SeedTree
from simulations.training.engines import Engine, EngineError, Participant, choose
from simulations.training.engines.base import NOT_FINITE
from simulations.training.engines.choice import TOLERANCE
from simulations.training.engines.kernel import KernelEngine
from simulations.training.engines.lookups import Lookups
from simulations.training.engines.sequential import SequentialEngine
from simulations.training.engines.stacked import StackedEngine
from simulations.training.kernels import KERNELS
from tests.support.learning import BUCKETS, Tokens, examples, learning_task, mlp, normalised_mlp, registry_of_its_own
from tests.support.reading import METHODS, SHIPPED, WORDS, readers, reading_task

SEED = SeedTree.root(77)


class Convolution(nn.Module):
    """A row as a signal."""

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        self.signal = nn.Conv1d(1, 3, 5)
        self.output = nn.Linear(3, 1)
        self._size = features.buckets

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(torch.relu(self.signal(rows.unsqueeze(1))).amax(2))
        return logits


class Recurrent(nn.Module):
    """A row as a sequence."""

    def __init__(self, features: FeatureSpec) -> None:  # noqa: ARG002 - as every factory
        super().__init__()
        self.cell = nn.RNN(1, 3, batch_first=True)
        self.output = nn.Linear(3, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(self.cell(rows.unsqueeze(2))[0][:, -1])
        return logits


class Attention(nn.Module):
    """A row as four tokens that look at each other."""

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        self.width = features.buckets // 4
        self.query = nn.Linear(self.width, self.width)
        self.key = nn.Linear(self.width, self.width)
        self.value = nn.Linear(self.width, self.width)
        self.norm = nn.LayerNorm(self.width)
        self.output = nn.Linear(self.width, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        tokens = rows.unflatten(1, (4, self.width))
        scores = self.query(tokens) @ self.key(tokens).transpose(1, 2) / self.width**0.5
        mixed = self.norm(tokens + torch.softmax(scores, 2) @ self.value(tokens))
        logits: torch.Tensor = self.output(mixed.mean(1))
        return logits


class Moody(nn.Module):
    """Control flow on data."""

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        self.output = nn.Linear(features.buckets, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(rows)
        return logits * 2 if bool(rows.sum() > 1e6) else logits


class Forgetful(nn.Module):
    """A random layer."""

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        self.output = nn.Linear(features.buckets, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(nn.functional.dropout(rows, 0.5, self.training))
        return logits


MAPPED = {"mlp": mlp, "tokens": Tokens, "convolution": Convolution, "attention": Attention}
REFUSED = {"moody": Moody, "forgetful": Forgetful}


@pytest.fixture(autouse=True, scope="module")
def registry() -> Iterator[None]:
    with registry_of_its_own():
        for name, factory in {
            **MAPPED,
            **REFUSED,
            "normalised": normalised_mlp,
            "gated": Gated,
            "tied": Tied,
        }.items():
            models.register(name, factory)
        yield


def devices(sizes: list[int], scale: float = 1.0) -> list[Examples]:
    source = np.random.default_rng(3)
    rows = [
        scale * np.abs(source.normal(size=(size, BUCKETS))) * (source.random((size, BUCKETS)) < 0.5) for size in sizes
    ]
    return [examples(own, source.integers(2, size=len(own))) for own in rows]


def participants(own: list[Examples], seed: int = 0) -> list[Participant]:
    return [Participant(place, held, SEED.child(seed, place).stream()) for place, held in enumerate(own)]


def updates_of(engine: Engine, task: TaskSpec, own: list[Examples]) -> list[Update]:
    start = 0.3 * models.initial_weights(task.model.architecture, task.features, seed=4) + 0.01
    results = list(engine.learn(start, participants(own)))
    assert all(isinstance(result, Update) for result in results)
    return [result for result in results if isinstance(result, Update)]


def assert_same(task: TaskSpec, engine: Engine, own: list[Examples]) -> None:
    for expected, update in zip(
        updates_of(SequentialEngine(task), task, own), updates_of(engine, task, own), strict=True
    ):
        scale = max(1.0, float(np.abs(expected.delta).max()))
        assert np.abs(expected.delta - update.delta).max() <= TOLERANCE * scale
        assert update.delta.dtype == np.float32
        assert update.statistics == pytest.approx(expected.statistics, rel=1e-5)


TRAININGS = [
    {"learning_rate": 0.5},
    {"learning_rate": 0.5, "message_clip": 0.3},
    {"learning_rate": 0.5, "message_clip": 0.3, "message_noise": 0.7},
    {"learning_rate": 0.2, "sampling_rate": 0.4, "expected_batch": 3.0, "message_noise": 0.2},
]


@pytest.mark.parametrize("bias_input", [0.05, 1.0])
@pytest.mark.parametrize("training", TRAININGS, ids=["plain", "clipped", "noisy", "sampled"])
def test_the_linear_kernel_learns_what_opacus_learns(training: dict[str, float], bias_input: float) -> None:
    task = learning_task("hashed-linear", BUCKETS, steps=5, bias_input=bias_input, **training)
    assert_same(task, KernelEngine(task), devices([7, 1, 0, 12, 3], scale=2.0))
    assert_same(task, StackedEngine(task), devices([7, 1, 0, 12, 3], scale=2.0))


@pytest.mark.parametrize("architecture", MAPPED)
@pytest.mark.parametrize("training", TRAININGS, ids=["plain", "clipped", "noisy", "sampled"])
def test_any_module_that_can_be_mapped_learns_what_opacus_learns(architecture: str, training: dict[str, float]) -> None:
    task = learning_task(architecture, BUCKETS, steps=3, **training)
    assert_same(task, StackedEngine(task), devices([4, 1, 0, 6]))


class Gated(nn.Module):
    """A recurrent layer over the vectors of words."""

    def __init__(self, features: SequenceSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(features.vocabulary, 5)
        self.cell = nn.GRU(5, 6, batch_first=True)
        self.output = nn.Linear(6, 1)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(self.cell(self.embedding(numbers))[0][:, -1])
        return logits


class Tied(nn.Module):
    """Its table is used twice, once not as a lookup: nothing may be taken out of it."""

    def __init__(self, features: SequenceSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(features.vocabulary, 5)
        self.again = nn.Linear(5, features.vocabulary, bias=False)
        self.again.weight = self.embedding.weight

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.again(self.embedding(numbers).mean(1)).logsumexp(1, keepdim=True)
        return logits


READERS = {**SHIPPED, "gated": WORDS, "tied": WORDS}
READ = [
    (architecture, method)
    for architecture in READERS
    for method, training in METHODS.items()
    # Opacus knows recurrent layers of its own only.
    if architecture != "gated" or isinstance(training, LocalSgd)
]


@pytest.mark.long
@pytest.mark.parametrize(("architecture", "method"), READ)
def test_models_of_sequences_learn_what_the_clients_trainer_learns(architecture: str, method: str) -> None:
    task = reading_task(architecture, READERS[architecture], METHODS[method])
    own = readers(READERS[architecture], [5, 0, 9, 1, 13])
    if architecture in KERNELS:
        assert_same(task, KernelEngine(task), own)
    assert_same(task, StackedEngine(task), own)


@pytest.mark.long
@given(
    st.sampled_from(sorted(KERNELS)),
    st.sampled_from(sorted(METHODS)),
    st.lists(st.integers(0, 20), min_size=1, max_size=6),
    st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_kernels_learn_the_same_from_any_sizes(architecture: str, method: str, sizes: list[int], seed: int) -> None:
    spec = READERS.get(architecture, FeatureSpec(buckets=BUCKETS))
    task = reading_task(architecture, spec, METHODS[method])
    own = readers(spec, sizes, seed) if isinstance(spec, SequenceSpec) else devices(sizes, scale=0.1 + seed / 100)
    assert_same(task, KernelEngine(task), own)


@pytest.mark.parametrize("architecture", sorted(KERNELS))
def test_kernels_train_every_device_alone_to_the_bit(architecture: str) -> None:
    spec = READERS.get(architecture, FeatureSpec(buckets=BUCKETS))
    task = reading_task(architecture, spec, METHODS["sgd"])
    own = readers(spec, [5, 3, 8]) if isinstance(spec, SequenceSpec) else devices([5, 3, 8])
    together = updates_of(KernelEngine(task), task, own)
    for place in range(3):
        start = 0.3 * models.initial_weights(task.model.architecture, task.features, seed=4) + 0.01
        (alone,) = KernelEngine(task).learn(start, [participants(own)[place]])
        assert isinstance(alone, Update)
        assert alone.delta.tobytes() == together[place].delta.tobytes()


def test_tables_that_are_used_twice_stay_whole() -> None:
    assert Lookups.of(reading_task("tied", WORDS, METHODS["sgd"])).names == []
    assert Lookups.of(reading_task("gated", WORDS, METHODS["sgd"])).names == ["embedding.weight"]


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=9), st.integers(1, 8), st.floats(0.01, 5.0), st.integers(0, 99)
)
@settings(max_examples=25, deadline=None)
def test_sizes_and_scales_do_not_matter(sizes: list[int], steps: int, clip: float, seed: int) -> None:
    task = learning_task("hashed-linear", BUCKETS, steps=steps, message_clip=clip, learning_rate=0.3)
    own = devices(sizes, scale=0.1 + seed / 100)
    assert_same(task, KernelEngine(task), own)


def test_statistics_are_the_same() -> None:
    names = ("examples", "loss", "correct")
    statistics = tuple(Statistic(name=name, bound=50.0, sensitivity_fraction=0.1) for name in names)
    for architecture, engine in (("hashed-linear", KernelEngine), ("mlp", StackedEngine)):
        task = learning_task(architecture, BUCKETS).model_copy(update={"statistics": statistics})
        assert_same(task, engine(task), devices([5, 0, 9]))


def test_devices_do_not_depend_on_who_trains_beside_them() -> None:
    task = learning_task("hashed-linear", BUCKETS, steps=3, learning_rate=0.5)
    own = devices([3, 9, 5] * 40)
    together = updates_of(KernelEngine(task), task, own)
    start = 0.3 * models.initial_weights("hashed-linear", task.features, seed=4) + 0.01
    for place in (0, 1, 65, 119):
        (alone,) = KernelEngine(task).learn(start, [participants(own)[place]])
        assert isinstance(alone, Update)
        assert np.abs(alone.delta - together[place].delta).max() < 1e-6


@pytest.mark.parametrize(("architecture", "engine"), [("hashed-linear", KernelEngine), ("mlp", StackedEngine)])
def test_a_device_that_diverges_fails_alone(architecture: str, engine: type[KernelEngine | StackedEngine]) -> None:
    task = learning_task(architecture, BUCKETS, steps=4, learning_rate=3e38, message_clip=1e6)
    start = models.initial_weights(architecture, task.features, 1)
    results = engine(task).learn(start, participants(devices([9, 0, 9], scale=9.0)))
    assert [type(result) for result in results] == [TrainingError, Update, TrainingError]


def test_a_short_batch_is_not_padded_with_the_messages_of_a_device_that_diverges() -> None:
    task = reading_task("word-embedding", WORDS, METHODS["sgd"])
    start = models.initial_weights("word-embedding", WORDS, seed=1)
    start[5 * WordEmbedding.WIDTH : 6 * WordEmbedding.WIDTH] = 3e38  # only the first device has this word
    many, few = (
        Examples(
            Sequences(WORDS.length, 2 * np.arange(count + 1), np.full(2 * count, word, np.int32)),
            np.ones(count, np.float32),
        )
        for count, word in ((13, 5), (6, 3))
    )
    first, second = StackedEngine(task).learn(start, participants([many, few]))
    assert first is NOT_FINITE
    (alone,) = StackedEngine(task).learn(start, participants([many, few])[1:])
    assert isinstance(second, Update)
    assert isinstance(alone, Update)
    assert np.abs(second.delta - alone.delta).max() < 1e-6


def test_what_is_left_of_the_randomness_is_the_same() -> None:
    """The mechanism draws from it next."""
    task = learning_task("hashed-linear", BUCKETS, steps=3, sampling_rate=0.5, message_noise=0.1)
    rests = []
    for engine in (SequentialEngine(task), KernelEngine(task), StackedEngine(task)):
        own = participants(devices([4, 2]))
        list(engine.learn(np.zeros(task.model.dimension, np.float32), own))
        rests.append([participant.rng.token(16) for participant in own])
    assert rests[0] == rests[1] == rests[2]


@pytest.mark.parametrize(
    ("architecture", "engine"),
    [("hashed-linear", KernelEngine), ("mlp", StackedEngine), ("attention", StackedEngine)],
)
def test_vectorised_is_what_was_asked_for(architecture: str, engine: type[Engine]) -> None:
    choice = choose(learning_task(architecture, BUCKETS), "vectorised")
    assert choice.name == "vectorised"
    assert choice.make is engine


@pytest.mark.parametrize("architecture", REFUSED)
def test_modules_that_cannot_be_mapped_fall_back_and_say_why(architecture: str) -> None:
    task = learning_task(architecture, BUCKETS)
    choice = choose(task, "auto")
    assert choice.name == "sequential"
    assert f"vectorised cannot run {architecture}: " in choice.reason
    with pytest.raises(EngineError, match=f"--engine: vectorised cannot run {architecture}"):
        choose(task, "vectorised")


def test_a_batch_that_is_read_as_a_whole_is_refused_for_privacy() -> None:
    with pytest.raises(models.UnknownArchitecture, match="its logit for a row depends on the other rows"):
        learning_task("normalised", BUCKETS)


def test_sequential_is_always_possible() -> None:
    assert choose(learning_task("moody", BUCKETS), "sequential").make is SequentialEngine
