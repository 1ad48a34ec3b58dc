"""Every device by itself: what its own messages are worth without the others'."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from fl_client.training.training import Examples
from simulations.compare.baseline_context import BaselineContext
from simulations.compare.central import Tick
from simulations.compare.grids import EPOCHS, MOST_DEVICES, RATES, TUNING_DEVICES, Judged, at_edge, best, in_words
from simulations.compare.methods import LOCAL_ONLY, METRICS, Quartiles, Trial
from simulations.compare.training import Weights, course
from simulations.evaluation.mean_std import Spread


def alone(ground: BaselineContext, seed: int, tick: Tick) -> Trial:
    """A random sample of devices with messages, each with a model of its own, all trained alike; a tick for each of
    `RATES`, and one for the sample.

    The setting is the best for the mean of the sample's first devices; thresholds are the best on the calibration
    users, whom no device alone could ask. Both flatter it.
    """
    since = time.perf_counter()
    order = np.random.default_rng(ground.seed.child("sample").integer()).permutation(len(ground.held))
    sample = [ground.held[place] for place in order[:MOST_DEVICES]]
    chosen = best(list(_tuned(ground, sample[:TUNING_DEVICES], tick)))
    tuned = time.perf_counter()
    tick(f"{len(sample)} devices alone")
    models = [_own(ground, place, examples, chosen.rate)[chosen.length] for place, examples in enumerate(sample)]
    seconds = (time.perf_counter() - tuned) / len(models)
    evaluate_models = ground.evaluate_models(models)
    spreads = {name: _numbers(one[name] for one in evaluate_models) for name in METRICS}
    means = {name: Spread.of(values) for name, values in spreads.items()}
    return Trial(
        method=LOCAL_ONLY,
        seed=seed,
        metrics={name: one.mean if one else None for name, one in means.items()},
        epsilon=None,
        seconds=seconds,
        setting=in_words(chosen),
        tuning_seconds=tuned - since,
        at_edge=at_edge(chosen, RATES, EPOCHS[-1]),
        quartiles={name: _quartiles(values) for name, values in spreads.items() if values},
        devices=len(models),
    )


def _tuned(ground: BaselineContext, sample: Sequence[Examples], tick: Tick) -> Iterator[Judged]:
    for rate in RATES:
        tick(f"devices alone, rate {rate:g}")
        own = [_own(ground, place, examples, rate) for place, examples in enumerate(sample)]
        for epochs in EPOCHS:
            yield Judged(rate, epochs, ground.calibrated([models[epochs] for models in own]))


def _own(ground: BaselineContext, place: int, examples: Examples, rate: float) -> dict[int, Weights]:
    """One device's models by epochs; where training diverges, the last that did not."""
    seed = ground.seed.child("alone", place, str(rate))
    models = [ground.start, *course(ground.task, ground.start, examples, rate, seed)]
    return {epochs: models[min(stop, len(models) - 1)] for stop, epochs in enumerate(EPOCHS, 1)}


def _numbers(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _quartiles(values: Sequence[float]) -> Quartiles:
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75))
    return Quartiles(float(lower), float(median), float(upper))
