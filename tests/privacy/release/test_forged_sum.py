"""A sum that no honest devices can have given is charged and never released; an honest one always passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fl_server.training.coordinator import CoordinatorError, Ended
from privacy.base.randomness import Randomness, SystemRandomness
from privacy.ledger.entries import Abandoned, Charge, Charged, Released, issue_receipt
from privacy.mechanism.correlated_noise import NoiseStream, noise_variance
from privacy.mechanism.mechanism import Mechanism
from privacy.release.release import ForgedSum, Release, release
from privacy.task.correlation import BandedToeplitz, BinaryTree, BufferedLinearToeplitz, Correlation, dense
from privacy.task.states import Total, Update
from privacy.task.task import BoundedParticipation, Budget, DeviceMechanism, TaskSpec
from simulations.randomness import SeedTree
from tests.support.bench import Bench
from tests.support.cheats import Cheating, corrupt
from tests.support.coordinator_rounds import START
from tests.support.devices import Fleet, noiseless_task
from tests.support.tasks import make_task

ROTATION, TRANSCRIPT = bytes(32), "ab" * 32
TREE = BinaryTree()
BANDED = BandedToeplitz(coefficients=(1.0, 0.5, 0.25))
BUFFERED = BufferedLinearToeplitz(scales=(0.3, 0.2), decays=(0.9, 0.5))


def total_of(task: TaskSpec, devices: int, seed: int, extra: int = 0) -> Total:
    """Devices that all push in one direction, as far as the clip lets them, and `extra` steps in each coordinate."""
    mechanism, direction = Mechanism.for_cohort(task, devices), np.ones(task.model.dimension, np.float32)
    encoded = [mechanism.encode(Update(direction), ROTATION, _stream(seed, device)) for device in range(devices)]
    sums = np.sum([one.integers for one in encoded], axis=0) + extra
    return Total(sums, devices, devices, ROTATION, TRANSCRIPT)


def _stream(*names: int) -> Randomness:
    return SeedTree.root(1).child("forged", *names).stream()


def released(task: TaskSpec, total: Total, noise: np.ndarray | None = None) -> Release:  # type: ignore[type-arg]
    return release(
        task,
        [total],
        [TRANSCRIPT],
        issue_receipt(Charge.of(task, 3, TRANSCRIPT, 100), "00" * 32),
        noise=noise,
        padding=SystemRandomness(),
    )


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("dimension", [2, 40, 1_000])
@pytest.mark.parametrize("devices", [3, 30])
def test_honest_devices_always_pass_whatever_they_learnt(noise: float, dimension: int, devices: int) -> None:
    given = DeviceMechanism(clip=0.5, noise_multiplier=noise)
    task = make_task(dimension, mechanism=given, budget=Budget(delta=1e-5))
    mechanism = Mechanism.for_cohort(task, devices)
    for seed in range(3):
        total = total_of(task, devices, seed)
        released(task, total)
        if dimension == 1_000:  # Nor is there much room to lie in.
            assert np.linalg.norm(total.sums) > mechanism.honest_norm(devices) / 1.5


@pytest.mark.parametrize("dimension", [40, 1_000])
def test_a_vector_from_anywhere_in_the_modulus_does_not_pass(dimension: int) -> None:
    task = make_task(dimension)
    total = total_of(task, 10, 0)
    uniform = np.random.default_rng(0).integers(-(2**31), 2**31, total.sums.size)
    with pytest.raises(ForgedSum, match=r"[\d.]+ times as long as any of honest devices"):
        released(task, Total(uniform, 10, 10, ROTATION, TRANSCRIPT))


def test_the_bound_is_where_it_is_said_to_be() -> None:
    task = make_task(40)
    mechanism = Mechanism.for_cohort(task, 10)
    longest = int(mechanism.honest_norm(10))
    along = np.zeros(40, np.int64)
    along[7] = longest
    released(task, Total(along, 10, 10, ROTATION, TRANSCRIPT))
    along[7] = longest + 1
    with pytest.raises(ForgedSum):
        released(task, Total(along, 10, 10, ROTATION, TRANSCRIPT))


@pytest.mark.parametrize("correlation", [TREE, BANDED, BUFFERED])
@pytest.mark.parametrize("number", [1, 2, 7, 8])
def test_the_variance_of_correlated_noise(correlation: Correlation, number: int) -> None:
    if not isinstance(correlation, BinaryTree):
        row = np.linalg.inv(dense(correlation, number))[-1]
        assert noise_variance(correlation, number) == pytest.approx(float(row @ row))
    stream, rng = NoiseStream(correlation, 50_000), np.random.default_rng(number)
    drawn = [stream.next(lambda: rng.standard_normal(50_000)) for _ in range(number)]
    assert drawn[-1].var() <= noise_variance(correlation, number) * 1.03


def test_a_sum_without_noise_of_its_own_is_judged_after_the_servers() -> None:
    """Of the sum before that noise nothing may be told, not even that it is too long."""
    correlated = DeviceMechanism(clip=1.0, noise_multiplier=4.0, correlation=BANDED)
    bounded = BoundedParticipation(cohort=10, max_participations=2)
    task = make_task(40, mechanism=correlated, participation=bounded)
    mechanism = Mechanism.for_cohort(task, 10)
    along = np.zeros(40, np.int64)
    along[7] = int(mechanism.honest_norm(10)) + 10
    forged = Total(along, 10, 10, None, TRANSCRIPT)
    steps = task.mechanism.noise_multiplier * mechanism.norm_bound
    noise = np.zeros(40)
    released(task, forged, noise)
    noise[7] = 40 * 10 * mechanism.norm_bound / steps
    with pytest.raises(ForgedSum):
        released(task, forged, noise)


def test_a_forged_input_ends_a_round_that_was_charged_and_changes_no_model(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fleet(task=noiseless_task(rounds=2)))
    corrupt(bench.fleet.devices[3], Cheating(forges=1 << 29))
    result = bench.coordinator().run(START)
    assert result.ended is Ended.COMPLETE
    assert (bench.count(Charged), bench.count(Released), bench.count(Abandoned)) == (2, 0, 2)
    np.testing.assert_array_equal(result.state.weights, START)
    assert all("times as long as any of honest devices" in record.aborted for record in bench.log())
    assert all(record.culprits == () for record in bench.log()), "nobody can tell who it was"


def test_a_device_that_forges_every_round_stops_the_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fleet(task=noiseless_task(rounds=20)))
    corrupt(bench.fleet.devices[3], Cheating(forges=1 << 29))
    with pytest.raises(CoordinatorError, match="5 rounds in a row gave no release; the last: release: the sum is"):
        bench.coordinator().run(START)
    assert bench.count(Charged) == 5
