"""What a module must be for its clipped updates to be what is accounted for, and for one seed to give one model.

`check_structure` looks at it, `check_behaviour` runs it on a few texts. Neither proves anything about a module that is
out to deceive: an architecture is the code of the host application itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fl_client.training.gradients import Gradients, differing, row_gradients
from fl_client.training.probes import Probe, seeded, weights_to_try
from privacy.base.errors import first_line
from privacy.task.task import InputSpec

_TOLERANCE = 1e-4
_LARGE = 1e3
"""What weights are multiplied with to see whether a module would change them once they are large."""


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
    probe = Probe.of(features, sum(parameter.numel() for parameter in module.parameters()))
    try:
        _check_outputs(module, probe.inputs)
        _check_state(module, probe.inputs)
        _check_rows(module, probe.inputs)
        _check_gradients(module, probe)
    except Unsound:
        raise
    except Exception as error:  # whatever somebody's module raises
        raise Unsound(f"it cannot be run: {type(error).__name__}: {first_line(error)}") from error
    return module


def draws(module: nn.Module, features: InputSpec) -> bool:
    """Tell whether a module's output in training depends on torch's random numbers, as with dropout."""
    return _drawn(module, Probe.of(features).inputs)


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
    rows, logits = len(inputs), _run(module, inputs, seed=1)
    if not isinstance(logits, Tensor) or logits.dtype != torch.float32 or logits.shape != (rows, 1):
        raise Unsound(f"expected float32[{rows}, 1] logits for {rows} rows, got {_described(logits)}")


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"


def _check_state(module: nn.Module, inputs: Tensor) -> None:
    """Check that a module remembers nothing: it would carry on what neither clip nor noise has seen."""
    _check_unchanged(module, inputs)
    first = _run(module, inputs, seed=1)
    _run(module, inputs.flip(0), seed=1)
    if not torch.equal(_run(module, inputs, seed=1), first):
        raise Unsound("its output differs for the same rows and seed; it may only draw from torch, and keep nothing")
    own = [parameter.detach().clone() for parameter in module.parameters()]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(_LARGE)
        _check_unchanged(module, inputs)
        for parameter, value in zip(module.parameters(), own, strict=True):
            parameter.copy_(value)


def _check_unchanged(module: nn.Module, inputs: Tensor) -> None:
    before = {name: value.clone() for name, value in [*module.named_buffers(), *module.named_parameters()]}
    _run(module, inputs, seed=1)
    for name, value in [*module.named_buffers(), *module.named_parameters()]:
        if not torch.equal(value, before[name]):
            raise Unsound(f"{name} changes when the module reads examples, and would carry them on")


def _check_rows(module: nn.Module, inputs: Tensor) -> None:
    """Check that no row's logit hangs on another row, in training and outside."""
    if _drawn(module.eval(), inputs):
        raise Unsound("it draws random numbers outside training too; mind `self.training`")
    for training in (False, True):
        module.train(training)
        together = _run(module, inputs, seed=1)
        for row in range(len(inputs)):
            _check_same(together[row], _run(module, _with_others(inputs, row), seed=1)[row])
        _check_outputs(module, inputs[:1])
        if not _drawn(module, inputs):  # what is drawn, is drawn for each row of a batch
            for row in range(len(inputs)):
                _check_same(together[row], _run(module, inputs[[row]], seed=1)[0])


def _check_same(logit: Tensor, other: Tensor) -> None:
    if not torch.allclose(logit, other, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        raise Unsound("its logit for a row depends on the other rows, so that no example's gradient can be clipped")


def _with_others(rows: Tensor, kept: int) -> Tensor:
    """Return the rows with one in its place, and all others replaced by others."""
    changed = rows.roll(1, 0)
    changed[kept] = rows[kept]
    return changed


def _check_gradients(module: nn.Module, probe: Probe) -> None:
    """Check that every parameter is trained, by numbers that are finite and hang on no other row."""
    names = [name for name, _ in module.named_parameters()]
    with seeded(1):
        loss = module(probe.inputs).sum()
        found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    for name, gradient in zip(names, found, strict=True):
        if gradient is None:
            raise Unsound(f"parameter {name} has no part in the output; leave it out")
    alone = not _drawn(module, probe.inputs)
    for weights in weights_to_try(module):
        together = _seeded_gradients(module, probe, range(len(probe)))
        for name, rows in zip(names, together, strict=True):
            if not bool(torch.isfinite(rows).all()):
                raise Unsound(f"the gradient of parameter {name} is NaN or infinite for a text, {weights}")
        for row in range(len(probe)):
            others = [_seeded_gradients(module, Probe(_with_others(probe.inputs, row), probe.labels), [row])]
            if alone:
                others.append(_seeded_gradients(module, Probe(probe.inputs[[row]], probe.labels[[row]]), [0]))
            for own in others:
                if (place := differing(own, [rows[[row]] for rows in together])) is not None:
                    raise Unsound(f"an example's gradient of parameter {names[place]} depends on the other rows")


def _seeded_gradients(module: nn.Module, probe: Probe, rows: Sequence[int]) -> Gradients:
    with seeded(1):
        return row_gradients(module, probe.inputs, probe.labels, rows)


def _drawn(module: nn.Module, inputs: Tensor) -> bool:
    return not torch.equal(_run(module, inputs, seed=1), _run(module, inputs, seed=2))


def _run(module: nn.Module, inputs: Tensor, seed: int) -> Tensor:
    with torch.no_grad(), seeded(seed):
        logits: Tensor = module(inputs)
    return logits
