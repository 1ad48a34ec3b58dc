"""The success of an attack on a model, and the bound on what it could have added."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.task.task import TaskSpec
from simulations.config.config import RunConfig
from simulations.evaluation.metrics import Scorer, best_threshold
from simulations.population import FederationData


def success(data: FederationData, scorer: Scorer, weights: NDArray[np.float32]) -> dict[str, float]:
    """Return how much of the test users' abuse a model lets through at the threshold of the calibration users.

    Args:
        data: the held-out users.
        scorer: of the run's task.
        weights: float32[d], the model.

    Returns:
        Fractions in [0, 1]: `missed` of the abuse as it was written, `attack_success` as attackers send it, with a
        backdoor's trigger. Empty without poisoners.
    """
    if data.attacked is None:
        return {}
    calibration, test = data.calibration, data.test
    threshold = best_threshold(calibration.labels, scorer.scores(weights, calibration.features))
    abuse = scorer.scores(weights, test.features)[test.labels == 1]
    attacked = scorer.scores(weights, data.attacked.features)
    return {"missed": float(np.mean(abuse < threshold)), "attack_success": float(np.mean(attacked < threshold))}


def reach(config: RunConfig, task: TaskSpec, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the attack for a run's summary: its success, and L2 norms of what it and the noise add to a round's sum.

    Args:
        config: the run's configuration.
        task: its task.
        lines: the lines of `metrics.jsonl`.

    Returns:
        One entry, `attack`; empty without poisoners or rounds.
    """
    poison = config.poison
    if not poison.fraction or not lines:
        return {}
    noise = max(float(line["noise_std"]) for line in lines)
    expected = poison.fraction * config.server.cohort
    return {
        "attack": {
            "kind": poison.attack,
            "share": poison.fraction,
            "boost": poison.boost,
            **{name: lines[-1][name] for name in ("missed", "attack_success")},
            "poisoners_in_a_cohort": expected,
            "most_they_add": expected * task.mechanism.clip,
            "noise_norm": noise * math.sqrt(task.model.dimension),
        }
    }
