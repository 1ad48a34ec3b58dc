"""The architectures that are known everywhere. None has a layer whose per-sample gradients Opacus gets wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from privacy.task.task import FeatureSpec, InputSpec, SequenceSpec


class WrongInputs(ValueError):
    """An architecture that reads something else than what the task's inputs are."""


def hashed_linear(features: InputSpec) -> nn.Module:
    """Logistic regression on the hashed n-grams."""
    if not isinstance(features, FeatureSpec):
        raise WrongInputs("hashed-linear: expected inputs `ngrams`, got a sequence")
    linear = nn.Linear(features.buckets, 1)
    # A random start would only be noise in buckets that no message ever reaches.
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def word_embedding(features: InputSpec) -> nn.Module:
    """The mean of the words' vectors, then one hidden layer."""
    return WordEmbedding(_sequence("word-embedding", features))


def character_cnn(features: InputSpec) -> nn.Module:
    """Patterns of five characters, wherever they stand."""
    return CharacterCnn(_sequence("character-cnn", features))


class WordEmbedding(nn.Module):
    """Embedding, mean over the tokens that are there, hidden layer, logit: int64[n, length] to float32[n, 1].

    An `nn.EmbeddingBag` would do the same in one layer, but is refused: see `fl_client.training.models`.
    """

    WIDTH, HIDDEN = 32, 64

    def __init__(self, features: SequenceSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(features.vocabulary, self.WIDTH)
        self.hidden = nn.Linear(self.WIDTH, self.HIDDEN)
        self.output = nn.Linear(self.HIDDEN, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        there = (numbers > 0).unsqueeze(-1)
        summed = (self.embedding(numbers) * there).sum(1)
        logits: Tensor = self.output(torch.relu(self.hidden(summed / there.sum(1).clamp(min=1))))
        return logits


class CharacterCnn(nn.Module):
    """Embedding, convolution, maximum over places, logit: int64[n, length] to float32[n, 1]. Padding is all zero."""

    WIDTH, CHANNELS, KERNEL = 16, 64, 5

    def __init__(self, features: SequenceSpec) -> None:
        super().__init__()
        if features.length < self.KERNEL:
            raise WrongInputs(f"character-cnn: expected a length of at least {self.KERNEL}, got {features.length}")
        self.embedding = nn.Embedding(features.vocabulary, self.WIDTH)
        self.convolution = nn.Conv1d(self.WIDTH, self.CHANNELS, self.KERNEL)
        self.output = nn.Linear(self.CHANNELS, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        vectors = self.embedding(numbers) * (numbers > 0).unsqueeze(-1)
        found = self.convolution(vectors.transpose(1, 2)).amax(2)
        logits: Tensor = self.output(torch.relu(found))
        return logits


def _sequence(name: str, features: InputSpec) -> SequenceSpec:
    if not isinstance(features, SequenceSpec):
        raise WrongInputs(f"{name}: expected inputs `words` or `characters`, got hashed n-grams")
    return features
