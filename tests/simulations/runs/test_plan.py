from __future__ import annotations

from typing import Any

import pytest

from privacy.mechanism.mechanism import Mechanism, smallest_modulus
from privacy.task.task import PoissonParticipation, Window
from simulations.config.config import ConfigError, RunConfig, load_config
from simulations.runs.plan import plan_task, warnings_about

DATA = "ab" * 32


def config(**changes: Any) -> RunConfig:
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return load_config(None, {"privacy.noise_multiplier": 1.0, **dotted})


def test_the_defaults_take_16_bits_a_coordinate() -> None:
    task = plan_task(RunConfig(), 1_000, DATA)
    assert task.aggregation.modulus_bits == smallest_modulus(task) == 16
    assert Mechanism.for_cohort(task, task.largest_shard).rounding_cost < 1.01
    assert task.statistics == ()


def test_the_bits_can_be_chosen_and_too_few_are_refused() -> None:
    assert plan_task(config(server__modulus_bits=24), 1_000, DATA).aggregation.modulus_bits == 24
    with pytest.raises(ConfigError, match="modulus_bits"):
        plan_task(config(server__modulus_bits=10), 1_000, DATA)


@pytest.mark.parametrize(
    ("cohort", "shards", "least"),
    [(2, 1, 2), (64, 1, 18), (750, 1, 187), (751, 2, 93), (800, 2, 100), (801, 3, 66), (10000, 25, 100)],
)
def test_large_cohorts_are_split_into_shards_of_about_400(cohort: int, shards: int, least: int) -> None:
    chosen = config(server__cohort=cohort)
    assert chosen.server.shard_count == shards
    task = plan_task(chosen, 100_000, DATA)
    assert task.aggregation.shards == shards
    assert task.aggregation.min_survivors == least
    assert task.largest_shard <= 1_000


def test_min_survivors_are_those_of_a_shard() -> None:
    with pytest.raises(ConfigError, match=r"server\.min_survivors: expected at most the 10 devices .* in a shard"):
        config(server__cohort=20, server__shards=2, server__min_survivors=11)
    with pytest.raises(
        ConfigError, match=r"server\.min_survivors: expected more than the 4 devices of a shard that may"
    ):
        config(server__cohort=20, server__dropout_fraction=0.2, server__min_survivors=4)
    assert config(server__cohort=20, server__shards=2, server__min_survivors=10).server.fewest_survivors == 10


def test_statistics_are_named_bounded_and_paid_for() -> None:
    chosen = config(
        server__statistics=["loss", "examples"], server__statistics_bound=32, server__statistics_fraction=0.2
    )
    task = plan_task(chosen, 1_000, DATA)
    statistics = [(stat.name, stat.bound, stat.sensitivity_fraction) for stat in task.statistics]
    assert statistics == [("loss", 32.0, 0.2), ("examples", 32.0, 0.2)]
    assert task.contribution_bound == pytest.approx(0.5 * (1 + 2 * 0.2**2) ** 0.5)
    with pytest.raises(ConfigError, match=r"server\.statistics: expected each statistic once"):
        config(server__statistics=["loss", "loss"])
    with pytest.raises(ConfigError, match=r"server\.shards: expected at most half of server\.cohort \(64\), got 33"):
        config(server__shards=33)
    with pytest.raises(ConfigError, match=r"server\.statistics"):
        config(server__statistics=["age"])


def test_a_window_and_a_purpose_are_part_of_the_task() -> None:
    task = plan_task(config(privacy__window_epsilon=2.0, privacy__window_days=30, purpose="tuning"), 1_000, DATA)
    assert task.budget.window == Window(epsilon=2.0, days=30)
    assert task.purpose == "tuning"
    with pytest.raises(ConfigError, match=r"privacy: window_epsilon: expected together with window_days"):
        config(privacy__window_epsilon=2.0)
    with pytest.raises(ConfigError, match="purpose"):
        config(purpose="fun")


def test_check_ins_amplify_nothing() -> None:
    with pytest.raises(ConfigError, match=r"privacy\.participation: devices that check in when they please"):
        config(privacy__participation="check-in")
    with pytest.raises(ValueError, match=r"drawn_by\n.*expected `server`: amplification is claimed only"):
        PoissonParticipation(population=100, sampling_rate=0.1, drawn_by="devices")


@pytest.mark.parametrize(("probability", "warned"), [(0.05, False), (0.06, True)])
def test_more_lost_devices_than_a_round_withstands_are_warned_of(probability: float, warned: bool) -> None:
    """Two stages of .05 lose .0975 of a cohort, of .06 lose .1164; .1 is allowed for."""
    lossy = config(faults__drop_out__share=probability, faults__drop_out__input=probability)
    assert any("raise server.dropout_fraction" in line for line in warnings_about(lossy, 1_000)) is warned
