"""Local training: DP-SGD with constants that are public, by Opacus, or plain SGD.

It protects single messages, in defence in depth; the headline, for whole devices, is the discrete noise of
`privacy.mechanism`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_client.training.gradients import ExampleGradients, example_gradients, mean_gradient
from fl_client.training.models import UnknownArchitecture, build, load_flat, model_spec, to_flat
from fl_client.training.probes import seeded
from fl_client.training.soundness import draws
from privacy.base.randomness import Randomness, require_origin, uniform_unit, uniform_words
from privacy.features.encoding import Inputs
from privacy.task.states import Update
from privacy.task.task import LocalSgd, LocalTraining, TaskSpec

STATISTICS = ("examples", "loss", "correct")
"""Sums over a device's messages that a task may ask for: their number, their loss, how many are judged correctly."""


class TrainingError(RuntimeError):
    """Local training that gave no usable update."""


@dataclass(frozen=True, eq=False)
class Examples:
    """A device's own messages, encoded.

    Attributes:
        features: n rows or sequences.
        labels: float32[n] in {0, 1}.
    """

    features: Inputs = field(repr=False)
    labels: NDArray[np.float32] = field(repr=False)

    def __len__(self) -> int:
        return len(self.features)


class LocalTrainer:
    """Trains one task, for one device after another: checking a module costs more than training on ten messages.

    Attributes:
        reason: how gradients are computed, and why so.
    """

    def __init__(self, task: TaskSpec) -> None:
        """Build the task's model, and wrap it for per-sample gradients where the task asks for DP-SGD.

        Raises:
            UnknownArchitecture: when the model is not registered in this host application, is another one there, or
                cannot be trained as tasks ask for.
            TrainingError: when the task asks for a statistic that is none of `STATISTICS`.
        """
        self._promised, self._wants_statistics = task.randomness, bool(task.statistics)
        if unknown := {statistic.name for statistic in task.statistics} - set(STATISTICS):
            raise TrainingError(f"statistics: expected {', '.join(STATISTICS)}, got {', '.join(sorted(unknown))}")
        module = self._checked(task)
        self._draws = draws(module, task.features)
        training = task.training
        if isinstance(training, LocalSgd):
            self._method: _Method = _Sgd(module, training)
            self.reason = "by autograd"
        else:
            gradients = example_gradients(lambda: build(task.model.architecture, task.features), task.features)
            module, self.reason = gradients.module, gradients.reason
            self._method = _DpSgd(gradients, training)
        self._module = module

    @staticmethod
    def _checked(task: TaskSpec) -> nn.Module:
        architecture = task.model.architecture
        if model_spec(architecture, task.features) != task.model:
            raise UnknownArchitecture(f"architecture {architecture!r}: its parameters here are not those of the task")
        return build(architecture, task.features)

    def train(self, weights: NDArray[np.float32], examples: Examples, rng: Randomness) -> Update:
        """Train on one device's examples.

        A device without examples takes part like any other: its update is the noise of its empty batches.

        Formal guarantee of DP-SGD (message level, for a server that sees the device's own update): adding or removing
        one message changes each step's gradient sum by at most `message_clip` in L2 norm; the sum gets N(0,
        (message_noise * message_clip)^2); messages enter a step independently with probability `sampling_rate` (Abadi
        et al. 2016). Number of steps, sampling rate and normaliser do not depend on how many messages there are. The
        Gaussian is Opacus' own, in floating point from a generator seeded with 64 bits. Plain SGD promises nothing for
        a message, and the statistics are exact under either.

        Args:
            weights: float32[d], the model to start from; it is not changed.
            examples: the device's own.
            rng: of the batches, of dropout and of Opacus' noise.

        Returns:
            What the examples would change about the model, float32[d], and the statistics that the task asks for.

        Raises:
            TrainingError: when the result is not finite.
            RandomnessError: when the source is not the one that the task promises.
        """
        require_origin(self._promised, rng)
        start = torch.from_numpy(weights.copy())
        load_flat(self._module, start)
        inputs, labels = torch.from_numpy(examples.features.dense()), torch.from_numpy(examples.labels)
        statistics = self._statistics(inputs, labels) if self._wants_statistics else {}
        with self._dropout(rng):
            self._method.fit(inputs, labels, rng)
        delta = to_flat(self._module) - start
        if not bool(torch.isfinite(delta).all()):
            raise TrainingError("local training: the update is not finite; lower training.learning_rate")
        return Update(delta.numpy(), statistics)

    def _dropout(self, rng: Randomness) -> AbstractContextManager[None]:
        """Give layers that draw from torch numbers of this device's own, from 8 bytes of `rng` for a seed."""
        return seeded(int.from_bytes(rng.token(8), "little")) if self._draws else nullcontext()

    def _statistics(self, inputs: Tensor, labels: Tensor) -> dict[str, float]:
        """Compute `STATISTICS` of the model that was received, on this device's own messages."""
        if not len(labels):
            return dict.fromkeys(STATISTICS, 0.0)
        self._module.eval()
        with torch.no_grad():
            logits = self._module(inputs).squeeze(1)
        self._module.train()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        correct = ((logits > 0) == (labels > 0.5)).sum()
        return {"examples": float(len(labels)), "loss": float(loss), "correct": float(correct)}


class _Method(Protocol):
    """Moves a module's parameters."""

    def fit(self, inputs: Tensor, labels: Tensor, rng: Randomness) -> None:
        """Train on these examples, from the parameters as they are."""
        ...


class _DpSgd:
    """DP-SGD: clipped and noised by Opacus' optimizer, whatever computes the gradients of single examples."""

    def __init__(self, gradients: ExampleGradients, training: LocalTraining) -> None:
        from opacus.optimizers import DPOptimizer  # noqa: PLC0415 - slow to import

        self._training = training
        self._gradients = gradients
        self._parameters = list(gradients.module.parameters())
        self._optimizer = DPOptimizer(
            torch.optim.SGD(self._parameters, lr=training.learning_rate),
            noise_multiplier=training.message_noise,
            max_grad_norm=training.message_clip,
            expected_batch_size=training.expected_batch,
            loss_reduction="mean",  # divides the noised sum by expected_batch, whatever the batch
        )

    def fit(self, inputs: Tensor, labels: Tensor, rng: Randomness) -> None:
        """Take 8 bytes of `rng` for a seed, then 8 for each step and example, and make the steps."""
        self._optimizer.generator = torch.Generator().manual_seed(int.from_bytes(rng.token(8), "little"))
        chosen = uniform_unit(rng, self._training.steps * len(labels)) < self._training.sampling_rate
        for batch in chosen.reshape(self._training.steps, len(labels)):
            mask = torch.from_numpy(batch)
            self._step(inputs[mask], labels[mask])

    def _step(self, inputs: Tensor, labels: Tensor) -> None:
        self._optimizer.zero_grad()
        if len(labels):
            found = self._gradients.compute(inputs, labels)
        else:  # no module need read a batch without rows
            found = [torch.empty(0, *parameter.shape) for parameter in self._parameters]
        for parameter, rows in zip(self._parameters, found, strict=True):
            setattr(parameter, "grad_sample", rows)  # noqa: B010 - where Opacus' optimizer reads them
        self._optimizer.step()


class _Sgd:
    """Plain SGD, in epochs."""

    def __init__(self, module: nn.Module, training: LocalSgd) -> None:
        self._training = training
        self._module = module

    def fit(self, inputs: Tensor, labels: Tensor, rng: Randomness) -> None:
        """Take the randomness of `epochs`, and make a step for each batch; none without examples."""
        orders = epochs(self._training, len(labels), rng)
        for order in orders if len(labels) else ():
            for batch in torch.split(torch.from_numpy(order), self._training.batch_size):
                self._step(inputs[batch], labels[batch])

    def _step(self, inputs: Tensor, labels: Tensor) -> None:
        gradient = mean_gradient(self._module, inputs, labels)
        with torch.no_grad():
            for parameter, value in zip(self._module.parameters(), gradient, strict=True):
                parameter.sub_(value, alpha=self._training.learning_rate)


def epochs(training: LocalSgd, examples: int, rng: Randomness) -> NDArray[np.int64]:
    """Draw the order in which plain SGD meets the examples.

    Args:
        training: how many epochs there are.
        examples: n, how many examples the device has.
        rng: gives 8 bytes for each epoch and example.

    Returns:
        int64[epochs, n], a permutation of 0 to n - 1 in each row.
    """
    words = uniform_words(rng, training.epochs * examples, np.uint64).reshape(training.epochs, examples)
    return words.argsort(axis=1, kind="stable")
