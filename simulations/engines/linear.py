"""Logistic regression on sparse rows, many devices at once, in the dual.

All that training adds to the weights is a combination of the device's own examples, w = w0 - c X^T a, c being learning
rate over expected batch. So steps need only the logits under w0 and the products of the examples with each other,
which never change and are kept; d comes in once, at the end. Per-example clipping is exact: the gradient of example i
is r_i (x_i, 1), of norm |r_i| sqrt(|x_i|^2 + 1). The noise of DP-SGD is dense, and drawn in Opacus' order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit

from fl_client.training import Examples, TrainingError
from privacy.states import Update
from privacy.task import LocalTraining, TaskSpec
from simulations.engines.base import Learnt, Trainee
from simulations.engines.draws import Draws

Floats = NDArray[np.float64]

ARCHITECTURE = "hashed-linear"
_CHUNK = 64
"""Devices at once: enough to hide the cost of a call, few enough for their rows to stay in cache."""
_KEPT_BYTES = 64 << 20
"""Of products of examples."""
_OPACUS_EPSILON = 1e-6
"""What Opacus adds to a norm before it divides by it."""


class LinearEngine:
    """Implements `Engine` for the `hashed-linear` architecture."""

    def __init__(self, task: TaskSpec) -> None:
        self._task = task
        self._products = _Products()

    def learn(self, weights: NDArray[np.float32], trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        """See `Engine.learn`."""
        for first in range(0, len(trainees), _CHUNK):
            yield from self._chunk(weights, trainees[first : first + _CHUNK])

    def _chunk(self, weights: NDArray[np.float32], trainees: Sequence[Trainee]) -> Iterator[Learnt]:
        members = [self._member(one) for one in trainees]
        batch = _Batch.of(self._task.training, members, weights.astype(np.float64))
        coefficients = batch.train(members)
        for place, member in enumerate(members):
            yield self._learnt(batch, place, member, coefficients[place])

    def _member(self, trainee: Trainee) -> _Member:
        examples, training = trainee.examples, self._task.training
        rows = _rows(examples)
        draws = Draws.of(training, len(examples), trainee.rng)
        noise = self._noise(draws) if training.message_noise else None
        return _Member(rows, examples.labels, self._products.of(trainee.device, rows), draws.batches, noise)

    def _noise(self, draws: Draws) -> Floats:
        """float64[steps, d]: what each step adds to the sum of clipped gradients."""
        training, size = self._task.training, self._task.model.dimension
        scale = training.message_noise * training.message_clip
        steps = [
            [torch.normal(0.0, scale, shape, generator=draws.noise).ravel() for shape in ((1, size - 1), (1,))]
            for _ in range(training.steps)
        ]
        return np.array([torch.cat(step).numpy() for step in steps], np.float64)

    def _learnt(self, batch: _Batch, place: int, member: _Member, coefficients: Floats) -> Learnt:
        rows = member.rows
        own = coefficients[: rows.shape[0]]
        delta = np.empty(self._task.model.dimension)
        delta[:-1] = np.bincount(rows.indices, rows.data * np.repeat(own, np.diff(rows.indptr)), delta.size - 1)
        delta[-1] = own.sum()
        if member.noise is not None:
            delta += member.noise.sum(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            single = (-batch.rate * delta).astype(np.float32)
        if not np.isfinite(single).all():
            return TrainingError("local training: the update is not finite; lower training.learning_rate")
        return Update(single, batch.statistics(place) if self._task.statistics else {})


@dataclass(frozen=True, eq=False)
class _Member:
    """One device of a batch.

    Attributes:
        rows: float64[n, buckets].
        products: float64[n, n], of the examples with each other, 1 more for the bias.
        batches: bool[steps, n].
        noise: float64[steps, d], if there is any.
    """

    rows: csr_array = field(repr=False)
    labels: NDArray[np.float32] = field(repr=False)
    products: Floats = field(repr=False)
    batches: NDArray[np.bool_] = field(repr=False)
    noise: Floats | None = field(repr=False)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Devices side by side, padded to the most examples that one of them has.

    Attributes:
        products: float64[D, n, n], of the examples with each other, 1 more for the bias.
        logits: float64[D, n], under the weights that training starts from.
        norms: float64[D, n], of each example with its 1.
        real: bool[D, n], False for padding.
        batches: bool[steps, D, n].
        rate: learning rate over expected batch.
    """

    products: Floats = field(repr=False)
    logits: Floats = field(repr=False)
    labels: Floats = field(repr=False)
    norms: Floats = field(repr=False)
    real: NDArray[np.bool_] = field(repr=False)
    batches: NDArray[np.bool_] = field(repr=False)
    rate: float
    clip: float

    @classmethod
    def of(cls, training: LocalTraining, members: Sequence[_Member], start: Floats) -> _Batch:
        """Of all members, about to train from float64[d]."""
        shape = (len(members), max(one.rows.shape[0] for one in members))
        products, logits, labels = np.zeros((*shape, shape[1])), np.zeros(shape), np.zeros(shape)
        real, batches = np.zeros(shape, np.bool_), np.zeros((training.steps, *shape), np.bool_)
        for place, one in enumerate(members):
            own = slice(one.rows.shape[0])
            products[place, own, own], labels[place, own] = one.products, one.labels
            logits[place, own] = one.rows @ start[:-1] + start[-1]
            real[place, own], batches[:, place, own] = True, one.batches
        norms = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
        rate = training.learning_rate / training.expected_batch
        return cls(products, logits, labels, norms, real, batches, rate, training.message_clip)

    def train(self, members: Sequence[_Member]) -> Floats:
        """float64[D, n]: how often each example's gradient went into the sum, clipped, over all steps."""
        coefficients, drift = np.zeros_like(self.logits), np.zeros_like(self.logits)
        for step, batch in enumerate(self.batches):
            moved = np.einsum("dij,dj->di", self.products, coefficients) + drift
            residuals = expit(self.logits - self.rate * moved) - self.labels
            factors = np.minimum(1.0, self.clip / (np.abs(residuals) * self.norms + _OPACUS_EPSILON))
            coefficients += np.where(batch, factors * residuals, 0.0)
            for place, one in enumerate(members):
                if one.noise is not None:
                    drift[place, : one.rows.shape[0]] += one.rows @ one.noise[step, :-1] + one.noise[step, -1]
        return coefficients

    def statistics(self, place: int) -> dict[str, float]:
        """Of the model that training started from, on one device's messages."""
        real = self.real[place]
        logits, labels = self.logits[place, real], self.labels[place, real]
        loss = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
        correct = np.count_nonzero((logits > 0) == (labels > 0.5))
        return {"examples": float(labels.size), "loss": float(loss.sum()), "correct": float(correct)}


class _Products:
    """What examples of a device give multiplied with each other, for as many devices as there is room for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Floats] = OrderedDict()
        self._bytes = 0

    def of(self, device: int, rows: csr_array) -> Floats:
        """float64[n, n], with 1 added for the bias."""
        found = self._kept.pop(device, None)
        if found is None:
            found = (rows @ rows.T).toarray() + 1.0
            self._bytes += found.nbytes
        self._kept[device] = found
        while self._bytes > _KEPT_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found


def _rows(examples: Examples) -> csr_array:
    features = examples.features
    parts = (features.values.astype(np.float64), features.columns, features.starts)
    return csr_array(parts, shape=(len(examples), features.buckets))
