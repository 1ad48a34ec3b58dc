"""Numbers of a run that say what went wrong where something did; taken of held-out users, who are charged nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from fl_client.training.training import Examples
from privacy import schedule
from privacy.task.task import FeatureSpec, TaskSpec
from simulations.population import FederationData
from simulations.randomness import SeedTree
from simulations.training.engines.base import ClippedUpdate, Engine, Participant, Scale

_DEVICES = 64
"""How many held-out devices train once to show how long updates are."""
_STEPS = 2.0**20
_SHARPEST = 1e-9
"""How near 0 and 1 a score may come before its logit is taken."""


def diagnostics(
    task: TaskSpec, engine: Engine, start: NDArray[np.float32], data: FederationData, scores: NDArray[np.float64]
) -> dict[str, Any]:
    """Return what `fl-sim doctor` reads of a finished run beside its metrics.

    Args:
        task: what the devices were asked to do.
        engine: trains devices.
        start: float32[d], the model before the first round.
        data: its held-out users.
        scores: float64[test examples] of the published model.

    Returns:
        `update_norm` and `updates_clipped`: the median L2 norm of what calibration users learn in the first round, as
        devices, and the fraction of them above the clip; None where none could train. `clip`. `logit_spread`: the
        standard deviation of the test messages' logits. `logit_noise`: that of all rounds' noise in it, and
        `ruled_learning_rate`, what the rule asks for; None where the model is not linear on rows of norm 1.
        `learning_rate` as it is. `compact_letters`: the fraction of letters of scripts without spaces, or of syllables;
        `shortest_ngram`: how many of them the features read at least.
    """
    norms = np.array(_norms(task, engine, start, data))
    ruled = schedule.is_ruled(task)
    optimiser, clip = task.optimiser, task.mechanism.clip
    spread = logit(np.clip(scores, _SHARPEST, 1 - _SHARPEST)).std() if scores.size else 0.0
    return {
        "clip": clip,
        "update_norm": float(np.median(norms)) if norms.size else None,
        "updates_clipped": float(np.mean(norms > clip)) if norms.size else None,
        "logit_spread": float(spread),
        "logit_noise": schedule.logit_noise(task, optimiser.learning_rate, optimiser.momentum) if ruled else None,
        "learning_rate": optimiser.learning_rate,
        "ruled_learning_rate": schedule.learning_rate(task, optimiser.momentum) if ruled else None,
        "compact_letters": data.compact,
        "shortest_ngram": task.features.compact_ngrams[0] if isinstance(task.features, FeatureSpec) else 1,
    }


def _norms(task: TaskSpec, engine: Engine, start: NDArray[np.float32], data: FederationData) -> list[float]:
    seed = SeedTree.root(0).child("diagnostics")
    participants = [
        Participant(place, examples, seed.child(place).stream()) for place, examples in enumerate(_devices(data))
    ]
    scale = Scale(task.mechanism.clip, _STEPS / task.contribution_bound)
    learnt = engine.add(start, participants, scale, np.zeros(task.model.dimension, np.int64))
    return [result.norm for result in learnt if isinstance(result, ClippedUpdate)]


def _devices(data: FederationData) -> list[Examples]:
    """Return calibration users as devices; single messages are dealt into as many as a device holds on average."""
    held, users = data.calibration, data.calibration_users
    if np.unique(users).size == len(held) and data.population.messages is not None:
        users = np.arange(len(held)) // max(1, round(data.population.messages / data.population.devices))
    return [
        Examples(held.features.rows(rows), held.labels[rows])
        for rows in (np.flatnonzero(users == user) for user in np.unique(users)[:_DEVICES])
    ]
