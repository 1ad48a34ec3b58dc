"""Any module that `torch.func` can map: many devices at once, their parameters stacked, each example's gradient apart.

Not every module can be mapped: control flow on data, random layers and layers with a state of their own cannot.
`choose` compares with Opacus before it takes this engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fl_client.models import build
from fl_client.training import TrainingError
from privacy.states import Update
from privacy.task import TaskSpec
from simulations.engines.base import Learnt, Trainee
from simulations.engines.draws import Draws

_NUMBERS = 1 << 24
"""Gradients of single examples held at once, in numbers: 64 MiB."""
_OPACUS_EPSILON = 1e-6

Parameters = dict[str, Tensor]


class StackedEngine:
    """Implements `Engine`."""

    def __init__(self, task: TaskSpec) -> None:
        self._task = task
        self._module = build(task.model.architecture, task.features)
        self._shapes = {name: tuple(value.shape) for name, value in self._module.named_parameters()}
        self._gradients = vmap(vmap(grad(self._loss), in_dims=(None, 0, 0)))

    def learn(self, weights: NDArray[np.float32], trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        """See `Engine.learn`."""
        start = self._named(torch.from_numpy(weights.copy()))
        most = max((len(one.examples) for one in trainees), default=0)
        chunk = max(1, _NUMBERS // (max(1, most) * weights.size))
        for first in range(0, len(trainees), chunk):
            yield from self._chunk(start, trainees[first : first + chunk])

    def _chunk(self, start: Parameters, trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        task, training = self._task, self._task.training
        draws = [Draws.of(training, len(one.examples), one.rng) for one in trainees]
        inputs, labels, batches = _padded(trainees, draws, task.features.buckets)
        statistics = self._statistics(start, inputs, labels, trainees) if task.statistics else [{}] * len(trainees)
        stacked = {name: value.expand(len(trainees), *value.shape).clone() for name, value in start.items()}
        for batch in batches:
            self._step(stacked, inputs, labels, batch, draws)
        flat = [(stacked[name] - start[name]).flatten(1) for name in self._shapes]
        for delta, found in zip(torch.cat(flat, 1), statistics, strict=True):
            if bool(torch.isfinite(delta).all()):
                yield Update(delta.numpy().copy(), found)
            else:
                yield TrainingError("local training: the update is not finite; lower training.learning_rate")

    def _step(self, stacked: Parameters, inputs: Tensor, labels: Tensor, batch: Tensor, draws: Sequence[Draws]) -> None:
        training = self._task.training
        gradients = self._gradients(stacked, inputs, labels)
        norms = torch.stack([one.flatten(2).norm(dim=2) for one in gradients.values()]).norm(dim=0)
        factors = (training.message_clip / (norms + _OPACUS_EPSILON)).clamp(max=1.0) * batch
        for name, value in stacked.items():
            summed = torch.einsum("dn,dn...->d...", factors, gradients[name])
            if training.message_noise:
                summed += self._noise(self._shapes[name], draws)
            value.sub_(summed, alpha=training.learning_rate / training.expected_batch)

    def _noise(self, shape: tuple[int, ...], draws: Sequence[Draws]) -> Tensor:
        scale = self._task.training.message_noise * self._task.training.message_clip
        return torch.stack([torch.normal(0.0, scale, shape, generator=one.noise) for one in draws])

    def _loss(self, parameters: Parameters, row: Tensor, label: Tensor) -> Tensor:
        logit = functional_call(self._module, parameters, (row.unsqueeze(0),)).squeeze()
        return nn.functional.binary_cross_entropy_with_logits(logit, label)

    def _statistics(
        self, start: Parameters, inputs: Tensor, labels: Tensor, trainees: Sequence[Trainee]
    ) -> list[Mapping[str, float]]:
        found: list[Mapping[str, float]] = []
        for rows, own, one in zip(inputs, labels, trainees, strict=True):
            count = len(one.examples)
            logits = functional_call(self._module, start, (rows[:count],)).squeeze(1)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, own[:count], reduction="sum")
            correct = ((logits > 0) == (own[:count] > 0.5)).sum()
            found.append({"examples": float(count), "loss": float(loss), "correct": float(correct)})
        return found

    def _named(self, flat: Tensor) -> Parameters:
        sizes = [int(np.prod(shape)) for shape in self._shapes.values()]
        pieces = torch.split(flat, sizes)
        return {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}


def _padded(trainees: Sequence[Trainee], draws: Sequence[Draws], buckets: int) -> tuple[Tensor, Tensor, Tensor]:
    """float32[D, n, buckets], float32[D, n] and bool[steps, D, n], of which padding is in no batch."""
    most = max(len(one.examples) for one in trainees)
    inputs = torch.zeros(len(trainees), most, buckets)
    labels = torch.zeros(len(trainees), most)
    batches = torch.zeros(draws[0].batches.shape[0], len(trainees), most, dtype=torch.bool)
    for place, (one, draw) in enumerate(zip(trainees, draws, strict=True)):
        count = len(one.examples)
        inputs[place, :count] = torch.from_numpy(one.examples.features.dense())
        labels[place, :count] = torch.from_numpy(one.examples.labels)
        batches[:, place, :count] = torch.from_numpy(draw.batches)
    return inputs, labels, batches
