"""Forged clients: how far one moves a sum and a model, and where it ends the round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy.mechanism.mechanism import Mechanism
from privacy.mechanism.rotation import unrotate
from privacy.task.states import Update
from simulations.config.config import ConfigError, load_config
from simulations.federation.forged import ForgedMechanism
from simulations.randomness import SeedTree
from simulations.runs.run import RunError, start
from tests.support.runs import model_bytes, small_config
from tests.support.tasks import make_task

ROTATION = bytes(range(32))


@pytest.mark.parametrize("beyond", [1.0, 50.0])
def test_a_forged_vector_goes_as_far_beyond_the_clip_as_is_said_and_in_the_updates_direction(beyond: float) -> None:
    honest = Mechanism.for_cohort(make_task(60), 10)
    update = Update(np.random.default_rng(1).normal(0, 5, 60).astype(np.float32))
    sent = [
        mechanism.encode(update, ROTATION, SeedTree.root(1).stream()).integers
        for mechanism in (ForgedMechanism.of(honest, beyond), honest)
    ]
    moved = unrotate((sent[0] - sent[1]).astype(np.float64), ROTATION) / honest.scale
    direction = update.delta / np.linalg.norm(update.delta)
    np.testing.assert_allclose(moved, direction * beyond * honest.task.mechanism.clip, atol=8 / honest.scale)


def test_a_device_that_learnt_nothing_has_nothing_to_go_further_in() -> None:
    honest = Mechanism.for_cohort(make_task(60), 10)
    nothing = Update(np.zeros(60, np.float32))
    sent = [
        mechanism.encode(nothing, ROTATION, SeedTree.root(1).stream()).integers
        for mechanism in (ForgedMechanism.of(honest, 9.0), honest)
    ]
    np.testing.assert_array_equal(*sent)


def run(path: Path, aggregation: str, forged: float) -> Path:
    path.mkdir()
    poison = f'[poison]\nfraction = 0.3\nattack = "boost"\nboost = -1.0\nforged = {forged}\n'
    settings = {"server.aggregation": aggregation, "engine": "sequential", "privacy.participation": "bounded"}
    start(load_config(small_config(path, 2, poison), settings), path / "run", force=False, workers=1)
    return path / "run"


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_protocol_and_sum_meet_the_same_forgers(tmp_path: Path) -> None:
    """Twice the clip of six in twenty is less than all reach together: the sum is released, whatever is in it."""
    runs = {kind: run(tmp_path / kind, kind, 1.0) for kind in ("secure", "ideal")}
    published = run(tmp_path / "published", "ideal", 0.0)
    assert model_bytes(runs["secure"]) == model_bytes(runs["ideal"])
    assert model_bytes(runs["ideal"]) != model_bytes(published)
    forged, honest = (json.loads((path / "summary.json").read_text())["attack"] for path in (runs["ideal"], published))
    assert (forged["forged"], honest["forged"]) == (1.0, 0.0)
    assert forged["most_they_add"] == pytest.approx(2 * honest["most_they_add"])


def test_who_goes_further_than_honest_devices_reach_together_ends_each_round_charged(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no round released anything"):
        run(tmp_path / "far", "ideal", 1e6)
    aborted = [line["aborted"] for line in lines(tmp_path / "far" / "run")]
    assert aborted
    assert all("times as long as any of honest devices" in reason for reason in aborted)
    assert all(line["epsilon"] > 0 for line in lines(tmp_path / "far" / "run"))


def test_a_trusted_aggregator_clips_by_itself() -> None:
    with pytest.raises(ConfigError, match=r"poison\.forged: expected 0 with a trusted aggregator"):
        load_config(None, {"poison.forged": 3.0, "server.aggregation": "central"})
