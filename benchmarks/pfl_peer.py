"""pfl-research's own loop on a benchmark's devices: one iteration of federated averaging with central Gaussian noise.

    pip install --no-deps pfl==0.6.0 multiprocess dill

without its dependencies, since it asks for an older dp-accounting, which this does not use.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fl_client.training.models import build
from fl_client.training.training import Examples
from privacy.task.task import LocalSgd, TaskSpec


def available() -> bool:
    """Whether pfl can be imported."""
    try:
        import pfl  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


class _Trained(nn.Module):
    """A module as pfl wants it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor, is_eval: bool = False) -> torch.Tensor:
        self.eval() if is_eval else self.train()
        return nn.functional.binary_cross_entropy_with_logits(self.module(inputs).squeeze(1), labels)

    @torch.no_grad()
    def metrics(self, inputs: torch.Tensor, labels: torch.Tensor, is_eval: bool = True) -> dict[str, Any]:
        from pfl.metrics import Weighted  # noqa: PLC0415

        return {"loss": Weighted(float(self.loss(inputs, labels, is_eval)), len(labels))}


class PflPeer:
    """A cohort of devices in pfl's simulated backend."""

    def __init__(self, task: TaskSpec, devices: Sequence[Examples]) -> None:
        from pfl.aggregate.simulate import SimulatedBackend  # noqa: PLC0415
        from pfl.algorithm.base import NNAlgorithmParams  # noqa: PLC0415
        from pfl.algorithm.federated_averaging import FederatedAveraging  # noqa: PLC0415
        from pfl.data.federated_dataset import FederatedDataset  # noqa: PLC0415
        from pfl.data.pytorch import PyTorchTensorDataset  # noqa: PLC0415
        from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams  # noqa: PLC0415
        from pfl.model.pytorch import PyTorchModel  # noqa: PLC0415
        from pfl.privacy.gaussian_mechanism import GaussianMechanism  # noqa: PLC0415
        from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism  # noqa: PLC0415

        training = task.training
        if not isinstance(training, LocalSgd):
            raise TypeError("training: expected plain SGD")
        # Made once: what a user's data cost to make is left out on both sides.
        tensors = [
            (torch.from_numpy(examples.features.dense()), torch.from_numpy(examples.labels)) for examples in devices
        ]
        users = itertools.cycle(range(len(devices)))
        data = FederatedDataset(
            lambda user: PyTorchTensorDataset(tensors[user], train_kwargs={"is_eval": False}), lambda: next(users)
        )
        clip, noise = task.mechanism.clip, task.mechanism.noise_multiplier
        mechanism = CentrallyAppliedPrivacyMechanism(GaussianMechanism(clip, noise))
        self._backend = SimulatedBackend(data, data, [mechanism])
        module = _Trained(build(task.model.architecture, task.features))
        self._model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), 1.0))
        self._algorithm = FederatedAveraging()
        self._params = NNAlgorithmParams(
            central_num_iterations=10**6, evaluation_frequency=10**6, train_cohort_size=len(devices), val_cohort_size=0
        )
        self._train = NNTrainHyperParams(
            local_num_epochs=training.epochs,
            local_learning_rate=training.learning_rate,
            local_batch_size=training.batch_size,
        )
        self._eval = NNEvalHyperParams(local_batch_size=training.batch_size)
        self._iteration = 1  # the first also evaluates

    def round(self) -> float:
        """CPU seconds of one iteration of the whole cohort."""
        started = time.process_time()
        contexts, self._model, _ = self._algorithm.get_next_central_contexts(
            self._model, self._iteration, self._params, self._train, self._eval
        )
        for context in contexts:
            statistics, metrics = self._backend.gather_results(
                model=self._model, training_algorithm=self._algorithm, central_context=context
            )
            self._model, _ = self._algorithm.process_aggregated_statistics(context, metrics, self._model, statistics)
        self._iteration += 1
        return time.process_time() - started
