"""A round of secure aggregation for real against the exact sum that it gives: the default task, one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from charged_rounds import charged, ideal, secure
from measure import Row
from simulation_rounds import pair
from simulation_tasks import COHORT

from fl_server.rounds import Rounds
from simulations.run import Prepared

_DEFAULT = {"seed": 1}


def rows(runs: int, cohort: int = COHORT, flags: Mapping[str, object] = _DEFAULT) -> list[Row]:
    """Against the sum alone, of what the client's trainer gives, as in the protocol, and of the kernel's."""
    with ExitStack() as stack:

        def rounds(engine: str, rounds_of: Callable[[Prepared], Rounds]) -> Callable[[], float]:
            own = {**flags, "engine": engine, "server.cohort": cohort, "server.rounds": 2 * runs + 2}
            one = stack.enter_context(charged(own, rounds_of))
            return partial(one.round, range(cohort))  # always the same, so that none makes messages

        ours, name = rounds("auto", secure), "M, secure aggregation"
        in_turn = partial(pair, name, ours, runs=runs, cohort=cohort, times_less=False)
        return [
            in_turn(rounds("sequential", ideal), "its exact sum, same training"),
            in_turn(rounds("auto", ideal), "its exact sum, kernel"),
        ]
