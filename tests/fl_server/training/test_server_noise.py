"""Correlated noise from the server: what it adds, how it goes on, and who agrees to it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_server.training.checkpoint import Checkpoint, CheckpointFile
from fl_server.training.server_noise import noise_of_round
from privacy.accounting.accountant import spend
from privacy.accounting.events import round_event
from privacy.accounting.sampling import eligible_devices
from privacy.base.randomness import RandomnessError, SystemRandomness
from privacy.ledger.entries import Charge, issue_receipt
from privacy.mechanism.correlated_noise import NoiseStream, secure_normals
from privacy.mechanism.mechanism import Mechanism, MechanismError
from privacy.release.release import release
from privacy.secagg.membership.identity import DevicePolicy, PolicyError
from privacy.task.correlation import BandedToeplitz, BinaryTree, squared_sensitivity
from privacy.task.states import Total, Update, joint_transcript
from privacy.task.task import BoundedParticipation, DeviceMechanism, PoissonParticipation, TaskSpec
from simulations.randomness import SeedTree
from strategies.fedavg import ModelState
from tests.support.tasks import make_task

SEED = SeedTree.root(9)
TREE = BinaryTree()
BANDED = BandedToeplitz(coefficients=(1.0, 0.5, 0.3))
COHORT, DIMENSION, ROTATION = 6, 64, bytes(32)


def correlated(correlation: BandedToeplitz | BinaryTree = TREE, noise: float = 4.0, rounds: int = 10) -> TaskSpec:
    return make_task(
        DIMENSION,
        mechanism=DeviceMechanism(clip=1.0, noise_multiplier=noise, correlation=correlation),
        participation=BoundedParticipation(cohort=COHORT, max_participations=3, min_separation=3),
        rounds=rounds,
    )


def totals_of(task: TaskSpec, updates: list[NDArray[np.float32]], transcript: str = "ab" * 32) -> Total:
    mechanism = Mechanism.for_cohort(task, len(updates))
    assert mechanism.variance == 0
    encoded = [
        mechanism.encode(Update(update, {}), ROTATION, SEED.child("encode", number).stream()).integers
        for number, update in enumerate(updates)
    ]
    return Total(np.sum(encoded, axis=0), len(updates), len(updates), ROTATION, transcript)


def released(task: TaskSpec, total: Total, noise: NDArray[np.float64] | None) -> NDArray[np.float32]:
    receipt = issue_receipt(Charge.of(task, 1, joint_transcript([total.transcript]), 100), "00" * 32)
    return release(task, [total], [total.transcript], receipt, noise=noise).values


def test_the_sum_carries_the_streams_noise_at_the_planned_scale() -> None:
    task = correlated()
    total = totals_of(task, [np.full(DIMENSION, 0.1, np.float32)] * COHORT)
    unit = np.random.default_rng(1).standard_normal(task.length)
    added = released(task, total, unit) - released(task, total, np.zeros(task.length))
    mechanism = Mechanism.for_cohort(task, COHORT)
    scale = 4.0 * mechanism.norm_bound / mechanism.scale
    assert scale == pytest.approx(4.0, rel=0.01)
    np.testing.assert_allclose(added, unit * scale, atol=1e-3)


def test_the_release_lies_on_the_grid_of_the_sum() -> None:
    """So that no low-order bit of floating-point noise, or of the sum, is left to see."""
    task, mechanism = correlated(), Mechanism.for_cohort(correlated(), COHORT)
    total = totals_of(task, [np.full(DIMENSION, 0.1, np.float32)] * COHORT)
    noised = mechanism.with_server_noise(total, np.random.default_rng(2).standard_normal(task.length))
    assert noised.sums.dtype == np.int64
    assert not np.array_equal(noised.sums, total.sums)


def test_noise_is_neither_forgotten_nor_doubled() -> None:
    task = correlated()
    with pytest.raises(MechanismError, match="noise: expected the server's"):
        released(task, totals_of(task, [np.zeros(DIMENSION, np.float32)] * COHORT), None)
    plain = make_task(DIMENSION, participation=BoundedParticipation(cohort=COHORT, max_participations=3))
    total = Total(np.zeros(DIMENSION, np.int64), COHORT, COHORT, ROTATION, "ab" * 32)
    with pytest.raises(MechanismError, match="noise: expected the server's"):
        released(plain, total, np.zeros(DIMENSION))


@pytest.mark.parametrize("correlation", [TREE, BANDED])
def test_the_stream_goes_on_over_checkpoints(tmp_path: Path, correlation: BandedToeplitz | BinaryTree) -> None:
    task = correlated(correlation)
    whole, memory = NoiseStream(correlation, task.length), None
    file = CheckpointFile(tmp_path / "checkpoint", task.id)
    state = ModelState.start(np.zeros(DIMENSION, np.float32), 1.0)
    for number in range(1, 8):
        noise, memory = noise_of_round(task, number, memory, lambda n: SEED.child("noise", n).stream())
        file.save(Checkpoint(number, state, noise=memory))
        kept = file.load()
        assert kept is not None
        memory = kept.noise
        source = SEED.child("noise", number).stream()
        assert noise is not None
        np.testing.assert_allclose(noise, whole.next(secure_normals(source, task.length)), atol=1e-12)
    assert (tmp_path / "checkpoint").stat().st_mode & 0o077 == 0


def test_a_memory_of_another_round_stops_the_server() -> None:
    with pytest.raises(ValueError, match="memory: expected"):
        noise_of_round(correlated(), 4, np.zeros((3, DIMENSION)), lambda n: SEED.child(n).stream())


def test_noise_is_drawn_from_the_source_that_the_task_promises() -> None:
    real = correlated().model_copy(update={"randomness": "system"})
    noise, _ = noise_of_round(real, 1, None, lambda _: SystemRandomness())
    assert noise is not None
    with pytest.raises(RandomnessError, match="as the task promises, got a source that is seeded"):
        noise_of_round(real, 1, None, lambda n: SEED.child(n).stream())


def test_a_task_whose_devices_add_noise_needs_none() -> None:
    assert noise_of_round(make_task(), 1, None, lambda n: SEED.child(n).stream()) == (None, None)


def test_rounds_of_a_stream_cost_what_the_sensitivity_says_and_are_not_added_up() -> None:
    task = correlated(rounds=10)
    for count in (1, 4, 10):
        events = [round_event(task, number) for number in range(1, count + 1)]
        mu = math.sqrt(squared_sensitivity(TREE, count, 3, 3)) / 4.0
        assert spend(events, 1e-6).mu == pytest.approx(mu)
    again = [round_event(task, 10)] * 5
    assert spend(again, 1e-6) == spend(again[:1], 1e-6)


def test_a_round_that_came_late_pays_for_all_before_it() -> None:
    """Rounds without a charge move the stream on, and bring a device's rounds no closer."""
    task = correlated(rounds=10)
    assert spend([round_event(task, 10)], 1e-6) == spend([round_event(task, n) for n in range(1, 11)], 1e-6)


def test_long_tasks_have_few_kinds_of_charges_and_never_pay_too_little() -> None:
    task = correlated(rounds=5_000)
    horizons = [round_event(task, number).horizon for number in range(1, 5_001)]  # type: ignore[union-attr]
    assert len(set(horizons)) <= 32
    assert all(horizon >= number for number, horizon in enumerate(horizons, 1))
    assert horizons[-1] == 5_000


def test_devices_agree_to_it_or_not() -> None:
    wary = DevicePolicy(min_noise_multiplier=1.0, min_survivors=2, min_corrupt_fraction=0, min_draw_bits=0)
    with pytest.raises(PolicyError, match="adds noise itself, the task leaves it to the server"):
        wary.check(correlated())
    wary.model_copy(update={"accept_server_noise": True}).check(correlated())


def test_it_goes_with_bounded_participation_alone() -> None:
    mechanism = DeviceMechanism(clip=1.0, noise_multiplier=1.0, correlation=TREE)
    with pytest.raises(ValueError, match="expected bounded participation"):
        make_task(mechanism=mechanism, participation=PoissonParticipation(population=100, sampling_rate=0.1))


def test_turns_keep_every_devices_rounds_apart() -> None:
    plan = BoundedParticipation(cohort=5, max_participations=9, min_separation=4)
    devices = range(200)
    rounds: dict[int, list[int]] = {device: [] for device in devices}
    for number in range(1, 41):
        for device in eligible_devices(plan, devices, number):
            rounds[device].append(number)
    assert all(len(taken) == 10 and set(np.diff(taken)) == {4} for taken in rounds.values())
    sizes = [len(eligible_devices(plan, devices, number)) for number in range(1, 5)]
    assert sum(sizes) == 200
    assert min(sizes) > 25
    assert list(eligible_devices(PoissonParticipation(population=200, sampling_rate=0.1), devices, 3)) == list(devices)
