"""Architectures by name. A device builds a module from a name that its host application knows, never from code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from privacy.task import FeatureSpec, ModelSpec, ParameterSpec

Factory = Callable[[FeatureSpec], nn.Module]
"""Builds a module from float32[n, buckets] rows to float32[n, 1] logits."""


class UnknownArchitecture(ValueError):
    """A name that this host application has not registered."""


def hashed_linear(features: FeatureSpec) -> nn.Module:
    """Logistic regression on the hashed n-grams."""
    return nn.Linear(features.buckets, 1)


_ARCHITECTURES: dict[str, Factory] = {"hashed-linear": hashed_linear}


def register(name: str, factory: Factory) -> None:
    """Make an architecture known under a name. Any module will do whose layers Opacus has per-sample gradients for.

    `nn.EmbeddingBag` is refused when the model is built: with Opacus 1.6 its per-sample gradients are wrong where a
    token repeats, so that clipping does not bound them.
    """
    _ARCHITECTURES[name] = factory


def build(architecture: str, features: FeatureSpec) -> nn.Module:
    """The module of a registered name.

    Raises:
        UnknownArchitecture: when it is not registered, or cannot be trained privately.
    """
    if architecture not in _ARCHITECTURES:
        raise UnknownArchitecture(f"architecture: expected one of {sorted(_ARCHITECTURES)}, got {architecture!r}")
    module = _ARCHITECTURES[architecture](features)
    if any(isinstance(layer, nn.EmbeddingBag) for layer in module.modules()):
        raise UnknownArchitecture(
            f"architecture {architecture!r}: EmbeddingBag is not clipped correctly; use Embedding"
        )
    return module


def model_spec(architecture: str, features: FeatureSpec) -> ModelSpec:
    """The layout of an architecture's parameters."""
    module = build(architecture, features)
    layout = tuple(ParameterSpec(name=name, shape=tuple(value.shape)) for name, value in module.named_parameters())
    return ModelSpec(architecture=architecture, parameters=layout)


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
