"""Architectures by name, and those that are known everywhere.

A device builds a module from a name that its host application knows, never from code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_client.training.soundness import Unsound, check_behaviour, check_structure
from privacy.base.errors import first_line
from privacy.release.files import model_digest
from privacy.task.task import FeatureSpec, InitialModel, InputSpec, ModelSpec, ParameterSpec, SequenceSpec, TaskSpec


class WrongInputs(ValueError):
    """An architecture that reads something else than what the task's inputs are."""


def hashed_linear(features: InputSpec) -> nn.Module:
    """Make a logistic regression on the hashed n-grams, which starts at zero."""
    if not isinstance(features, FeatureSpec):
        raise WrongInputs("hashed-linear: expected inputs `ngrams`, got a sequence")
    return HashedLinear(features)


def word_embedding(features: InputSpec) -> nn.Module:
    """Make a model of the mean of the words' vectors, then one hidden layer."""
    return WordEmbedding(_sequence("word-embedding", features))


def character_cnn(features: InputSpec) -> nn.Module:
    """Make a model of patterns of five characters, wherever they stand."""
    return CharacterCnn(_sequence("character-cnn", features))


class HashedLinear(nn.Module):
    """Weights of the buckets, and an intercept: the weight of a constant input beside them."""

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        self.bias_input = features.bias_input
        self.buckets = nn.Linear(features.buckets, 1, bias=False)
        self.intercept = nn.Linear(1, 1, bias=False)
        # A random start would only be noise in buckets that no message ever reaches.
        nn.init.zeros_(self.buckets.weight)
        nn.init.zeros_(self.intercept.weight)

    def start_at(self, base_rate: float) -> None:
        """Let a text of which nothing is known be positive with probability `base_rate`, in (0, 1)."""
        nn.init.constant_(self.intercept.weight, math.log(base_rate / (1 - base_rate)) / self.bias_input)

    def forward(self, rows: Tensor) -> Tensor:
        """Compute logits, float32[n, 1], of rows, float32[n, buckets]."""
        constant = rows.new_full((len(rows), 1), self.bias_input)
        logits: Tensor = self.buckets(rows) + self.intercept(constant)
        return logits


class WordEmbedding(nn.Module):
    """Embedding, mean over the tokens that are there, hidden layer, logit.

    An `nn.EmbeddingBag` would do the same in one layer, but Opacus has no gradients of it where its texts are rows.
    """

    WIDTH, HIDDEN = 32, 64

    def __init__(self, features: SequenceSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(features.vocabulary, self.WIDTH)
        self.hidden = nn.Linear(self.WIDTH, self.HIDDEN)
        self.output = nn.Linear(self.HIDDEN, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        """Compute logits, float32[n, 1], of token numbers, int64[n, length]."""
        present = (numbers > 0).unsqueeze(-1)
        summed = (self.embedding(numbers) * present).sum(1)
        logits: Tensor = self.output(torch.relu(self.hidden(summed / present.sum(1).clamp(min=1))))
        return logits


class CharacterCnn(nn.Module):
    """Embedding, convolution, maximum over places, logit; padding is all zero."""

    WIDTH, CHANNELS, KERNEL = 16, 64, 5

    def __init__(self, features: SequenceSpec) -> None:
        super().__init__()
        if features.length < self.KERNEL:
            raise WrongInputs(f"character-cnn: expected a length of at least {self.KERNEL}, got {features.length}")
        self.embedding = nn.Embedding(features.vocabulary, self.WIDTH)
        self.convolution = nn.Conv1d(self.WIDTH, self.CHANNELS, self.KERNEL)
        self.output = nn.Linear(self.CHANNELS, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        """Compute logits, float32[n, 1], of token numbers, int64[n, length]."""
        vectors = self.embedding(numbers) * (numbers > 0).unsqueeze(-1)
        strongest = self.convolution(vectors.transpose(1, 2)).amax(2)
        logits: Tensor = self.output(torch.relu(strongest))
        return logits


def _sequence(name: str, features: InputSpec) -> SequenceSpec:
    if not isinstance(features, SequenceSpec):
        raise WrongInputs(f"{name}: expected inputs `words` or `characters`, got hashed n-grams")
    return features


Factory = Callable[[Any], nn.Module]
"""Builds a module from the task's `InputSpec`: from float32[n, buckets] rows, or int64[n, length] token numbers, to
float32[n, 1] logits."""


class UnknownArchitecture(ValueError):
    """An architecture that this host application has not registered, or that cannot be trained here."""


_SHIPPED: dict[str, Factory] = {
    "hashed-linear": hashed_linear,
    "word-embedding": word_embedding,
    "character-cnn": character_cnn,
}
_ARCHITECTURES = dict(_SHIPPED)


def register(name: str, factory: Factory) -> None:
    """Make an architecture known under a name.

    Any module will do that `fl_client.training.soundness` lets pass.

    Raises:
        ValueError: when the name is one of those that are known everywhere, and stand for the same module everywhere.
    """
    if name in _SHIPPED:
        raise ValueError(f"architecture: expected a name of your own, {name!r} is that of a model of havenfl's")
    _ARCHITECTURES[name] = factory


def build(architecture: str, features: InputSpec) -> nn.Module:
    """Build the module of a registered name.

    Raises:
        UnknownArchitecture: when it is not registered, reads other inputs, or cannot be trained privately.
    """
    if architecture not in _ARCHITECTURES:
        raise UnknownArchitecture(f"architecture: expected one of {sorted(_ARCHITECTURES)}, got {architecture!r}")
    try:
        return check_structure(_ARCHITECTURES[architecture](features))
    except WrongInputs as error:
        raise UnknownArchitecture(f"architecture {error}") from error
    except Unsound as error:
        raise UnknownArchitecture(f"architecture {architecture!r}: {error}") from error
    except Exception as error:  # whatever somebody's factory raises
        told = f"{type(error).__name__}: {first_line(error)}"
        raise UnknownArchitecture(f"architecture {architecture!r}: its factory failed, {told}") from error


def model_spec(architecture: str, features: InputSpec) -> ModelSpec:
    """Return the layout of an architecture's parameters, in the order in which they are flattened.

    Raises:
        UnknownArchitecture: when `build` refuses it, or the module does not behave as training needs it to.
    """
    try:
        module = check_behaviour(lambda: build(architecture, features), features)
    except Unsound as error:
        raise UnknownArchitecture(f"architecture {architecture!r}: {error}") from error
    layout = tuple(ParameterSpec(name=name, shape=tuple(value.shape)) for name, value in module.named_parameters())
    return ModelSpec(architecture=architecture, parameters=layout)


def initial_weights(
    architecture: str, features: InputSpec, seed: int, base_rate: float | None = None
) -> NDArray[np.float32]:
    """Draw the model before the first round from `seed`: the architecture's own initialisation, float32[d].

    Raises:
        UnknownArchitecture: when a base rate is given for another architecture than `hashed-linear`, whose intercept
            can stand for it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build(architecture, features)
    if base_rate is not None:
        if not isinstance(module, HashedLinear):
            raise UnknownArchitecture(f"base_rate: expected it with hashed-linear alone, got it with {architecture!r}")
        module.start_at(base_rate)
    return to_flat(module).numpy()


def initial_model(architecture: str, features: InputSpec, seed: int, base_rate: float | None = None) -> InitialModel:
    """Return what a task states of `initial_weights`.

    Args:
        architecture: the registered name.
        features: what it reads.
        seed: from 0 to 2^53 - 1.
        base_rate: a public guess of the fraction of positive messages, for `hashed-linear`.
    """
    weights = initial_weights(architecture, features, seed, base_rate)
    return InitialModel(digest=model_digest(weights), seed=seed, base_rate=base_rate)


def start_weights(task: TaskSpec) -> NDArray[np.float32]:
    """Draw the model before the first round as a task states it, float32[d].

    Raises:
        ValueError: when the task has no seed, since its first model is kept in a file.
    """
    if task.initial.seed is None:
        raise ValueError("initial.seed: expected a number, got none: the task's first model is kept in a file")
    return initial_weights(task.model.architecture, task.features, task.initial.seed, task.initial.base_rate)


def load_flat(module: nn.Module, weights: torch.Tensor) -> None:
    """Copy float32[d] into the parameters, in the order of `named_parameters`."""
    parameters = list(module.parameters())
    pieces = torch.split(weights, [parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))


def to_flat(module: nn.Module) -> torch.Tensor:
    """Copy the parameters, in the order of `named_parameters`, into float32[d]."""
    return nn.utils.parameters_to_vector(module.parameters()).detach()
