"""Any module that `torch.func` can map: many devices at once, their parameters stacked.

Not every module can be mapped: control flow on data, random layers and layers with a state of their own cannot.
`choose` compares with the client's trainer before it takes this engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fl_client.training.models import build
from fl_client.training.training import STATISTICS, TrainingError
from privacy.task.states import Update
from privacy.task.task import LocalSgd, LocalTraining, SequenceSpec, TaskSpec
from simulations.training.engines.base import NOT_FINITE, ClippedUpdate, Participant, Scale, TrainResult, add_dense
from simulations.training.engines.chunks import Batch, Chunk
from simulations.training.engines.lookups import Lookups, Moved, Packed, Parameters, subtract_rows
from simulations.training.kernels.base import OPACUS_EPSILON
from simulations.training.training_randomness import TrainingRandomness

_NUMBERS = 1 << 24
"""How many numbers, of parameters or of single examples' gradients, are held at once: 64 MiB."""
_CHUNK = 100
"""The most devices in a chunk."""

T = TypeVar("T")


class StackedEngine:
    """An `Engine` that maps a module over many devices.

    What leaves it is on the CPU again: mechanism and sums are always computed there.
    """

    def __init__(self, task: TaskSpec, device: str = "cpu") -> None:
        self._task = task
        self._device = torch.device(device)
        self._whole = build(task.model.architecture, task.features).to(self._device)
        plain = isinstance(task.training, LocalSgd)
        self._lookups = Lookups.of(task) if plain else Lookups(self._whole, [], [])
        self._lookups.module.to(self._device)
        self._shapes = {name: tuple(value.shape) for name, value in self._whole.named_parameters()}
        self._held = [name for name in self._shapes if name not in self._lookups.names]
        # Recurrent layers work in place, which one copy of the weights for all devices would not allow.
        self._starts_as_one = not any(isinstance(layer, nn.RNNBase | nn.RNNCellBase) for layer in self._whole.modules())
        self._first = vmap(grad(self._mean_loss, argnums=(0, 1)), in_dims=(None, 0, 0, 0, 0))
        self._later = vmap(grad(self._mean_loss, argnums=(0, 1)))
        self._single = vmap(vmap(grad(self._loss), in_dims=(None, 0, 0)))

    def learn(self, weights: NDArray[np.float32], participants: Sequence[Participant]) -> Iterator[TrainResult]:
        """See `Engine.learn`."""
        yield from self._in_order(participants, lambda chunk: self._results(weights, chunk))

    def add(
        self, weights: NDArray[np.float32], participants: Sequence[Participant], scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[ClippedUpdate | TrainingError]:
        """See `Engine.add`: of embeddings, only the rows that a device touched are added."""
        if isinstance(self._task.training, LocalSgd):
            yield from self._in_order(participants, lambda chunk: self._added(weights, chunk, scale, sums))
        else:
            yield from add_dense(self.learn(weights, participants), scale, sums)

    def _in_order(self, participants: Sequence[Participant], work: Callable[[Chunk], Iterable[T]]) -> Iterator[T]:
        """Work on chunks of devices that take about as many steps, and yield the results in the participants' order."""
        randomness = [
            TrainingRandomness.of(self._task.training, len(participant.examples), participant.rng)
            for participant in participants
        ]
        order = sorted(range(len(participants)), key=lambda place: -randomness[place].steps)
        results: dict[int, T] = {}
        size = self._chunk_size(participants)
        for first in range(0, len(order), size):
            places = order[first : first + size]
            chunk = Chunk.of(
                [participants[place] for place in places], [randomness[place] for place in places], self._device
            )
            results.update(zip(places, work(chunk), strict=True))
        yield from (results[place] for place in range(len(participants)))

    def _chunk_size(self, participants: Sequence[Participant]) -> int:
        most = max((len(participant.examples) for participant in participants), default=0)
        held = sum(int(np.prod(self._shapes[name])) for name in self._held)
        each = held if isinstance(self._task.training, LocalSgd) else held * max(1, most)
        return min(_CHUNK, max(1, _NUMBERS // max(1, each)))

    def _results(self, weights: NDArray[np.float32], chunk: Chunk) -> Iterator[TrainResult]:
        start = self._named(torch.from_numpy(weights.copy()).to(self._device))
        training = self._task.training
        if isinstance(training, LocalSgd):
            deltas = self._sgd(training, start, chunk).whole(start)
        else:
            deltas = (delta.cpu() for delta in self._dp_sgd(training, start, chunk))
        for delta, statistics in zip(deltas, self._statistics(start, chunk), strict=True):
            yield Update(delta.numpy(), statistics) if bool(torch.isfinite(delta).all()) else NOT_FINITE

    def _added(
        self, weights: NDArray[np.float32], chunk: Chunk, scale: Scale, sums: NDArray[np.int64]
    ) -> Iterator[ClippedUpdate | TrainingError]:
        start = self._named(torch.from_numpy(weights.copy()).to(self._device))
        training = self._task.training
        if not isinstance(training, LocalSgd):
            raise TypeError("training: expected plain SGD")
        moved = self._sgd(training, start, chunk)
        norms = moved.norms()
        moved.add(np.array([scale.of(norm) if math.isfinite(norm) else 0.0 for norm in norms]), self._shapes, sums)
        for norm, statistics in zip(norms, self._statistics(start, chunk), strict=True):
            yield ClippedUpdate(norm, statistics) if math.isfinite(norm) else NOT_FINITE

    def _sgd(self, training: LocalSgd, start: Parameters, chunk: Chunk) -> Moved:
        features, devices = self._task.features, len(chunk.participants)
        vocabulary = features.vocabulary if isinstance(features, SequenceSpec) else 0
        packed = Packed.of(chunk, vocabulary) if self._lookups.names else None
        tables = {name: start[name][packed.rows] for name in self._lookups.names} if packed else {}
        stacked = {name: _every(start[name], devices) for name in self._held}
        for number, batch in enumerate(chunk.batches()):
            active = len(batch.taken)
            places = packed.local[batch.places].ravel() if packed else torch.empty(0)
            vectors = [
                nn.functional.embedding(places, table).view(*batch.inputs.shape, -1) for table in tables.values()
            ]
            # In the first step all devices still have the same weights: one large product instead of many small ones.
            as_one = number == 0 and self._starts_as_one
            own = {name: start[name] if as_one else stacked[name][:active] for name in self._held}
            gradient = self._first if as_one else self._later
            gradients, looked_up = gradient(own, vectors, batch.inputs, batch.labels, batch.taken)
            for name, value in stacked.items():
                value[:active].sub_(gradients[name], alpha=training.learning_rate)
            for table, of_rows in zip(tables.values(), looked_up, strict=True):
                subtract_rows(table, places, of_rows, training.learning_rate)
        held = {name: (value - start[name]).cpu() for name, value in stacked.items()}
        rows = {name: (table - start[name][packed.rows]).cpu() for name, table in tables.items()} if packed else {}
        return Moved(list(self._shapes), held, rows, packed.cpu() if packed else None)

    def _dp_sgd(self, training: LocalTraining, start: Parameters, chunk: Chunk) -> Iterator[Tensor]:
        stacked = {name: _every(value, len(chunk.participants)) for name, value in start.items()}
        rate = training.learning_rate / training.expected_batch
        noises = [randomness.dense_noise(training, list(self._shapes.values())) for randomness in chunk.randomness]
        for step, batch in enumerate(chunk.batches()):
            summed = self._clipped(training, stacked, batch)
            if training.message_noise:
                added = [self._named(torch.from_numpy(noise[step]).to(self._device)) for noise in noises]
                summed = {name: value + torch.stack([noise[name] for noise in added]) for name, value in summed.items()}
            for name, value in stacked.items():
                value.sub_(summed[name], alpha=rate)
        devices = len(chunk.participants)
        yield from torch.cat([(stacked[name] - start[name]).view(devices, -1) for name in self._shapes], 1)

    def _clipped(self, training: LocalTraining, stacked: Parameters, batch: Batch) -> Parameters:
        """Return each device's sum of its examples' gradients, each within the clip."""
        if batch.taken.shape[1] == 0:
            return {name: torch.zeros_like(value) for name, value in stacked.items()}
        gradients = self._single(stacked, batch.inputs, batch.labels)
        parts = [gradient.reshape(*gradient.shape[:2], -1).norm(dim=2) for gradient in gradients.values()]
        norms = torch.stack(parts).norm(dim=0)
        factors = (training.message_clip / (norms + OPACUS_EPSILON)).clamp(max=1.0) * batch.taken
        return {name: torch.einsum("dn,dn...->d...", factors, gradient) for name, gradient in gradients.items()}

    def _loss(self, parameters: Parameters, row: Tensor, label: Tensor) -> Tensor:
        logit = functional_call(self._whole, parameters, (row.unsqueeze(0),)).squeeze()
        return nn.functional.binary_cross_entropy_with_logits(logit, label)

    def _mean_loss(
        self, parameters: Parameters, vectors: Sequence[Tensor], rows: Tensor, labels: Tensor, taken: Tensor
    ) -> Tensor:
        self._lookups.hand(vectors)
        logits = functional_call(self._lookups.module, parameters, (rows,)).squeeze(1)
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return (losses * taken).sum() / taken.sum()

    def _statistics(self, start: Parameters, chunk: Chunk) -> list[Mapping[str, float]]:
        if not self._task.statistics:
            return [{}] * len(chunk.participants)
        statistics: list[Mapping[str, float]] = []
        for own in (participant.examples for participant in chunk.participants):
            if not len(own):
                statistics.append(dict.fromkeys(STATISTICS, 0.0))
                continue
            rows, labels = (torch.from_numpy(array).to(self._device) for array in (own.features.dense(), own.labels))
            with torch.no_grad():
                logits = functional_call(self._whole, start, (rows,)).squeeze(1)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
            correct = ((logits > 0) == (labels > 0.5)).sum()
            statistics.append({"examples": float(len(own)), "loss": float(loss), "correct": float(correct)})
        return statistics

    def _named(self, flat: Tensor) -> Parameters:
        sizes = [int(np.prod(shape)) for shape in self._shapes.values()]
        pieces = torch.split(flat, sizes)
        return {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}


def _every(value: Tensor, devices: int) -> Tensor:
    """Return a copy for every device: [devices, ...]."""
    return value.expand(devices, *value.shape).clone()
