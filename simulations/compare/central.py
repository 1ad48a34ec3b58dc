"""All messages in one place, with DP-SGD and without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from fl_client.training.training import Examples, TrainingError
from privacy.accounting.accountant import message_level_epsilon
from privacy.task.task import LocalTraining
from simulations.compare.baseline_context import BaselineContext
from simulations.compare.grids import DP_RATES, EPOCHS, RATES, Judged, at_edge, best, in_words
from simulations.compare.methods import CENTRAL, CENTRAL_DP, Trial
from simulations.compare.training import Weights, course, dp_sgd

Tick = Callable[[str], None]
"""Told when a piece of work begins, with a few words about it."""


def central(ground: BaselineContext, messages: Examples, seed: int, tick: Tick) -> Trial:
    """Plain SGD, a tick for each of `RATES`.

    Raises:
        NothingTrained: when every setting diverges.
    """
    since, found = time.perf_counter(), dict[Judged, tuple[Weights, float]]()
    for rate in RATES:
        tick(f"central, rate {rate:g}")
        trained = _timed(course(ground.task, ground.start, messages, rate, ground.seed.child("central", str(rate))))
        for epochs, (weights, seconds) in zip(EPOCHS, trained, strict=False):
            found[Judged(rate, epochs, ground.calibrated([weights]))] = weights, seconds
    chosen = best(list(found))
    weights, seconds = found[chosen]
    return Trial(
        method=CENTRAL,
        seed=seed,
        metrics=ground.evaluate_models([weights])[0],
        epsilon=None,
        seconds=seconds,
        setting=in_words(chosen),
        tuning_seconds=time.perf_counter() - since,
        at_edge=at_edge(chosen, RATES, EPOCHS[-1]),
    )


def central_dp(
    ground: BaselineContext, messages: Examples, schedules: Sequence[LocalTraining], seed: int, tick: Tick
) -> Trial:
    """DP-SGD, a tick for each schedule and each of `DP_RATES`.

    Args:
        schedules: their noise calibrated; rate and batch are set here.

    Raises:
        NothingTrained: when every setting diverges.
    """
    since, found = time.perf_counter(), dict[Judged, tuple[LocalTraining, Weights, float]]()
    for place, schedule in enumerate(schedules):
        for rate in DP_RATES:
            tick(f"central, DP-SGD, {schedule.steps} steps, rate {rate:g}")
            batch = schedule.sampling_rate * len(messages)
            training = schedule.model_copy(update={"learning_rate": rate, "expected_batch": batch})
            started = time.perf_counter()
            try:
                weights = dp_sgd(
                    ground.task, ground.start, messages, training, ground.seed.child("dp-sgd", place, str(rate))
                )
            except TrainingError:
                continue
            seconds = time.perf_counter() - started
            found[Judged(rate, place, ground.calibrated([weights]))] = training, weights, seconds
    chosen = best(list(found))
    training, weights, seconds = found[chosen]
    return Trial(
        method=CENTRAL_DP,
        seed=seed,
        metrics=ground.evaluate_models([weights])[0],
        epsilon=message_level_epsilon(training, 1, ground.task.budget.delta),
        seconds=seconds,
        setting=_in_words(training),
        tuning_seconds=time.perf_counter() - since,
        at_edge=chosen.rate in (DP_RATES[0], DP_RATES[-1]),
    )


def _timed(models: Iterator[Weights]) -> Iterator[tuple[Weights, float]]:
    """Each with the seconds that it took to make it, all earlier ones included."""
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
