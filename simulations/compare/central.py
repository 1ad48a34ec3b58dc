"""All messages in one place, with DP-SGD and without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from fl_client.training.training import Examples, TrainingError
from privacy.accounting.accountant import message_level_epsilon
from privacy.task.task import LocalTraining
from simulations.compare.baseline_context import BaselineContext
from simulations.compare.grids import DP_RATES, EPOCHS, RATES, Candidate, at_edge, best, in_words
from simulations.compare.methods import CENTRAL, CENTRAL_DP, Trial
from simulations.compare.training import Weights, course, dp_sgd

Tick = Callable[[str], None]
"""What is called when a piece of work begins, with a few words about it."""


def central(context: BaselineContext, messages: Examples, seed: int, tick: Tick) -> Trial:
    """Train by plain SGD on pooled messages, at the best setting of the grid.

    Args:
        context: the seed's task and held-out users.
        messages: all of them.
        seed: the number of the seed.
        tick: called for each of `RATES`.

    Raises:
        NothingTrained: when every setting diverges.
    """
    since, trained = time.perf_counter(), dict[Candidate, tuple[Weights, float]]()
    for rate in RATES:
        tick(f"central, rate {rate:g}")
        subtree = context.seed.child("central", str(rate))
        models = _timed(course(context.task, context.start, messages, rate, subtree))
        for epochs, (weights, seconds) in zip(EPOCHS, models, strict=False):
            trained[Candidate(rate, epochs, context.calibrated([weights]))] = weights, seconds
    chosen = best(list(trained))
    weights, seconds = trained[chosen]
    return Trial(
        method=CENTRAL,
        seed=seed,
        metrics=context.evaluate([weights])[0],
        epsilon=None,
        seconds=seconds,
        setting=in_words(chosen),
        tuning_seconds=time.perf_counter() - since,
        at_edge=at_edge(chosen, RATES, EPOCHS[-1]),
    )


def central_dp(
    context: BaselineContext, messages: Examples, schedules: Sequence[LocalTraining], seed: int, tick: Tick
) -> Trial:
    """Train by DP-SGD on pooled messages, at the best setting of the grid.

    Args:
        context: the seed's task and held-out users.
        messages: all of them.
        schedules: their noise is calibrated; rate and batch are set here.
        seed: the number of the seed.
        tick: called for each schedule and each of `DP_RATES`.

    Raises:
        NothingTrained: when every setting diverges.
    """
    since, trained = time.perf_counter(), dict[Candidate, tuple[LocalTraining, Weights, float]]()
    for place, schedule in enumerate(schedules):
        for rate in DP_RATES:
            tick(f"central, DP-SGD, {schedule.steps} steps, rate {rate:g}")
            batch = schedule.sampling_rate * len(messages)
            training = schedule.model_copy(update={"learning_rate": rate, "expected_batch": batch})
            subtree, started = context.seed.child("dp-sgd", place, str(rate)), time.perf_counter()
            try:
                weights = dp_sgd(context.task, context.start, messages, training, subtree)
            except TrainingError:
                continue
            seconds = time.perf_counter() - started
            trained[Candidate(rate, place, context.calibrated([weights]))] = training, weights, seconds
    chosen = best(list(trained))
    training, weights, seconds = trained[chosen]
    return Trial(
        method=CENTRAL_DP,
        seed=seed,
        metrics=context.evaluate([weights])[0],
        epsilon=message_level_epsilon(training, 1, context.task.budget.delta),
        seconds=seconds,
        setting=_in_words(training),
        tuning_seconds=time.perf_counter() - since,
        at_edge=chosen.rate in (DP_RATES[0], DP_RATES[-1]),
    )


def _timed(models: Iterator[Weights]) -> Iterator[tuple[Weights, float]]:
    """Yield each model with the seconds that it took to make it, all earlier models included."""
    spent, since = 0.0, time.perf_counter()
    for weights in models:
        spent += time.perf_counter() - since
        yield weights, spent
        since = time.perf_counter()


def _in_words(training: LocalTraining) -> str:
    return (
        f"DP-SGD, rate {training.learning_rate:g}, {training.steps} steps, sampling rate {training.sampling_rate:g}, "
        f"noise multiplier {training.message_noise:g}"
    )
