"""A round of secure aggregation for real against the exact sum that it gives: the default task, one process.

Cohorts are drawn anew for each round, the same for both: a pair of devices that met before would save an agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

import numpy as np
from charged_rounds import Charged, charged, ideal, secure
from measure import Row
from simulation_rounds import pair
from simulation_tasks import COHORT

from fl_server.training.round import Rounds
from simulations.runs.run import Prepared

_DEFAULT = {"seed": 1}


def rows(runs: int, cohort: int = COHORT, flags: Mapping[str, object] = _DEFAULT) -> list[Row]:
    """Compare with the sum alone, of what the client's trainer gives, as in the protocol, and of the kernel's."""
    with ExitStack() as stack:

        def rounds(engine: str, rounds_of: Callable[[Prepared], Rounds]) -> Callable[[], float]:
            own = {**flags, "engine": engine, "server.cohort": cohort, "server.rounds": 2 * runs + 2}
            return partial(_round, stack.enter_context(charged(own, rounds_of)), np.random.default_rng(1), cohort)

        ours, name = rounds("auto", secure), "M, secure aggregation"
        in_turn = partial(pair, name, ours, runs=runs, cohort=cohort, times_less=False)
        return [
            in_turn(rounds("sequential", ideal), "its exact sum, same training"),
            in_turn(rounds("auto", ideal), "its exact sum, kernel"),
        ]


def _round(rounds: Charged, source: np.random.Generator, size: int) -> float:
    """Return the CPU seconds of one more round of so many devices; their messages are made before."""
    cohort = source.choice(rounds.population.devices, size, replace=False).tolist()
    for device in cohort:
        rounds.population.of(device, 1)
    return rounds.round(cohort)
