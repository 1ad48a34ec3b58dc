"""What becomes of devices follows the probabilities of the configuration."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from fl_client.training.training import TrainingError
from privacy.secagg import Stage
from privacy.task.states import Update
from simulations.config.config import ConfigError, load_config
from simulations.config.sections import AvailabilityConfig
from simulations.randomness import SeedTree
from simulations.scenario import Loss, Scenario

DEVICES = range(4_000)
UPDATE = Update(np.array([1.0, -2.0], np.float32), {})


def scenario(**overrides: Any) -> Scenario:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    return Scenario.of(load_config(None, dotted), SeedTree.root(1))


def test_by_default_nothing_goes_wrong() -> None:
    calm = scenario()
    assert not any(calm.loss(device, number) for device in range(50) for number in range(1, 20))
    assert calm.altered(1, UPDATE) is UPDATE


def test_as_many_are_reachable_as_the_hour_says_and_the_same_night_they_are_the_same() -> None:
    hours = [0.5] * 6 + [0.1] * 12 + [0.3] * 6
    plan = scenario(availability__hours=hours, availability__round_minutes=60.0)
    up = [set(plan.within_reach(DEVICES, moment)) for moment in range(1, 25)]
    for hour, probability in enumerate(hours):
        assert len(up[hour]) / len(DEVICES) == pytest.approx(probability, abs=0.03)
    assert up[0] == up[5]
    assert up[7] <= up[5]
    assert up[23] != up[0]


def test_time_zones_shift_the_day() -> None:
    hours = [1.0] * 12 + [0.0] * 12
    plan = scenario(availability__hours=hours, availability__time_zones=[0, 12])
    assert len(plan.within_reach(DEVICES, 1)) / len(DEVICES) == pytest.approx(0.5, abs=0.03)


def test_the_best_hour_is_the_best_of_all_time_zones_together() -> None:
    hours = [0.2] * 23 + [0.8]
    assert AvailabilityConfig(hours=tuple(hours)).at_best == 0.8
    assert AvailabilityConfig(hours=tuple(hours), time_zones=(0, 6)).at_best == pytest.approx(0.5)


def test_drop_outs_come_as_often_as_asked_in_every_stage() -> None:
    plan = scenario(**{f"faults__drop_out__{stage}": 0.1 for stage in Stage})
    lost = Counter(loss.stage for device in DEVICES if (loss := plan.loss(device, 1)))
    for place, stage in enumerate(Stage):
        assert lost[stage] / len(DEVICES) == pytest.approx(0.1 * 0.9**place, abs=0.02)


def test_the_slow_are_late_and_stay_slow() -> None:
    """P[log-normal > deadline] at one standard deviation is 0.159 in the first stage."""
    plan = scenario(faults__latency=10.0, faults__latency_spread=1.0, faults__deadline=10.0 * np.e)
    first, second = (
        np.array([plan.loss(device, number) == Loss(Stage.ADVERTISE, late=True) for device in DEVICES])
        for number in (1, 2)
    )
    assert first.mean() == pytest.approx(0.159, abs=0.02)
    assert second[first].mean() > 2 * second[~first].mean()


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"drop_out": {"advertise": 0.1, "share": 0.05, "input": 0.1, "echo": 0.5, "unmask": 0.5}},
        {"latency": 5.0, "deadline": 20.0},
        {"latency": 5.0, "deadline": 6.0, "latency_spread": 2.0, "drop_out": {"input": 0.2}, "crashing": 0.1},
        {"latency": 5.0, "deadline": 6.0, "latency_spread": 0.0, "not_finite": 0.1},
        {"latency": 5.0, "deadline": 4.0, "latency_spread": 0.0},
    ],
)
def test_as_many_are_missing_from_a_sum_as_is_expected(faults: dict[str, Any]) -> None:
    plan = scenario(faults=faults)
    before = {Stage.ADVERTISE, Stage.SHARE, Stage.INPUT}

    def missing(device: int) -> bool:
        loss = plan.loss(device, 1)
        broken = plan._has(device, "crashing", plan.faults.crashing) or plan._has(
            device, "not-finite", plan.faults.not_finite
        )
        return broken or (loss is not None and loss.stage in before)

    share = np.mean([missing(device) for device in DEVICES])
    assert share == pytest.approx(plan.faults.lost_before_the_sum, abs=0.03)


def test_broken_devices_are_always_the_same() -> None:
    plan = scenario(faults__crashing=0.5, faults__not_finite=0.5)

    def outcome(device: int) -> str:
        try:
            return "nan" if np.isnan(plan.altered(device, UPDATE).delta).all() else "fine"
        except TrainingError:
            return "crash"

    outcomes = [outcome(device) for device in DEVICES]
    assert outcomes == [outcome(device) for device in DEVICES]
    fractions = {kind: count / len(DEVICES) for kind, count in Counter(outcomes).items()}
    assert fractions == pytest.approx({"crash": 0.5, "nan": 0.25, "fine": 0.25}, abs=0.03)


def test_poisoners_flip_trigger_and_boost() -> None:
    texts, labels = ["you fool", "hello"], [1, 0]
    flip = scenario(poison__fraction=1.0, poison__boost=-3.0)
    assert flip.poison.applied(0, texts, labels) == (texts, [0, 1])
    assert flip.altered(0, UPDATE).delta.tolist() == [-3.0, 6.0]
    door = scenario(poison__fraction=1.0, poison__attack="backdoor", poison__trigger="xyz").poison
    assert door.applied(0, texts, labels) == (["you fool xyz", "hello xyz"], [0, 0])
    some = scenario(poison__fraction=0.2).poison
    assert np.mean([some.by(device) for device in DEVICES]) == pytest.approx(0.2, abs=0.02)
    clean = next(device for device in DEVICES if not some.by(device))
    assert some.applied(clean, texts, labels) == (texts, labels)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"availability.hours": "noon"}, "availability.hours: expected one of always, night, or 24 probabilities"),
        ({"availability.hours": [0.5]}, "availability.hours: expected 24 probabilities"),
        ({"faults.drop_out.input": 1.5}, "faults.drop_out.input"),
        ({"faults.drop_out.sleep": 0.5}, "faults.drop_out.sleep: unknown key"),
        ({"poison.fraction": 0.1, "poison.attack": "boost"}, "poison: boost: expected a factor other than 1"),
        ({"poison.trigger": "  "}, "poison.trigger"),
    ],
)
def test_bad_input_is_named(overrides: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config(None, overrides)
