"""Opacus' ghost clipping on a benchmark's devices."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

from fl_client.training.models import build, initial_weights, load_flat
from fl_client.training.training import Examples
from privacy.task.task import LocalTraining, TaskSpec


class Ghost:
    """Opacus' ghost clipping, wrapped once; batches of sixteen in turn, since it cannot take an empty one."""

    def __init__(self, task: TaskSpec, devices: Sequence[Examples]) -> None:
        training = task.training
        if not isinstance(training, LocalTraining):
            raise TypeError("training: expected DP-SGD")
        self._training, self._devices = training, devices
        self._module = GradSampleModuleFastGradientClipping(
            build(task.model.architecture, task.features),
            max_grad_norm=training.message_clip,
            use_ghost_clipping=True,
            loss_reduction="mean",
        )
        self._optimizer = DPOptimizerFastGradientClipping(
            torch.optim.SGD(self._module.parameters(), training.learning_rate),
            noise_multiplier=training.message_noise,
            max_grad_norm=training.message_clip,
            expected_batch_size=int(training.expected_batch),
            loss_reduction="mean",
        )
        self._loss = DPLossFastGradientClipping(
            self._module, self._optimizer, nn.BCEWithLogitsLoss(reduction="mean"), loss_reduction="mean"
        )
        self._start = torch.from_numpy(initial_weights(task.model.architecture, task.features, seed=1))

    def round(self) -> float:
        """CPU seconds."""
        started = time.process_time()
        for examples in self._devices:
            load_flat(self._module, self._start)
            inputs, labels = torch.from_numpy(examples.features.dense()), torch.from_numpy(examples.labels)
            if inputs.is_floating_point():
                inputs.requires_grad_()
            for step in range(self._training.steps):
                batch = (torch.arange(16) + 16 * step) % len(labels)
                self._optimizer.zero_grad()
                self._loss(self._module(inputs[batch]).squeeze(1), labels[batch]).backward()
                self._optimizer.step()
        return time.process_time() - started
