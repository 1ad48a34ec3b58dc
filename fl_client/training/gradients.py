"""The gradient of each example, for DP-SGD to clip: by Opacus where it gives what autograd gives, else one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from fl_client.training.probes import Probe, seeded, weights_to_try
from privacy.base.errors import first_line
from privacy.task.task import InputSpec

if TYPE_CHECKING:
    from opacus import GradSampleModule

RELATIVE = 1e-3
"""How far two gradients of a parameter may lie apart, over the largest number in any row's: what rounding does."""
_OF_ALL = 1e-5
"""The same, over the largest number in the gradient of any parameter."""

Gradients = list[Tensor]
"""float32[n, ...] for each parameter of a module, in order: the gradients of n examples."""


class WrongGradients(RuntimeError):
    """Opacus gave something else than autograd; the text names the parameter and its layer."""


class ExampleGradients(Protocol):
    """A way to compute the gradients of single examples.

    Attributes:
        module: the module, its parameters those that are trained.
        reason: why this way, for a log.
    """

    module: nn.Module
    reason: str

    def compute(self, inputs: Tensor, labels: Tensor) -> Gradients:
        """Return the gradient of each example's loss at the module's weights.

        Args:
            inputs: n examples, at least one.
            labels: float32[n] of 0 and 1.
        """
        ...


class OpacusGradients:
    """All examples at once, by the hooks of Opacus; where their sum is not autograd's, one by one.

    Opacus is imported here, where it is used: it takes longer than torch, and compiled kernels do without it.
    """

    reason = "by Opacus"

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._wrapped = self._wrap()

    def _wrap(self) -> GradSampleModule:
        from opacus import GradSampleModule  # noqa: PLC0415 - slow to import

        return GradSampleModule(self.module, loss_reduction="sum")

    def compute(self, inputs: Tensor, labels: Tensor) -> Gradients:
        """See `ExampleGradients`."""
        try:
            return self.by_hooks(inputs, labels)
        except Exception:  # hooks raise whatever they do on inputs that nobody thought of
            self._unwrap()
            found = SingleGradients(self.module, "").compute(inputs, labels)
            self._wrapped = self._wrap()
            return found

    def by_hooks(self, inputs: Tensor, labels: Tensor) -> Gradients:
        """Return what the hooks give.

        Raises:
            WrongGradients: when there is not one an example, or they do not add up to autograd's gradient of them all.
        """
        self._wrapped.zero_grad(set_to_none=True)
        loss = losses(self._wrapped, inputs, labels).sum()
        with warnings.catch_warnings():
            # Opacus' hooks warn where a model reads token numbers, which can have no gradient.
            warnings.filterwarnings("ignore", "Full backward hook is firing")
            torch.autograd.backward(loss)
        parameters = list(self.module.parameters())
        found = [self._of(parameter, len(labels)) for parameter in parameters]
        summed = [_dense(parameter.grad, parameter) for parameter in parameters]
        sizes = [len(labels) * _largest(rows) for rows in found]
        if (
            bool(torch.isfinite(loss))
            and (place := _differing([rows.sum(0) for rows in found], summed, sizes)) is not None
        ):
            raise WrongGradients(f"Opacus' gradients of {_layers(self.module)[place]} are not autograd's")
        self._wrapped.zero_grad(set_to_none=True)
        return found

    def _of(self, parameter: nn.Parameter, rows: int) -> Tensor:
        found = getattr(parameter, "grad_sample", None)
        if found is None:  # no example of this batch reached it; if one did, the sum will tell
            return torch.zeros(rows, *parameter.shape)
        if not isinstance(found, Tensor) or found.shape != (rows, *parameter.shape):
            raise WrongGradients("Opacus' gradients are not one an example")
        return found.detach()

    def _unwrap(self) -> None:
        """Take the hooks off, and what an interrupted pass left in the layers."""
        self._wrapped.cleanup()
        for layer in self.module.modules():
            for left in ("activations", "max_batch_len"):
                layer.__dict__.pop(left, None)


class SingleGradients:
    """One example after the other, by autograd: right for whatever autograd can do, and slower."""

    def __init__(self, module: nn.Module, reason: str) -> None:
        self.module = module
        self.reason = f"one example at a time: {reason}"

    def compute(self, inputs: Tensor, labels: Tensor) -> Gradients:
        """See `ExampleGradients`; nothing is raised."""
        rows = (slice(row, row + 1) for row in range(len(labels)))
        return _stacked([mean_gradient(self.module, inputs[row], labels[row]) for row in rows])


def example_gradients(make: Callable[[], nn.Module], features: InputSpec) -> ExampleGradients:
    """Choose the way to compute the gradients of an architecture's examples.

    Opacus' are held against autograd's, row by row: at the architecture's first weights and at others, for all rows of
    a `Probe` and for one. Nothing that is known about layers goes into it.

    Args:
        make: builds the module.
        features: what it reads.

    Returns:
        Opacus if nothing differs; else one by one, with the reason.
    """
    try:
        fast = OpacusGradients(make())
        _check(fast, make(), features)
    except Exception as error:  # what hooks raise on layers they were not written for
        return SingleGradients(make(), _told(error))
    return fast


def _told(error: Exception) -> str:
    if isinstance(error, WrongGradients):
        return str(error)
    return f"Opacus cannot compute them, {type(error).__name__}: {first_line(error)}"


def _check(fast: OpacusGradients, plain: nn.Module, features: InputSpec) -> None:
    plain.load_state_dict(fast.module.state_dict())
    probe = Probe.of(features, sum(parameter.numel() for parameter in plain.parameters()))
    for _ in weights_to_try(plain):
        fast.module.load_state_dict(plain.state_dict())
        for rows in (slice(None), slice(1)):
            inputs, labels = probe.inputs[rows], probe.labels[rows]
            with seeded(1):
                expected = row_gradients(plain, inputs, labels)
            with seeded(1):
                found = fast.by_hooks(inputs, labels)
            if (wrong := wrong_parameter(plain, found, expected)) is not None:
                raise WrongGradients(f"Opacus' gradients of {wrong} are not autograd's")


def losses(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return float32[n], the loss that training makes small, of each of n examples."""
    logits: Tensor = module(inputs)
    return nn.functional.binary_cross_entropy_with_logits(logits.squeeze(1), labels, reduction="none")


def mean_gradient(module: nn.Module, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """Return the gradient of the mean loss of some examples, one tensor a parameter, by autograd."""
    return _gradient(module, losses(module, inputs, labels).mean())


def row_gradients(module: nn.Module, inputs: Tensor, labels: Tensor, rows: Sequence[int] | None = None) -> Gradients:
    """Return single examples' gradients from one forward pass of all: the reference, also where a layer draws.

    Args:
        module: at the weights in question.
        inputs: n examples.
        labels: float32[n] of 0 and 1.
        rows: whose gradients; None for all.
    """
    each = losses(module, inputs, labels)
    return _stacked([_gradient(module, each[row]) for row in (range(len(labels)) if rows is None else rows)])


def _gradient(module: nn.Module, loss: Tensor) -> list[Tensor]:
    parameters = list(module.parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [_dense(value, parameter) for value, parameter in zip(found, parameters, strict=True)]


def _dense(value: Tensor | None, parameter: nn.Parameter) -> Tensor:
    if value is None:
        return torch.zeros_like(parameter)
    return value.detach().to_dense() if value.layout is not torch.strided else value.detach()


def _stacked(rows: Sequence[Sequence[Tensor]]) -> Gradients:
    """Return the gradients of n examples, at least one, as one tensor a parameter."""
    return [torch.stack(of_rows) for of_rows in zip(*rows, strict=True)]


def differing(found: Sequence[Tensor], expected: Sequence[Tensor], rounding: float = 0.0) -> int | None:
    """Return the place of the first tensor that is not the expected one but for rounding; None if all are.

    Args:
        found: n tensors.
        expected: n tensors of the same shapes.
        rounding: what else may lie between two numbers.
    """
    return _differing(found, expected, [_largest(value) for value in expected], rounding)


def wrong_parameter(
    module: nn.Module, found: Sequence[Tensor], expected: Sequence[Tensor], rounding: float = 0.0
) -> str | None:
    """Do `differing` for one tensor a parameter, and name the parameter and its layer."""
    place = differing(found, expected, rounding)
    return None if place is None else _layers(module)[place]


def _differing(
    found: Sequence[Tensor], expected: Sequence[Tensor], sizes: Sequence[float], rounding: float = 0.0
) -> int | None:
    """Do `differing`, where what was rounded to give the tensors had numbers up to these sizes."""
    for place, (value, wanted, size) in enumerate(zip(found, expected, sizes, strict=True)):
        tolerance = RELATIVE * size + _OF_ALL * max(sizes) + rounding
        if not _largest(value - wanted) <= tolerance:  # NaN is never within it
            return place
    return None


def _largest(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value, torch.inf)) if value.numel() else 0.0


def _layers(module: nn.Module) -> list[str]:
    kinds = {id(value): type(layer).__name__ for layer in module.modules() for value in layer.parameters(recurse=False)}
    return [f"{name} ({kinds[id(value)]})" for name, value in module.named_parameters()]
