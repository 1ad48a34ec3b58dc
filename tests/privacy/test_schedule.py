from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from privacy import schedule
from privacy.accounting.calibration import noise_multiplier_for
from privacy.accounting.composition import epsilon_bracket
from privacy.ledger.entries import Charge, issue_receipt
from privacy.mechanism.correlated_noise import NoiseStream
from privacy.release.release import Release
from privacy.schedule import Circumstances, Schedule, choose, signal
from privacy.task.correlation import BandedToeplitz, BinaryTree, BufferedLinearToeplitz, Correlation
from privacy.task.task import DeviceMechanism, LocalTraining, PoissonParticipation, ServerOptimiser, Statistic, TaskSpec
from strategies.fedavg import FedAvgM, ModelState
from tests.support.tasks import make_task, usual_policy

RECEIPT = issue_receipt(Charge.of(make_task(), 1, "ab" * 32, 100), "00" * 32)
DEVICES = st.integers(2, 10**7)
EPSILONS = st.floats(0.1, 50)


def noisy(
    noise: float = 1.0, *, clip: float = 0.5, cohort: int = 200, shards: int = 1, rounds: int = 100, **changes: object
) -> TaskSpec:
    return make_task(
        mechanism=DeviceMechanism(clip=clip, noise_multiplier=noise),
        participation=PoissonParticipation(population=1_000, sampling_rate=cohort / 1_000),
        aggregation=usual_policy(cohort // shards).model_copy(update={"shards": shards}),
        rounds=rounds,
        **({"budget": make_task().budget.model_copy(update={"epsilon": None})} | changes),
    )


def test_the_noise_of_a_released_sum_is_that_of_all_devices_and_shards() -> None:
    """Of 200 devices 60 may vanish and 61 suffice: of every cohort 61 / 121 less one in 20 are counted on."""
    counted = 61 / 121 - 0.05
    assert schedule.released_noise_std(noisy(2.0)) == pytest.approx(2.0 * 0.5 / math.sqrt(counted), rel=0.01)
    split = noisy(2.0, shards=2).model_copy(
        update={"aggregation": noisy().aggregation.model_copy(update={"shards": 2})}
    )
    assert schedule.released_noise_std(split) == pytest.approx(2.0 * 0.5 * math.sqrt(2 / counted), rel=0.01)
    counting = noisy(2.0, statistics=(Statistic(name="examples", bound=64.0, sensitivity_fraction=0.75),))
    assert schedule.released_noise_std(counting) == pytest.approx(2.0 * 0.5 * 1.25 / math.sqrt(counted), rel=0.01)


@pytest.mark.parametrize("momentum", [0.0, 0.7, 0.9])
def test_the_noise_in_a_logit_is_what_the_server_makes_of_it(momentum: float) -> None:
    """Against 4,000 coordinates of the optimiser's own steps along noise alone."""
    task = noisy(rounds=400)
    rate, source = schedule.learning_rate(task, momentum), np.random.default_rng(5)
    stepping = FedAvgM(rate, momentum, task.participation.expected_cohort)
    state = ModelState.start(np.zeros(4_000, np.float32), 1.0)
    for _ in range(task.rounds):
        noise = source.standard_normal(4_000) * schedule.released_noise_std(task)
        state = stepping.step(state, released(noise))
    assert float(np.std(state.weights)) == pytest.approx(schedule.logit_noise(task, rate, momentum), rel=0.06)


def released(values: NDArray[np.float64]) -> Release:
    return Release(
        values=values.astype(np.float32),
        statistics={},
        statistics_noise_std={},
        within_clip=None,
        survivors=3,
        cohort=4,
        noise_std=1.0,
        noise_multiplier=1.0,
        receipt=RECEIPT,
    )


@given(
    st.floats(0, 50),
    st.floats(0.01, 10),
    st.integers(20, 900),
    st.integers(1, 1_000),
    st.floats(0, 0.95),
)
@settings(max_examples=40, deadline=None)
def test_the_learning_rate_keeps_the_noise_in_a_logit_at_1_and_never_passes_the_best_without_noise(
    noise: float, clip: float, cohort: int, rounds: int, momentum: float
) -> None:
    task = noisy(noise, clip=clip, cohort=cohort, rounds=rounds)
    rate = schedule.learning_rate(task, momentum)
    best = 40 / clip * (1 - momentum) / 0.3
    assert schedule.logit_noise(task, rate, momentum) <= 1.01
    assert rate <= best * 1.01
    assert max(schedule.logit_noise(task, rate, momentum), rate / best) >= 0.99


def test_noise_that_devices_add_to_their_steps_counts_for_what_the_clip_leaves_of_it() -> None:
    """Against a simulated sum: each device's noise, cut to the clip, and nothing else."""
    source = np.random.default_rng(3)
    for noise, clip in ((0.5, 0.4), (0.001, 0.4)):
        training = LocalTraining(
            steps=4, sampling_rate=1.0, expected_batch=2.0, learning_rate=3.0, message_clip=0.7, message_noise=noise
        )
        task = noisy(0.0, clip=clip, training=training, model=make_task(2_000).model)
        drawn = source.standard_normal((200, 2_000)) * (3.0 / 2.0 * 0.7 * noise * 2)
        norms = np.linalg.norm(drawn, axis=1, keepdims=True)
        summed = (drawn * np.minimum(1, clip / norms)).sum(0)
        assert schedule.message_noise_std(task) == pytest.approx(float(np.std(summed)), rel=0.1)
    assert schedule.message_noise_std(noisy()) == 0


@pytest.mark.parametrize(
    "correlation",
    [
        BandedToeplitz(coefficients=(1.0, 0.5, 0.25)),
        BufferedLinearToeplitz(scales=(0.4, 0.1), decays=(0.8, 0.3)),
        BinaryTree(),
    ],
)
def test_correlated_noise_counts_for_what_its_rounds_add_up_to(correlation: Correlation) -> None:
    source, stream = np.random.default_rng(2), NoiseStream(correlation, 5_000)
    total = sum(stream.next(lambda: source.standard_normal(5_000)) for _ in range(40))
    task = noisy(2.0, clip=0.5, rounds=40)
    mechanism = DeviceMechanism(clip=0.5, noise_multiplier=2.0, correlation=correlation)
    correlated = task.model_copy(update={"mechanism": mechanism})
    expected = 3.0 / (1 - 0.5) * 2.0 * 0.5 * float(np.std(total)) / 200
    assert schedule.logit_noise(correlated, 3.0, momentum=0.5) == pytest.approx(expected, rel=0.05)


def test_known_learning_rates() -> None:
    """40 / clip without noise at the momentum that was tuned; with much of it cohort / (s sqrt(rounds)) of that."""
    assert schedule.learning_rate(noisy(0.0), 0.7) == 80.0
    assert schedule.learning_rate(noisy(0.0, clip=0.1), 0.7) == 400.0
    s = 8.0 * 0.5 / math.sqrt(61 / 121 - 0.05)
    assert schedule.learning_rate(noisy(8.0), 0.0) == pytest.approx(200 / s / 10, rel=0.01)


@given(DEVICES, EPSILONS, st.sampled_from(["poisson", "bounded"]), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_a_chosen_cohort_is_there_and_fits_one_shard(
    devices: int, epsilon: float, participation: Literal["poisson", "bounded"], most: int
) -> None:
    public = Circumstances(devices, epsilon, 1e-5, participation, most)
    chosen = choose(public)
    assert 2 <= chosen.cohort <= min(devices, 750)
    assert chosen.shards == 1
    if participation == "bounded" and devices >= 100:
        assert chosen.rounds * chosen.cohort <= devices * most
    assert choose(public, rounds=7, cohort=2_000, shards=5) == Schedule(7, 2_000, 5)


@given(DEVICES, EPSILONS, st.integers(1, 500), st.integers(2, 700))
@settings(max_examples=60, deadline=None)
def test_more_rounds_and_devices_never_have_less_signal_over_noise_and_shards_cost_their_root(
    devices: int, epsilon: float, rounds: int, cohort: int
) -> None:
    public, cohort = Circumstances(devices, epsilon, 1e-5), min(cohort, devices)
    own = signal(public, Schedule(rounds, cohort, 1))
    assert own is not None
    assert 0 < own <= 1
    for other in (Schedule(rounds + 1, cohort, 1), Schedule(rounds, cohort + 1, 1)):
        assert (signal(public, other) or 0) >= own * (1 - 1e-12)
    assert signal(public, Schedule(rounds, cohort, 3)) == pytest.approx(own / math.sqrt(3))


@pytest.mark.long
@pytest.mark.parametrize(("epsilon", "cohorts"), [(8.0, (100, 400)), (1.0, (50, 200))])
def test_signal_over_noise_orders_schedules_as_the_accountant_does(epsilon: float, cohorts: tuple[int, int]) -> None:
    """sqrt(rounds) * cohort over the noise that the budget takes, against the formula, of two cohorts of 1,000."""
    public, ratios = Circumstances(1_000, epsilon, 1e-5), []
    for cohort in cohorts:
        drawn = PoissonParticipation(population=1_000, sampling_rate=cohort / 1_000)
        noise = noise_multiplier_for(drawn, 50, epsilon, 1e-5, usual_policy(cohort))
        exact, limit = math.sqrt(50) * cohort / noise, signal(public, Schedule(50, cohort, 1))
        assert limit is not None
        ratios.append(exact / limit)
    assert ratios[0] == pytest.approx(ratios[1], rel=0.12)


def test_mu_is_that_of_the_gaussian_mechanism() -> None:
    for epsilon in (0.01, 1.0, 8.0, 300.0):
        mu = schedule._mu(epsilon, 1e-5)
        assert epsilon_bracket(mu, 1e-5)[0] == pytest.approx(epsilon, rel=1e-5)


def test_schedules_that_lose_much_are_warned_of_with_what_they_lose() -> None:
    public = Circumstances(7_000, 8.0, 1e-5)
    assert schedule.warnings(public, choose(public)) == []
    assert schedule.warnings(Circumstances(7_000, None, 1e-5), Schedule(1, 2, 1)) == []
    (few,) = schedule.warnings(public, Schedule(30, 64, 1))
    assert few.startswith("30 rounds of 64 devices have 9.0 times the noise to signal of 100 rounds of 750")
    (split,) = schedule.warnings(public, Schedule(100, 1_000, 3))
    assert split.startswith("1000 devices in 3 shards have 1.3 times the noise to signal of 750 in one")
    assert schedule.warnings(public, Schedule(100, 1_500, 2)) == []


def test_a_learning_rate_far_from_the_rule_is_warned_of() -> None:
    task = noisy(4.0)
    ruled = schedule.learning_rate(task, 0.7)

    def at(rate: float) -> list[str]:
        return schedule.rate_warnings(
            task.model_copy(update={"optimiser": ServerOptimiser(learning_rate=rate, momentum=0.7)})
        )

    assert at(2.5 * ruled) == at(ruled / 2.5) == []
    assert "all rounds comes to 10, and should to about 1" in at(10 * ruled)[0]
    assert f"far below {ruled:g}" in at(ruled / 10)[0]
