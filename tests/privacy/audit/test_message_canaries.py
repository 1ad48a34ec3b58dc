from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from fl_client.training import models
from fl_client.training.training import Examples, LocalTrainer
from privacy.task.task import TaskSpec
from simulations.randomness import SeedTree
from simulations.runs.canaries import MessageCanary, audit_message
from tests.support.learning import BUCKETS, Bags, Tokens, examples, learning_task, registry_of_its_own

SEED = SeedTree.root(31)
TRIALS = 400
MANY_TRIALS = 1200


@pytest.fixture(autouse=True, scope="module")
def registry() -> Iterator[None]:
    with registry_of_its_own():
        models.register("tokens", Tokens)
        models.register("bags", Bags)
        yield


def messages(size: int = 5) -> Examples:
    """The first is the canary: long, so that every step clips its gradient."""
    rows = np.random.default_rng(1).normal(size=(size, BUCKETS))
    rows[0] = 50 * np.eye(BUCKETS)[3]
    return examples(rows, [1, *([0, 1] * size)[: size - 1]])


def canary_of(task: TaskSpec) -> MessageCanary:
    return MessageCanary(task, models.initial_weights(task.model.architecture, task.features, seed=5), messages(), 0)


def with_noise(task: TaskSpec, fraction: float) -> LocalTrainer:
    """A trainer whose optimiser adds this fraction of the noise that the task asks for."""
    trainer = LocalTrainer(task)
    trainer._method._optimizer.noise_multiplier = fraction * task.training.message_noise
    return trainer


@pytest.mark.long
@pytest.mark.parametrize(("steps", "noise"), [(1, 1.0), (4, 2.0)])
def test_the_bound_comes_close_to_the_claim_from_below(steps: int, noise: float) -> None:
    """Both are mu = sqrt(steps) / noise = 1: a canary that every step clips loses all that the account counts."""
    task = learning_task("hashed-linear", steps=steps, message_noise=noise, learning_rate=0.01, message_clip=0.5)
    audit = audit_message(canary_of(task), MANY_TRIALS, SEED.child("right", steps))
    assert audit.passed
    assert audit.method == "gaussian"
    assert 0.6 * audit.epsilon_claimed < audit.epsilon_bound <= audit.epsilon_claimed
    assert audit.epsilon_estimate == pytest.approx(audit.epsilon_claimed, rel=0.2)


@pytest.mark.parametrize("steps", [1, 4])
def test_half_of_the_noise_is_found_out(steps: int) -> None:
    task = learning_task("hashed-linear", steps=steps, message_noise=1.0, learning_rate=0.01, message_clip=0.5)
    audit = audit_message(canary_of(task), TRIALS, SEED.child("half", steps), trainer=with_noise(task, 0.5))
    assert not audit.passed
    assert "REFUTED" in audit.statement


@pytest.mark.parametrize(("fraction", "passes"), [(1.0, True), (0.1, False)])
def test_sampled_batches_get_the_bound_for_any_mechanism(fraction: float, passes: bool) -> None:
    """It says less: half of the noise would pass in so few runs, a tenth does not."""
    task = learning_task("hashed-linear", sampling_rate=0.9, message_noise=3.0, learning_rate=0.01, message_clip=0.5)
    audit = audit_message(canary_of(task), TRIALS, SEED.child("sampled"), trainer=with_noise(task, fraction))
    assert audit.method == "any"
    assert audit.mu_bound is None
    assert audit.passed == passes


def test_without_noise_there_is_nothing_to_audit() -> None:
    with pytest.raises(ValueError, match="message_noise: expected more than 0"):
        audit_message(canary_of(learning_task("hashed-linear")), TRIALS, SEED)


def test_a_message_that_is_learnt_already_is_no_canary() -> None:
    task = learning_task("hashed-linear", message_noise=1.0)
    certain = np.full(task.model.dimension, 1000, np.float32)
    with pytest.raises(ValueError, match="canary: expected a message that moves the update"):
        MessageCanary(task, certain, messages(), 0).direction()


@pytest.mark.parametrize("architecture", ["tokens", "bags"])
@pytest.mark.parametrize("repeats", [1, 2, BUCKETS])
def test_a_message_of_repeated_tokens_moves_the_update_by_the_clip(architecture: str, repeats: int) -> None:
    """A token's gradients add up where it repeats, before the clip: neither is one lost nor is it exceeded.

    So do those of embedding bags, of which Opacus gives others: they are computed one example at a time.
    """
    task = learning_task(architecture, message_clip=1e-2)
    tokens = np.repeat(np.arange(BUCKETS // repeats), repeats)[:BUCKETS]
    message, nobody = examples([np.resize(tokens, BUCKETS)], [1]), examples([], [])
    start = models.initial_weights(architecture, task.features, seed=5)
    trainer = LocalTrainer(task)
    moved = trainer.train(start, message, SEED.stream()).delta - trainer.train(start, nobody, SEED.stream()).delta
    assert np.linalg.norm(moved.astype(np.float64)) == pytest.approx(1e-2, rel=1e-3)
