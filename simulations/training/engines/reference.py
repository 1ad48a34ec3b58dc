"""What every engine must give: the gradients of autograd, row by row, clipped and averaged as the task says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_client.training.gradients import Gradients, row_gradients, wrong_parameter
from fl_client.training.models import build, to_flat
from fl_client.training.probes import Probe, probe_inputs, seeded, weights_to_try
from fl_client.training.training import Examples
from privacy.base.errors import first_line
from privacy.task.states import Update
from privacy.task.task import LocalSgd, LocalTraining, TaskSpec
from simulations.randomness import SeedTree
from simulations.training.engines.base import Engine, Participant
from simulations.training.kernels.base import OPACUS_EPSILON

_NO_CLIP = 1e6
_ROUNDING = 2.0**-21
"""Rounding of a weight that a gradient is subtracted from, over the largest weight."""

EngineOf = Callable[[TaskSpec], Engine]


class EngineError(ValueError):
    """An engine that cannot run this task; the text says why."""


def hold_against_autograd(task: TaskSpec, engine_of: EngineOf) -> None:
    """Check that an engine moves the task's model along autograd's gradients.

    One step of rate 1 is made by devices with a single row each, and by one device with all rows of a `Probe`, under a
    clip that cuts half of them where the task clips; at the first weights and at others.

    Args:
        task: whose model and method of training are tried.
        engine_of: makes the engine of a task.

    Raises:
        EngineError: when an update is not the expected one but for rounding, with the parameter and its layer; or the
            engine cannot run the task.
    """
    with seeded(0):
        module = build(task.model.architecture, task.features)
    probe = Probe.of(task.features, task.model.dimension)
    examples = Examples(probe_inputs(task.features, task.model.dimension), probe.labels.numpy())
    for _ in weights_to_try(module):
        expected = row_gradients(module, probe.inputs, probe.labels)
        for clip, owners, wanted in _trials(task, expected):
            found = _moved(engine_of, _one_step(task, clip, len(probe)), to_flat(module).numpy(), examples, owners)
            if (wrong := wrong_parameter(module, _split(module, found), wanted, _noise_of(module))) is not None:
                raise EngineError(f"its gradients of {wrong} are not autograd's")


def _trials(task: TaskSpec, rows: Gradients) -> Iterator[tuple[float, list[slice], Gradients]]:
    """Yield a clip, the devices' examples and what the devices are to move against."""
    count = len(rows[0])
    each = [slice(row, row + 1) for row in range(count)]
    yield _NO_CLIP, each, rows
    if isinstance(task.training, LocalSgd):
        yield _NO_CLIP, [slice(count)], [gradient.mean(0, keepdim=True) for gradient in rows]
        return
    norms = torch.stack([gradient.reshape(count, -1).norm(dim=1) for gradient in rows]).norm(dim=0)
    clip = float(norms.median())
    factors = (clip / (norms + OPACUS_EPSILON)).clamp(max=1.0)
    yield clip, [slice(count)], [torch.einsum("n,n...->...", factors, gradient)[None] for gradient in rows]


def _one_step(task: TaskSpec, clip: float, rows: int) -> TaskSpec:
    training: LocalSgd | LocalTraining
    if isinstance(task.training, LocalSgd):
        training = LocalSgd(epochs=1, batch_size=rows, learning_rate=1.0)
    else:
        training = LocalTraining(
            steps=1, sampling_rate=1.0, expected_batch=1.0, learning_rate=1.0, message_clip=clip, message_noise=0.0
        )
    return task.model_copy(update={"training": training, "statistics": ()})


def _moved(
    engine_of: EngineOf, task: TaskSpec, weights: NDArray[np.float32], examples: Examples, owners: list[slice]
) -> Tensor:
    """Return float32[devices, d], what each device moved against."""
    features, labels = examples.features, examples.labels
    participants = [
        Participant(
            place,
            Examples(features.between(*rows.indices(len(labels))[:2]), labels[rows]),
            SeedTree.root(0).child(place).stream(),
        )
        for place, rows in enumerate(owners)
    ]
    try:
        results = list(engine_of(task).learn(weights, participants))
    except Exception as error:  # whatever somebody's module raises
        raise EngineError(first_line(error)) from error
    if failed := [result for result in results if not isinstance(result, Update)]:
        raise EngineError(str(failed[0]))
    return torch.stack([-torch.from_numpy(result.delta) for result in results if isinstance(result, Update)])


def _split(module: nn.Module, flat: Tensor) -> Gradients:
    parameters = list(module.parameters())
    pieces = torch.split(flat, [parameter.numel() for parameter in parameters], dim=1)
    return [piece.view(len(flat), *parameter.shape) for parameter, piece in zip(parameters, pieces, strict=True)]


def _noise_of(module: nn.Module) -> float:
    return _ROUNDING * max(float(parameter.detach().abs().max()) for parameter in module.parameters())
