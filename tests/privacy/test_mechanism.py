from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.mechanism import SIGMA, Mechanism, MechanismError
from privacy.randomness import SystemRandomness
from privacy.receipt import Charge, Receipt, issue_receipt
from privacy.states import Encoded, Total, Update
from privacy.task import AggregationPolicy, BoundedParticipation, Budget, DeviceMechanism
from simulations.randomness import SeedTree
from tests.support.tasks import make_task

TRANSCRIPT = "ab" * 32


def mechanism(
    *, noise: float = 1.0, clip: float = 1.0, dimension: int = 64, cohort: int = 10, expected: int | None = None
) -> Mechanism:
    """Of a task that expects `expected` devices (default: just those that came) and counts on 8 of 10."""
    task = make_task(
        dimension,
        mechanism=DeviceMechanism(clip=clip, noise_multiplier=noise),
        participation=BoundedParticipation(cohort=expected or cohort, max_participations=3),
        aggregation=AggregationPolicy(corrupt_share=0.0, dropout_share=0.2, min_survivors=2),
        budget=Budget(delta=1e-5),
    )
    return Mechanism.for_cohort(task, cohort)


def receipt(transcript: str = TRANSCRIPT) -> Receipt:
    from privacy.events import round_event  # noqa: PLC0415

    task = make_task()
    return issue_receipt(Charge(task=task.id, round=1, event=round_event(task), transcript=transcript), "00" * 32)


def as_total(*encoded: Encoded, transcript: str = TRANSCRIPT) -> Total:
    residues = np.sum([one.residues for one in encoded], axis=0, dtype=np.uint32)
    return Total(residues, len(encoded), len(encoded), transcript)


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=64, max_size=64),
    st.floats(0.01, 100),
    st.sampled_from([0.3, 1.0, 7.0]),
    st.integers(0, 2**32),
)
def test_no_update_exceeds_the_norm_bound(values: list[float], clip: float, noise: float, seed: int) -> None:
    """The sensitivity itself: after clipping and rounding, exactly, in integers."""
    chosen = mechanism(noise=noise, clip=clip)
    rng = SeedTree.root(seed).stream()
    integers = chosen._round(chosen._clipped(np.array(values, np.float32)), rng)
    assert sum(int(value) ** 2 for value in integers) <= chosen.norm_bound**2


def test_noise_of_the_honest_devices_alone_is_what_was_asked() -> None:
    chosen = mechanism(noise=1.5, cohort=10)
    assert math.sqrt(chosen.variance * 8) / chosen.norm_bound == pytest.approx(1.5)
    assert chosen.noise_std >= 1.5 * chosen.clip


@given(st.integers(8, 400), st.integers(8, 400))
def test_release_does_not_tell_how_many_devices_came(one: int, other: int) -> None:
    """Same grid, same sensitivity, same noise in the sum to a millionth, whatever the cohort."""
    few, many = mechanism(cohort=one, expected=100), mechanism(cohort=other, expected=100)
    assert (few.scale, few.norm_bound) == (many.scale, many.norm_bound)
    assert few.variance * one == pytest.approx(many.variance * other, rel=1e-4)
    assert few.noise_std >= 1.0


def test_without_noise_the_sum_is_the_sum() -> None:
    chosen = mechanism(noise=0.0, dimension=64)
    updates = [_unit(seed) for seed in range(5)]
    encoded = [chosen.encode(Update(update), SystemRandomness()) for update in updates]
    released = chosen.release(as_total(*encoded), receipt()).values
    np.testing.assert_allclose(released, np.sum(updates, axis=0), atol=5 * 2**-19)


def test_rounding_is_unbiased_and_noise_has_its_variance() -> None:
    chosen = mechanism(noise=0.5, dimension=20_000, cohort=4)
    update = Update(np.full(20_000, 0.7 / math.sqrt(20_000), np.float32))
    encoded = [chosen.encode(update, SystemRandomness()) for _ in range(4)]
    released = chosen.release(as_total(*encoded), receipt()).values
    error = released - 4 * update.delta
    assert abs(error.mean()) < 5 * chosen.noise_std / math.sqrt(20_000)
    assert error.std() == pytest.approx(chosen.noise_std / math.sqrt(0.8), rel=0.05)
    assert chosen.noise_std == pytest.approx(0.5, rel=0.01)


def test_zero_update_is_nothing_but_noise() -> None:
    chosen = mechanism(noise=0.0)
    assert not chosen.encode(Update(np.zeros(64, np.float32)), SystemRandomness()).residues.any()
    noised = mechanism(dimension=4096).encode(Update(np.zeros(4096, np.float32)), SystemRandomness())
    assert noised.residues.view(np.int32).std() == pytest.approx(SIGMA, rel=0.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_updates_that_are_not_finite(value: float) -> None:
    delta = np.zeros(64, np.float32)
    delta[3] = value
    with pytest.raises(MechanismError, match="expected finite numbers"):
        mechanism().encode(Update(delta), SystemRandomness())


def test_updates_of_another_length() -> None:
    with pytest.raises(MechanismError, match=r"expected float32\[64\], got shape \(63,\)"):
        mechanism().encode(Update(np.zeros(63, np.float32)), SystemRandomness())


def test_release_needs_the_receipt_of_this_very_sum() -> None:
    with pytest.raises(MechanismError, match="receipt"):
        mechanism().release(as_total(Encoded(np.zeros(64, np.uint32))), receipt("cd" * 32))


def test_receipt_cannot_be_made_up() -> None:
    with pytest.raises(TypeError, match=r"Ledger\.reserve"):
        Receipt(receipt().charge, "00" * 32)


def test_sum_that_could_wrap_is_refused() -> None:
    with pytest.raises(MechanismError, match="does not fit 32 bits"):
        mechanism(noise=0.001, cohort=1000)


def test_rounding_that_would_dominate_is_refused() -> None:
    with pytest.raises(MechanismError, match="rounding would exceed the clip"):
        mechanism(noise=500.0, dimension=1 << 20, cohort=2)


@pytest.mark.parametrize("cohort", [2, 4000])
def test_cohorts_far_from_the_expected_one_are_refused(cohort: int) -> None:
    with pytest.raises(MechanismError, match=f"expected about 200 devices, got {cohort}"):
        mechanism(cohort=cohort, expected=200)


def test_largest_sums_do_not_wrap() -> None:
    chosen = mechanism(noise=0.05, dimension=2, cohort=100)
    extreme = Update(np.array([1.0, 0.0], np.float32))
    encoded = [chosen.encode(extreme, SystemRandomness()) for _ in range(100)]
    released = chosen.release(as_total(*encoded), receipt()).values
    assert released[0] == pytest.approx(100, abs=6 * chosen.noise_std * 2)


def _unit(seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=64)
    return (0.9 * values / np.linalg.norm(values)).astype(np.float32)
