"""Audit of local training: what an update tells about one message, for whoever sees the device's own updates.

The shipped trainer is run many times on a device's messages, and as many times without one of them. An attacker who
knows the model, all other messages and the canary scores an update along the canary's own, noise-free effect. With
full batches a training is a sum of Gaussian mechanisms, so the Gaussian bound holds; sampled batches get the bound for
any mechanism, which needs many more runs to come as close.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import Examples, LocalTrainer
from privacy.accounting.accountant import message_level_epsilon
from privacy.accounting.composition import epsilon_bracket
from privacy.audit.bounds import certified_any, certified_gaussian, estimated_mu
from privacy.audit.record import AuditResult
from privacy.base.randomness import Randomness
from privacy.task.task import LocalSgd, LocalTraining, TaskSpec
from simulations.randomness import SeedTree

Floats = NDArray[np.float64]
"""Scores, or a direction in the space of models."""


@dataclass(frozen=True, eq=False)
class MessageCanary:
    """A device's messages, and which of them is the canary.

    Attributes:
        task: what the device is asked to do.
        weights: float32[d], where training starts.
        messages: what the device holds.
        canary: the place of the canary among them.
    """

    task: TaskSpec = field(repr=False)
    weights: NDArray[np.float32] = field(repr=False)
    messages: Examples = field(repr=False)
    canary: int

    @property
    def others(self) -> Examples:
        """All messages but the canary."""
        kept = np.delete(np.arange(len(self.messages)), self.canary)
        return Examples(self.messages.features.rows(kept), self.messages.labels[kept])

    def direction(self) -> Floats:
        """Return float64[d] of norm 1: how the canary moves the update when nothing is random.

        Raises:
            ValueError: when it does not move it.
        """
        plain = _claiming(self.task).model_copy(update={"message_noise": 0.0, "sampling_rate": 1.0})
        trainer, rng = LocalTrainer(self.task.model_copy(update={"training": plain})), SeedTree.root(0).stream()
        effect = self._update(trainer, self.messages, rng) - self._update(trainer, self.others, rng)
        norm = float(np.linalg.norm(effect))
        if not norm:
            raise ValueError("canary: expected a message that moves the update, got one without a gradient")
        along: Floats = effect / norm
        return along

    def scores(self, trials: int, seed: SeedTree, trainer: LocalTrainer | None = None) -> tuple[Floats, Floats]:
        """Train many times, and measure each update along the direction of the canary.

        Args:
            trials: how many trainings, with the canary and without.
            seed: decides their randomness.
            trainer: what is audited; by default a trainer of the task's own.

        Returns:
            Two float64[trials]: of trainings with the canary, and without.
        """
        audited, along, others = trainer or LocalTrainer(self.task), self.direction(), self.others
        present, absent = (
            np.array([self._update(audited, data, seed.child(name, run).stream()) @ along for run in range(trials)])
            for name, data in (("present", self.messages), ("absent", others))
        )
        return present, absent

    def _update(self, trainer: LocalTrainer, data: Examples, rng: Randomness) -> Floats:
        return trainer.train(self.weights, data, rng).delta.astype(np.float64)


def _claiming(task: TaskSpec) -> LocalTraining:
    """Return the training of a task, which has to claim something for a message."""
    if isinstance(task.training, LocalSgd) or not task.training.message_noise:
        raise ValueError("message_noise: expected more than 0, got 0; without noise there is nothing to audit")
    return task.training


def audit_message(
    canary: MessageCanary,
    trials: int,
    seed: SeedTree,
    *,
    confidence: float = 0.95,
    trainer: LocalTrainer | None = None,
) -> AuditResult:
    """Train with the canary and without, and hold the bound on epsilon against `message_level_epsilon`.

    Args:
        canary: the device's messages.
        trials: how many trainings with the canary, and as many without; at least 20.
        seed: decides their randomness.
        confidence: with which the bound holds, in (0, 1).
        trainer: what is audited; by default a trainer of the task's own.

    Raises:
        ValueError: when the task has no message noise, so that nothing is claimed; with fewer than 20 trials; or when
            the canary does not move the update.
    """
    training, delta = _claiming(canary.task), canary.task.budget.delta
    present, absent = canary.scores(trials, seed, trainer)
    gaussian = training.sampling_rate == 1
    of_any = certified_any(present, absent, delta, confidence)
    bound = certified_gaussian(present, absent, delta, confidence) if gaussian else of_any
    claimed, estimate = message_level_epsilon(training, 1, delta), estimated_mu(present, absent)
    return AuditResult(
        kind="message-many-runs",
        method="gaussian" if gaussian else "any",
        trials=trials,
        confidence=confidence,
        mu_bound=bound.mu if gaussian else None,
        epsilon_bound=bound.epsilon,
        epsilon_bound_any=of_any.epsilon,
        delta=delta,
        epsilon_claimed=claimed,
        epsilon_estimate=None if estimate is None else epsilon_bracket(estimate, delta)[1],
        passed=max(bound.epsilon, of_any.epsilon) <= claimed,
    )
