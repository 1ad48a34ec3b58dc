"""The grid that is worth its runs: rounds and the server's learning rate, around what public numbers give.

Clip, local steps and momentum do not matter once the learning rate is scaled (docs/defaults.md), and the cohort and the
noise follow from the budget. What the search costs is stated with its result, as of any sweep.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulations.config.config import RunConfig
from simulations.runs.run import prepare
from simulations.sweep.grid import Axis

_ROUNDS = (0.5, 1.0, 2.0)
_RATES = (1 / 3, 1.0, 3.0)
"""Multiples of what is chosen: the best learning rate was within 2 of the rule's wherever it was studied."""


def tuning_axes(base: RunConfig, given: Sequence[str]) -> tuple[Axis, ...]:
    """Return axes of rounds and learning rates around what is planned for the data of a configuration.

    Args:
        base: what cells share.
        given: keys that the grid varies already; they are left to it.

    Raises:
        ConfigError, DataError: when the configuration cannot be run.
    """
    task = prepare(base).task
    axes = {
        "server.rounds": tuple(str(max(1, round(task.rounds * times))) for times in _ROUNDS),
        "server.learning_rate": tuple(f"{task.optimiser.learning_rate * times:.3g}" for times in _RATES),
    }
    return tuple(Axis(key, values) for key, values in axes.items() if key not in given)
