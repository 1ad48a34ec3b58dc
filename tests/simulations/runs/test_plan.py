from __future__ import annotations

from typing import Any

import pytest

from fl_client.training.models import initial_model
from privacy.mechanism.mechanism import Mechanism, smallest_modulus
from privacy.schedule import learning_rate
from privacy.task.task import PoissonParticipation, TaskSpec, Window
from simulations.config.config import ConfigError, RunConfig, load_config
from simulations.runs.plan import choices, plan_task, warnings_about, with_schedule

DATA = "ab" * 32


def task_of(configuration: RunConfig, devices: int = 1_000) -> TaskSpec:
    return plan_task(with_schedule(configuration, devices), devices, DATA)


def config(**changes: Any) -> RunConfig:
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return load_config(None, {"privacy.noise_multiplier": 1.0, **dotted})


def test_the_defaults_take_16_bits_a_coordinate() -> None:
    task = task_of(RunConfig())
    assert task.aggregation.modulus_bits == smallest_modulus(task) == 16
    assert Mechanism.for_cohort(task, task.largest_shard).rounding_cost < 1.01
    assert task.statistics == ()


def test_the_bits_can_be_chosen_and_too_few_are_refused() -> None:
    assert task_of(config(server__modulus_bits=24)).aggregation.modulus_bits == 24
    with pytest.raises(ConfigError, match="modulus_bits"):
        task_of(config(server__modulus_bits=10))


@pytest.mark.parametrize(
    ("cohort", "shards", "least"),
    [(2, 1, 2), (64, 1, 18), (750, 1, 187), (751, 2, 93), (1500, 2, 187), (1501, 3, 125), (10000, 14, 178)],
)
def test_large_cohorts_are_split_into_as_few_shards_as_hold_them(cohort: int, shards: int, least: int) -> None:
    chosen = config(server__cohort=cohort)
    assert with_schedule(chosen, 100_000).server.shard_count == shards
    task = task_of(chosen, 100_000)
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
    assert config(server__cohort=20, server__shards=2, server__min_survivors=10).server.min_survivors == 10


def test_statistics_are_named_bounded_and_paid_for() -> None:
    chosen = config(
        server__statistics=["loss", "examples"], server__statistics_bound=32, server__statistics_fraction=0.2
    )
    task = task_of(chosen)
    statistics = [(stat.name, stat.bound, stat.sensitivity_fraction) for stat in task.statistics]
    assert statistics == [("loss", 32.0, 0.2), ("examples", 32.0, 0.2)]
    assert task.contribution_bound == pytest.approx(0.5 * (1 + 2 * 0.2**2) ** 0.5)
    with pytest.raises(ConfigError, match=r"server\.statistics: expected each statistic once"):
        config(server__statistics=["loss", "loss"])
    with pytest.raises(ConfigError, match=r"server\.shards: expected at most half of server\.cohort \(64\), got 33"):
        config(server__cohort=64, server__shards=33)
    with pytest.raises(ConfigError, match=r"server\.statistics"):
        config(server__statistics=["age"])


def test_a_window_and_a_purpose_are_part_of_the_task() -> None:
    task = task_of(config(privacy__window_epsilon=2.0, privacy__window_days=30, purpose="tuning"))
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
    lossy = config(
        faults__drop_out__share=probability, faults__drop_out__input=probability, privacy__participation="bounded"
    )
    warnings = warnings_about(with_schedule(lossy, 1_000), 1_000, task_of(lossy))
    assert any("raise server.dropout_fraction" in line for line in warnings) is warned


@pytest.mark.parametrize(
    ("settings", "schedule"),
    [
        ({}, (100, 360)),
        ({"privacy__epsilon": 1.0}, (100, 100)),
        ({"privacy__noise_multiplier": 0.0}, (100, 200)),
        ({"server__rounds": 50}, (50, 500)),
        ({"server__cohort": 80}, (100, 80)),
        ({"privacy__participation": "bounded"}, (30, 160)),
        ({"privacy__participation": "bounded", "privacy__min_separation": 10}, (30, 100)),
        ({"fleet__population": 10**6, "fleet__cohort": 150, "privacy__delta": 1e-7}, (100, 150)),
    ],
)
def test_rounds_and_cohort_are_chosen_for_the_population_and_the_budget(
    settings: dict[str, Any], schedule: tuple[int, int]
) -> None:
    asked = load_config(None, {name.replace("__", "."): value for name, value in settings.items()})
    chosen = with_schedule(asked, 1_000)
    assert (chosen.server.rounds, chosen.server.cohort) == schedule


def test_the_learning_rate_of_the_task_follows_from_its_noise_unless_it_is_given() -> None:
    noisy, quiet = (task_of(config(server__cohort=64, privacy__noise_multiplier=noise)) for noise in (4.0, 0.0))
    assert noisy.optimiser.learning_rate == pytest.approx(learning_rate(noisy, 0.7))
    assert noisy.optimiser.learning_rate < 10 < quiet.optimiser.learning_rate == 80
    assert task_of(config(server__learning_rate=3.5, server__cohort=64)).optimiser.learning_rate == 3.5
    embedding = task_of(config(training__architecture="word-embedding", server__cohort=64))
    assert embedding.optimiser.learning_rate == 20


def test_a_base_rate_is_stated_and_refused_where_no_intercept_can_stand_for_it() -> None:
    task = task_of(config(training__base_rate=0.25, training__buckets=64, server__cohort=64))
    assert task.initial.base_rate == 0.25
    assert task.initial == initial_model("hashed-linear", task.features, task.initial.seed or 0, 0.25)
    with pytest.raises(ConfigError, match=r"training\.base_rate: expected it with hashed-linear alone"):
        task_of(config(training__base_rate=0.25, training__architecture="word-embedding", server__cohort=64))


def test_a_run_is_told_what_was_chosen_and_why_and_what_is_far_off() -> None:
    chosen = with_schedule(config(privacy__epsilon=8.0, server__learning_rate=500.0, server__cohort=10), 1_000)
    task = plan_task(chosen, 1_000, DATA)
    names = [choice.name for choice in choices(chosen, 1_000, task)]
    assert names == ["rounds", "cohort", "shards", "clip", "momentum", "learning rate"]
    told = " ".join(warnings_about(chosen, 1_000, task))
    assert (task.rounds, task.participation.expected_cohort) == (100, pytest.approx(10))
    assert "100 rounds of 10 devices have" in told
    assert "a server learning rate of 500 is far above" in told


LOSSY = (
    r"faults: expected at most 9\.38% of a cohort to be lost before its sum, .* got {}% on average; raise server\.drop"
)


@pytest.mark.parametrize(
    ("faults", "lost"),
    [
        ({"drop_out": {"share": 0.06, "input": 0.06}}, r"11\.64"),
        ({"latency": 10.0, "deadline": 30.0}, r"2\d\.\d\d"),
        ({"crashing": 0.1}, r"10\.00"),
        ({"not_finite": 0.05, "drop_out": {"advertise": 0.05}}, r"9\.75"),
    ],
)
def test_sampled_cohorts_that_lose_more_than_epsilon_counts_on_are_refused(faults: dict[str, Any], lost: str) -> None:
    """Six of 64 devices are allowed for. Rounds of bounded participation, or without noise, may lose more."""
    with pytest.raises(ConfigError, match=LOSSY.format(lost)):
        task_of(config(faults=faults, server__cohort=64))
    assert task_of(config(faults=faults, server__cohort=64, server__dropout_fraction=0.4))
    assert task_of(config(faults=faults, server__cohort=64, privacy__participation="bounded"))
    assert task_of(config(faults=faults, server__cohort=64, privacy__noise_multiplier=0))


def test_sampled_cohorts_that_could_never_be_drawn_are_refused() -> None:
    """Of 200 devices, 28% are within reach at all hours; at one hour of the day 90% are enough."""
    few = {"server__cohort": 40, "server__min_survivors": 10, "server__dropout_fraction": 0.0}
    with pytest.raises(ConfigError, match=r"availability\.hours: expected at least 9\d of 200 .* got about 56 at b"):
        task_of(config(**few, availability__hours=[0.28] * 24), 200)
    assert task_of(config(**few, availability__hours=[0.28] * 23 + [0.9]), 200)
    assert task_of(config(**few, availability__hours=[0.28] * 24, privacy__participation="bounded"), 200)
