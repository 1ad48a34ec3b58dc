"""The clip follows a quantile of the norms, at no cost beside its own bit's part of the sensitivity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from privacy.base.randomness import SystemRandomness
from privacy.ledger.entries import Charge, issue_receipt
from privacy.mechanism.mechanism import Mechanism
from privacy.release.release import release
from privacy.task.states import Total, Update, joint_transcript
from privacy.task.task import AdaptiveClip, BoundedParticipation, Budget, DeviceMechanism, TaskSpec
from simulations.randomness import SeedTree
from strategies.fedavg import FedAvgM, ModelState
from tests.support.tasks import make_task

COHORT, DIMENSION = 40, 8
SEED = SeedTree.root(5)
ROTATION = bytes(32)


def adapting(noise: float = 0.0, sensitivity_fraction: float = 0.1, quantile: float = 0.5) -> TaskSpec:
    adaptive = AdaptiveClip(quantile=quantile, learning_rate=0.5, sensitivity_fraction=sensitivity_fraction)
    return make_task(
        DIMENSION,
        mechanism=DeviceMechanism(clip=1.0, noise_multiplier=noise, adaptive=adaptive),
        participation=BoundedParticipation(cohort=COHORT, max_participations=100),
        budget=Budget(delta=1e-6),
    )


def direction(norm: float, device: int) -> NDArray[np.float32]:
    raw = np.frombuffer(SEED.child("direction", device).stream().token(4 * DIMENSION), np.int32).astype(np.float64)
    return (raw / np.linalg.norm(raw) * norm).astype(np.float32)


def one_round(task: TaskSpec, clip: float, norms: list[float], number: int = 1) -> tuple[float, NDArray[np.float32]]:
    """The bits' sum and the updates' sum, by the code that devices and server run."""
    clipped = task.with_clip(clip)
    mechanism = Mechanism.for_cohort(clipped, len(norms))
    encoded = [
        mechanism.encode(Update(direction(norm, device), {}), ROTATION, SEED.child(number, device).stream()).integers
        for device, norm in enumerate(norms)
    ]
    transcript = "ab" * 32
    total = Total(
        sums=np.sum(encoded, axis=0), rotation=ROTATION, transcript=transcript, cohort=len(norms), survivors=len(norms)
    )
    receipt = issue_receipt(Charge.of(task, number, joint_transcript([transcript]), 100), "00" * 32)
    released = release(clipped, [total], [transcript], receipt, padding=SystemRandomness())
    assert released.within_clip is not None
    return released.within_clip, released.values


def test_the_bit_says_who_is_within_the_clip_and_the_updates_are_still_whole() -> None:
    norms = [0.5] * 30 + [3.0] * 10
    bits, values = one_round(adapting(), 1.0, norms)
    assert bits == pytest.approx((30 - 10) / 2, abs=0.5)
    expected = sum(direction(min(norm, 1.0), device) for device, norm in enumerate(norms))
    np.testing.assert_allclose(values, expected, atol=0.02)


@given(st.floats(1e-3, 1e3), st.floats(0.0, 1e4))
@settings(max_examples=30)
def test_no_clip_lets_a_device_contribute_more_than_was_charged(clip: float, norm: float) -> None:
    """In steps of the grid, where the noise is: whatever clip a server announces."""
    task = adapting(noise=1.0)
    mechanism, fixed = Mechanism.for_cohort(task.with_clip(clip), COHORT), Mechanism.for_cohort(task, COHORT)
    assert (mechanism.norm_bound, mechanism.variance) == (fixed.norm_bound, fixed.variance)
    quiet = Mechanism(mechanism.task, mechanism.scale, mechanism.norm_bound, 0, mechanism.honest)
    encoded = quiet.encode(Update(direction(norm, 0), {}), ROTATION, SEED.stream()).integers
    assert int(encoded @ encoded) <= mechanism.norm_bound**2


def test_the_bit_is_paid_for_with_noise() -> None:
    plain = make_task(DIMENSION, mechanism=DeviceMechanism(clip=1.0, noise_multiplier=1.0))
    task = adapting(noise=1.0, sensitivity_fraction=0.5)
    assert task.contribution_bound == pytest.approx(math.hypot(1.0, 0.5))
    assert task.length == plain.length + 1
    assert Mechanism.for_cohort(task, COHORT).noise_std == pytest.approx(
        Mechanism.for_cohort(plain, COHORT).noise_std * math.hypot(1.0, 0.5), rel=0.02
    )


@pytest.mark.parametrize("quantile", [0.25, 0.5, 0.9])
def test_the_clip_finds_the_quantile_from_far_away(quantile: float) -> None:
    """Under noise; to within the spread that so many devices allow."""
    task = adapting(noise=0.3, sensitivity_fraction=1.0, quantile=quantile)
    norms = [0.02 * 1.1**device for device in range(COHORT)]
    strategy = FedAvgM.of(task)
    state = ModelState.start(np.zeros(DIMENSION, np.float32), 1.0)
    clips = []
    for number in range(1, 61):
        bits, _ = one_round(task, state.clip, norms, number)
        state = ModelState(state.weights, state.momentum, strategy._next_clip(state.clip, _Bits(bits)))  # type: ignore[arg-type]
        clips.append(state.clip)
    within = float(np.mean(np.searchsorted(norms, clips[30:]))) / COHORT
    assert within == pytest.approx(quantile, abs=0.08)


class _Bits:
    def __init__(self, within_clip: float) -> None:
        self.within_clip = within_clip


def test_a_clip_that_does_not_adapt_stays() -> None:
    strategy = FedAvgM(1.0, 0.0, 8.0)
    assert strategy._next_clip(0.7, _Bits(3.0)) == 0.7  # type: ignore[arg-type]


def test_noise_cannot_throw_the_clip_further_than_one_step() -> None:
    strategy = FedAvgM(1.0, 0.0, 8.0, AdaptiveClip(learning_rate=0.2))
    assert strategy._next_clip(1.0, _Bits(1e9)) == pytest.approx(math.exp(-0.1))  # type: ignore[arg-type]
    assert strategy._next_clip(1.0, _Bits(-1e9)) == pytest.approx(math.exp(0.1))  # type: ignore[arg-type]
