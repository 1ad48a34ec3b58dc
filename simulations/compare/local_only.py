"""Local training only: what each device's own messages are worth without the others'."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from fl_client.training.training import Examples
from simulations.compare.baseline_context import BaselineContext
from simulations.compare.central import Tick
from simulations.compare.grids import EPOCHS, MOST_DEVICES, RATES, TUNING_DEVICES, Candidate, at_edge, best, in_words
from simulations.compare.methods import LOCAL_ONLY, Quartiles, Trial
from simulations.compare.training import Weights, course
from simulations.evaluation.mean_std import Spread
from simulations.evaluation.metrics import HEADLINE_METRICS


def local_only(context: BaselineContext, seed: int, tick: Tick) -> Trial:
    """Train a random sample of devices with messages, each alone on its own, all at the same setting.

    The setting is the best for the mean of the sample's first devices; thresholds are the best on the calibration
    users, whom no device alone could ask. Both flatter this method.

    Args:
        context: the seed's task, devices and held-out users.
        seed: the number of the seed.
        tick: called for each of `RATES`, and once for the sample.

    Raises:
        NothingTrained: when every setting diverges.
    """
    since = time.perf_counter()
    order = np.random.default_rng(context.seed.child("sample").integer()).permutation(len(context.held))
    sample = [context.held[place] for place in order[:MOST_DEVICES]]
    chosen = best(list(_candidates(context, sample[:TUNING_DEVICES], tick)))
    tuned = time.perf_counter()
    tick(f"{len(sample)} devices alone")
    models = [_own(context, place, examples, chosen.rate)[chosen.length] for place, examples in enumerate(sample)]
    seconds = (time.perf_counter() - tuned) / len(models)
    evaluated = context.evaluate(models)
    values = {name: _numbers(figures[name] for figures in evaluated) for name in HEADLINE_METRICS}
    means = {name: Spread.of(numbers) for name, numbers in values.items()}
    return Trial(
        method=LOCAL_ONLY,
        seed=seed,
        metrics={name: spread.mean if spread else None for name, spread in means.items()},
        epsilon=None,
        seconds=seconds,
        setting=in_words(chosen),
        tuning_seconds=tuned - since,
        at_edge=at_edge(chosen, RATES, EPOCHS[-1]),
        quartiles={name: _quartiles(numbers) for name, numbers in values.items() if numbers},
        devices=len(models),
    )


def _candidates(context: BaselineContext, sample: Sequence[Examples], tick: Tick) -> Iterator[Candidate]:
    for rate in RATES:
        tick(f"devices alone, rate {rate:g}")
        own = [_own(context, place, examples, rate) for place, examples in enumerate(sample)]
        for epochs in EPOCHS:
            yield Candidate(rate, epochs, context.calibrated([models[epochs] for models in own]))


def _own(context: BaselineContext, place: int, examples: Examples, rate: float) -> dict[int, Weights]:
    """Train one device's models, by epochs; where training diverges, the last that did not."""
    seed = context.seed.child("alone", place, str(rate))
    models = [context.start, *course(context.task, context.start, examples, rate, seed)]
    return {epochs: models[min(stop, len(models) - 1)] for stop, epochs in enumerate(EPOCHS, 1)}


def _numbers(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _quartiles(values: Sequence[float]) -> Quartiles:
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75))
    return Quartiles(float(lower), float(median), float(upper))
