"""What a module must be for its clipped updates to be what is accounted for, and for one seed to give one model.

`check_structure` looks at it, `check_behaviour` runs it on a few texts. Neither proves anything about a module that is
out to deceive: an architecture is the code of the host application itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fl_client.training.features import encode_texts
from privacy.base.errors import first_line
from privacy.task.task import InputSpec

_UNSOUND: dict[type[nn.Module], str] = {
    nn.EmbeddingBag: "its per-sample gradients are wrong where a token repeats; use Embedding",
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
        "it lets one example change the gradients of others; use GroupNorm or LayerNorm",
    ),
}
"""Layers that Opacus 1.6 accepts although what it clips is not one example's gradient, and why they are refused."""
_TEXTS = ("you are kind", "go away, nobody asked you", "see you at noon")
_TOLERANCE = 1e-4


class Unsound(ValueError):
    """A module that cannot be trained as tasks ask for; the text says why."""


def check_structure(module: object) -> nn.Module:
    """Check that a module's layers and parameters can be clipped and noised as one flat vector.

    Returns:
        The module, in training mode.

    Raises:
        Unsound: when they cannot.
    """
    if not isinstance(module, nn.Module):
        raise Unsound(f"expected a torch.nn.Module, got {type(module).__name__}")
    for layer in module.modules():
        for kind, reason in _UNSOUND.items():
            if isinstance(layer, kind):
                raise Unsound(f"{kind.__name__} is refused, {reason}")
    parameters = dict(module.named_parameters())
    for name, parameter in parameters.items():
        if reason := _flaw(parameter):
            raise Unsound(f"parameter {name} {reason}")
    if not parameters:
        raise Unsound("expected parameters to train, got none")
    if len({parameter.untyped_storage().data_ptr() for parameter in parameters.values()}) < len(parameters):
        raise Unsound("two parameters share memory; to tie layers, assign the one parameter to both")
    return module.train()


def _flaw(parameter: nn.Parameter) -> str:
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        return "has no shape yet; give its layer the number of inputs"
    if parameter.dtype != torch.float32:
        return f"is {str(parameter.dtype).removeprefix('torch.')}; expected float32"
    if not parameter.numel():
        return "is empty; leave it out"
    if not parameter.requires_grad:
        return "is frozen, but all parameters get noise; make it a buffer"
    return "" if bool(torch.isfinite(parameter).all()) else "starts with NaN or infinity"


def check_behaviour(make: Callable[[], nn.Module], features: InputSpec) -> nn.Module:
    """Check how a module behaves, by building it twice and running it on a few texts.

    Returns:
        The module that was built first.

    Raises:
        Unsound: when it fails, gives no logit a row, remembers what it read, lets rows influence each other, or is
            another module each time.
    """
    module = _built(make, seed=1)
    _check_constant(module, _built(make, seed=2))
    inputs = torch.from_numpy(encode_texts(features, _TEXTS).dense())
    try:
        _check_outputs(module, inputs)
        _check_state(module, inputs)
        _check_rows(module, inputs)
        _check_gradients(module, inputs)
    except Unsound:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise Unsound(f"it cannot be run: {type(error).__name__}: {first_line(error)}") from error
    return module


def draws(module: nn.Module, features: InputSpec) -> bool:
    """Tell whether a module's output in training depends on torch's random numbers, as with dropout."""
    return _drawn(module, torch.from_numpy(encode_texts(features, _TEXTS).dense()))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from this seed, of 64 bits; afterwards they go on where they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _built(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with seeded(seed):
        return make()


def _check_constant(first: nn.Module, second: nn.Module) -> None:
    """Check that what does not travel with the model is the same each time, as it must be on every device."""
    shapes = [{name: value.shape for name, value in module.named_parameters()} for module in (first, second)]
    if shapes[0] != shapes[1]:
        raise Unsound("its parameters have other shapes each time it is made")
    buffers = dict(second.named_buffers())
    for name, value in first.named_buffers():
        if name not in buffers or not torch.equal(value, buffers[name]):
            raise Unsound(f"buffer {name} is another each time it is made; buffers do not travel with the model")


def _check_outputs(module: nn.Module, inputs: Tensor) -> None:
    for rows in (len(inputs), 1, 0):
        logits = _run(module, inputs[:rows], seed=1)
        if not isinstance(logits, Tensor) or logits.dtype != torch.float32 or logits.shape != (rows, 1):
            raise Unsound(f"expected float32[{rows}, 1] logits for {rows} rows, got {_described(logits)}")


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"


def _check_state(module: nn.Module, inputs: Tensor) -> None:
    """Check that a module remembers nothing: it would carry on what neither clip nor noise has seen."""
    before = {name: value.clone() for name, value in [*module.named_buffers(), *module.named_parameters()]}
    first = _run(module, inputs, seed=1)
    for name, value in [*module.named_buffers(), *module.named_parameters()]:
        if not torch.equal(value, before[name]):
            raise Unsound(f"{name} changes when the module reads examples, and would carry them on")
    _run(module, inputs.flip(0), seed=1)
    if not torch.equal(_run(module, inputs, seed=1), first):
        raise Unsound("its output differs for the same rows and seed; it may only draw from torch, and keep nothing")


def _check_rows(module: nn.Module, inputs: Tensor) -> None:
    """Check that no row influences another, where nothing is drawn: what is drawn, is drawn for each row of a batch."""
    modes = [False] if _drawn(module, inputs) else [False, True]
    if _drawn(module.eval(), inputs):
        raise Unsound("it draws random numbers outside training too; mind `self.training`")
    for mode in modes:
        module.train(mode)
        together = _run(module, inputs, seed=1)
        separately = torch.cat([_run(module, inputs[row : row + 1], seed=1) for row in range(len(inputs))])
        if not torch.allclose(together, separately, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            raise Unsound("its logit for a row depends on the other rows, so that no example's gradient can be clipped")
    module.train()


def _check_gradients(module: nn.Module, inputs: Tensor) -> None:
    named = dict(module.named_parameters())
    with seeded(1):
        loss = module(inputs).sum()
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    for name, gradient in zip(named, gradients, strict=True):
        if gradient is None:
            raise Unsound(f"parameter {name} has no part in the output; leave it out")


def _drawn(module: nn.Module, inputs: Tensor) -> bool:
    return not torch.equal(_run(module, inputs, seed=1), _run(module, inputs, seed=2))


def _run(module: nn.Module, inputs: Tensor, seed: int) -> Tensor:
    with torch.no_grad(), seeded(seed):
        logits: Tensor = module(inputs)
    return logits
