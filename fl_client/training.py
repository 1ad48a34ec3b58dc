"""Local training: Opacus DP-SGD with constants that are public.

Formal guarantee (message level, for a server that sees the device's own update): adding or removing one message
changes each step's gradient sum by at most `message_clip` in L2 norm; the sum gets N(0, (message_noise *
message_clip)^2); messages enter a step independently with probability `sampling_rate` (Abadi et al. 2016). Number of
steps, sampling rate and normaliser do not depend on how many messages there are.

The Gaussian is Opacus' own, in floating point from a generator seeded with 64 bits: defence in depth, not the
headline, which is the discrete noise of `privacy.mechanism`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from fl_client.features import Features
from fl_client.models import build, load_flat, to_flat
from privacy.randomness import Randomness, uniform_unit
from privacy.states import Update
from privacy.task import LocalTraining, TaskSpec

STATISTICS = ("examples", "loss", "correct")
"""Sums over a device's messages that a task may ask for: their number, their loss, how many are judged correctly."""


class TrainingError(RuntimeError):
    """Local training that gave no usable update."""


@dataclass(frozen=True, eq=False)
class Examples:
    """A device's own messages: n rows, and float32[n] labels in {0, 1}."""

    features: Features = field(repr=False)
    labels: NDArray[np.float32] = field(repr=False)

    def __len__(self) -> int:
        return len(self.features)


class LocalTrainer:
    """Trains one task, for one device after another: wrapping a module costs more than training on ten messages."""

    def __init__(self, task: TaskSpec) -> None:
        """Raises UnknownArchitecture when the task's model is not registered in this host application, TrainingError
        when it asks for a statistic that is none of `STATISTICS`."""
        self._training: LocalTraining = task.training
        self._wants_statistics = bool(task.statistics)
        if unknown := {statistic.name for statistic in task.statistics} - set(STATISTICS):
            raise TrainingError(f"statistics: expected {', '.join(STATISTICS)}, got {', '.join(sorted(unknown))}")
        self._module = GradSampleModule(build(task.model.architecture, task.features), loss_reduction="sum")
        self._optimizer = DPOptimizer(
            torch.optim.SGD(self._module.parameters(), lr=task.training.learning_rate),
            noise_multiplier=task.training.message_noise,
            max_grad_norm=task.training.message_clip,
            expected_batch_size=task.training.expected_batch,
            loss_reduction="mean",  # divides the noised sum by expected_batch, whatever the batch
        )

    def train(self, weights: NDArray[np.float32], examples: Examples, rng: Randomness) -> Update:
        """What these examples would change about the model, float32[d], and the statistics that the task asks for.

        A device without examples takes part like any other: its update is the noise of its empty batches.

        Raises:
            TrainingError: when the result is not finite.
        """
        start = torch.from_numpy(weights.copy())
        load_flat(self._module, start)
        self._optimizer.generator = torch.Generator().manual_seed(int.from_bytes(rng.token(8), "little"))
        inputs, labels = torch.from_numpy(examples.features.dense()), torch.from_numpy(examples.labels)
        statistics = self._statistics(inputs, labels) if self._wants_statistics else {}
        chosen = uniform_unit(rng, self._training.steps * len(examples)) < self._training.sampling_rate
        for batch in chosen.reshape(self._training.steps, len(examples)):
            mask = torch.from_numpy(batch)
            # Opacus' hooks warn, at every step, about inputs that need no gradient.
            self._step(inputs[mask].requires_grad_(), labels[mask])
        delta = to_flat(self._module) - start
        if not bool(torch.isfinite(delta).all()):
            raise TrainingError("local training: the update is not finite; lower training.learning_rate")
        return Update(delta.numpy(), statistics)

    def _statistics(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """Of the model that was received, on this device's own messages."""
        with torch.no_grad():
            logits = self._module(inputs).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        correct = ((logits > 0) == (labels > 0.5)).sum()
        return {"examples": float(len(labels)), "loss": float(loss), "correct": float(correct)}

    def _step(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        self._optimizer.zero_grad()
        logits = self._module(inputs).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        torch.autograd.backward(loss)
        self._optimizer.step()
