"""What a module is tried on before anything is trained: rows and weights on which known errors of layers show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from privacy.features.encoding import Inputs, encode_texts, joined
from privacy.features.rows import Sequences
from privacy.task.task import InputSpec, SequenceSpec

_TEXTS = (
    "no no no, stop it, no",  # tokens that repeat
    "",  # nothing but padding
    "you are kind",
    "go away, nobody asked you",
    "see you at noon",
    "this one has more words than many a model reads, and so it is cut where the others have padding at their ends",
)
_NUMBERS = 1 << 21
"""How many numbers, of inputs or of single rows' gradients, a probe holds: 8 MiB, but for the largest models."""
_FEWEST_ROWS = 3
_MOVED = 0.1
"""Standard deviation of what is added to weights that are moved."""
_SMALLER = 0.1
"""What small weights are of the module's own."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Some rows, as texts give them.

    Attributes:
        inputs: n rows or sequences.
        labels: float32[n] of 0 and 1.
    """

    inputs: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)

    @classmethod
    def of(cls, features: InputSpec, numbers: int = 1) -> Probe:
        """Make the rows of `probe_inputs`, of which every other one is labelled 1."""
        rows = torch.from_numpy(probe_inputs(features, numbers).dense())
        return cls(rows, (torch.arange(len(rows)) % 2).float())

    def __len__(self) -> int:
        return len(self.inputs)


def probe_inputs(features: InputSpec, numbers: int = 1) -> Inputs:
    """Make rows with repeated tokens, with none, with padding and without.

    Args:
        features: how texts are encoded.
        numbers: how many a row leads to, such as the gradient of a model; the more, the fewer rows, at least three.
    """
    inputs = encode_texts(features, _TEXTS)
    if isinstance(features, SequenceSpec):
        inputs = joined([_full(features), inputs])
    most = max(_FEWEST_ROWS, _NUMBERS // max(numbers, _width(features)))
    return inputs.between(0, min(most, len(inputs)))


def _width(features: InputSpec) -> int:
    return features.length if isinstance(features, SequenceSpec) else features.buckets


def _full(features: SequenceSpec) -> Sequences:
    """Make a sequence without padding, of as many different tokens as there are, the last one among them."""
    numbers = 1 + np.arange(features.length, dtype=np.int32) % (features.vocabulary - 1)
    numbers[-1] = features.vocabulary - 1
    return Sequences(features.length, np.array([0, features.length]), numbers)


def weights_to_try(module: nn.Module) -> Iterator[str]:
    """Give a module its own weights, then moved ones, then small ones.

    A layer that begins with zeros would hide what is behind it, and one that is saturated what is before it.

    Yields:
        Words for the weights that it has now. Its own are put back in the end.
    """
    own = [parameter.detach().clone() for parameter in module.parameters()]
    try:
        yield "as it begins"
        with torch.no_grad(), seeded(1):
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=_MOVED)
        yield "with its weights moved"
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), own, strict=True):
                parameter.copy_(value * _SMALLER)
        yield "with its weights near zero"
    finally:
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), own, strict=True):
                parameter.copy_(value)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from this seed, of 64 bits; afterwards they go on where they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
