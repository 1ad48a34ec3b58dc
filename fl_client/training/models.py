"""Architectures by name. A device builds a module from a name that its host application knows, never from code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl_client.training.soundness import Unsound, check_behaviour, check_structure
from fl_client.training.text_models import WrongInputs, character_cnn, hashed_linear, word_embedding
from privacy.base.errors import first_line
from privacy.task.task import InputSpec, ModelSpec, ParameterSpec

Factory = Callable[[Any], nn.Module]
"""Builds a module from the task's `InputSpec`: from float32[n, buckets] rows, or int64[n, length] token numbers, to
float32[n, 1] logits."""


class UnknownArchitecture(ValueError):
    """A name that this host application has not registered."""


_ARCHITECTURES: dict[str, Factory] = {
    "hashed-linear": hashed_linear,
    "word-embedding": word_embedding,
    "character-cnn": character_cnn,
}


def register(name: str, factory: Factory) -> None:
    """Make an architecture known under a name.

    Any module will do whose layers Opacus has per-sample gradients for, and that
    `fl_client.training.soundness` lets pass.
    """
    _ARCHITECTURES[name] = factory


def build(architecture: str, features: InputSpec) -> nn.Module:
    """The module of a registered name.

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
    """The layout of an architecture's parameters.

    Raises:
        UnknownArchitecture: as `build`, or when the module does not behave as training needs it to.
    """
    try:
        module = check_behaviour(lambda: build(architecture, features), features)
    except Unsound as error:
        raise UnknownArchitecture(f"architecture {architecture!r}: {error}") from error
    layout = tuple(ParameterSpec(name=name, shape=tuple(value.shape)) for name, value in module.named_parameters())
    return ModelSpec(architecture=architecture, parameters=layout)


def initial_weights(architecture: str, features: InputSpec, seed: int) -> NDArray[np.float32]:
    """Where training starts: float32[d], the architecture's own initialisation drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return to_flat(build(architecture, features)).numpy()


def load_flat(module: nn.Module, weights: torch.Tensor) -> None:
    """Copy float32[d] into the parameters, in the order of `named_parameters`."""
    parameters = list(module.parameters())
    pieces = torch.split(weights, [parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))


def to_flat(module: nn.Module) -> torch.Tensor:
    """The parameters as float32[d]."""
    return nn.utils.parameters_to_vector(module.parameters()).detach()
