from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from numpy.typing import NDArray

from privacy.base.randomness import SystemRandomness
from privacy.ledger.entries import Charge, Receipt, issue_receipt
from privacy.mechanism import discrete_gaussian as dgauss
from privacy.mechanism.mechanism import Mechanism, MechanismError, padded_variance, smallest_modulus, with_modulus
from privacy.release.release import release
from privacy.secagg.membership.params import COMPLETE, parameters
from privacy.secagg.primitives.masking import pack, unpack, word_type
from privacy.task.states import Encoded, Total, Update, joint_transcript
from privacy.task.task import (
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    Participation,
    PoissonParticipation,
    Statistic,
    TaskSpec,
)
from simulations.randomness import SeedTree
from tests.support.tasks import make_task

TRANSCRIPT, OTHER = "ab" * 32, "cd" * 32
ROTATION = bytes(range(32))
HUNDRED = PoissonParticipation(population=1_000, sampling_rate=0.1)
COUNT = Statistic(name="examples", bound=50.0, sensitivity_fraction=0.2)
LOSS = Statistic(name="loss", bound=4.0, sensitivity_fraction=0.1)


def task_of(
    cohort: int = 10,
    *,
    noise: float = 1.0,
    clip: float = 1.0,
    dimension: int = 64,
    statistics: Sequence[Statistic] = (),
    participation: Participation | None = None,
    **aggregation: float,
) -> TaskSpec:
    """A task that expects `cohort` devices and counts on 8 of 10, unless told otherwise."""
    policy = {
        "corrupt_fraction": 0.0,
        "max_dropouts": cohort // 5,
        "min_survivors": max(2, cohort // 2),
        "modulus_bits": 32,
    }
    return make_task(
        dimension,
        mechanism=DeviceMechanism(clip=clip, noise_multiplier=noise),
        statistics=tuple(statistics),
        participation=participation or BoundedParticipation(cohort=cohort, max_participations=3),
        aggregation=AggregationPolicy.model_validate({**policy, **aggregation}),
        budget=Budget(delta=1e-5),
    )


def mechanism(task: TaskSpec | None = None, cohort: int = 10) -> Mechanism:
    return Mechanism.for_cohort(task or task_of(), cohort)


def receipt(transcript: str = TRANSCRIPT) -> Receipt:
    task = make_task()
    return issue_receipt(Charge.of(task, 1, transcript, 100), "00" * 32)


def total(encoded: Sequence[Encoded], transcript: str = TRANSCRIPT, rotation: bytes = ROTATION) -> Total:
    sums = np.sum([contribution.integers for contribution in encoded], axis=0)
    return Total(sums, len(encoded), len(encoded), rotation, transcript)


def summed(task: TaskSpec, updates: Sequence[Update], rotation: bytes = ROTATION) -> Total:
    chosen = Mechanism.for_cohort(task, len(updates))
    return total([chosen.encode(update, rotation, SystemRandomness()) for update in updates], rotation=rotation)


@contextmanager
def without_noise() -> Iterator[None]:
    """The grid of a task with noise, and what a device encodes before it adds its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dgauss, "sample", lambda variance, size, rng: np.zeros(size, np.int64))  # noqa: ARG005
        yield


def unit(seed: int, dimension: int = 64, length: float = 0.9) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=dimension)
    return (length * values / np.linalg.norm(values)).astype(np.float32)


# Sensitivity.


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=64, max_size=64),
    st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)),
    st.floats(0.01, 100),
    st.sampled_from([(0.3, 16), (1.0, 16), (0.3, 32), (7.0, 32)]),
    st.integers(0, 2**32),
)
def test_no_contribution_exceeds_the_norm_bound(
    values: list[float], figures: tuple[float, float], clip: float, grid: tuple[float, int], seed: int
) -> None:
    """The sensitivity itself, exactly, in integers: after clipping and rounding update and statistics together."""
    chosen = mechanism(task_of(noise=grid[0], clip=clip, statistics=(COUNT, LOSS), modulus_bits=grid[1]))
    rng = SeedTree.root(seed).stream()
    update = Update(np.array(values, np.float32), dict(zip(("examples", "loss"), figures, strict=True)))
    with without_noise():
        integers = chosen.encode(update, SeedTree.root(seed).key(), rng).integers
    assert sum(int(value) ** 2 for value in integers) <= chosen.norm_bound**2


@pytest.mark.parametrize("too_large", [4.0, 2.0**16, 2.0**31, 2.0**32, 2.0**40, 1e300, math.inf])
def test_a_contribution_far_beyond_the_bound_is_refused_though_its_squares_wrap(too_large: float) -> None:
    """64-bit sums of squares wrap to small numbers: 2^32 squared is 0."""
    right = mechanism(task_of(noise=0))
    wrong = replace(right, scale=right.scale * too_large)
    update = Update(np.full(64, 0.125, np.float32), {})
    right.encode(update, ROTATION, SystemRandomness())
    with (
        pytest.raises(MechanismError, match="no rounding within the norm bound"),
        np.errstate(invalid="ignore", over="ignore"),
    ):
        wrong.encode(update, ROTATION, SystemRandomness())


@pytest.mark.parametrize("clip", [5e-324, 1e-320, 1.79e308])
def test_a_clip_that_no_grid_resolves_is_refused(clip: float) -> None:
    """A server may announce any clip in a round whose clip adapts."""
    with pytest.raises(MechanismError, match="clip: expected one that can be counted in steps"):
        mechanism(task_of(statistics=(COUNT,)).with_clip(clip))


@pytest.mark.parametrize("statistics", [(), (COUNT,), (COUNT, LOSS)])
def test_update_and_statistics_share_the_bound(statistics: tuple[Statistic, ...]) -> None:
    """At the clip and at their bounds they reach it to a hundredth, so none of them is left out of it."""
    task = task_of(statistics=statistics)
    update = Update(unit(1, length=7.0), {statistic.name: 2 * statistic.bound for statistic in statistics})
    with without_noise():
        integers = mechanism(task).encode(update, ROTATION, SystemRandomness()).integers
    expected = math.sqrt(1 + sum(statistic.sensitivity_fraction**2 for statistic in statistics))
    assert task.contribution_bound == pytest.approx(expected)
    assert np.linalg.norm(integers) / mechanism(task).scale == pytest.approx(expected, rel=0.01)
    assert np.linalg.norm(integers) >= 0.98 * mechanism(task).norm_bound


def test_statistics_widen_the_sensitivity_by_their_fractions_and_cost_noise() -> None:
    bare, more = mechanism(), mechanism(task_of(statistics=(COUNT, LOSS)))
    assert more.noise_std / bare.noise_std == pytest.approx(math.sqrt(1 + 0.2**2 + 0.1**2), rel=0.01)


# Noise.


@given(
    cohort=st.integers(2, 400),
    noise=st.floats(0.3, 20),
    corrupt=st.floats(0, 0.3),
    dropout=st.floats(0, 0.3),
    bits=st.sampled_from([21, 32]),
)
def test_noise_of_the_devices_counted_on_is_at_least_the_tasks(
    cohort: int, noise: float, corrupt: float, dropout: float, bits: int
) -> None:
    task = task_of(
        cohort, noise=noise, corrupt_fraction=corrupt, max_dropouts=math.floor(dropout * cohort), modulus_bits=bits
    )
    chosen = mechanism(task, cohort)
    assert chosen.honest == pytest.approx(cohort * (1 - corrupt) - math.floor(dropout * cohort))
    assert math.sqrt(chosen.variance * chosen.honest) >= noise * chosen.norm_bound * (1 - 1e-12)
    assert noise * (1 - 1e-12) <= chosen.noise_multiplier <= noise * 1.002
    assert chosen.noise_std >= noise * task.contribution_bound * (1 - 1e-12)


@given(st.integers(2, COMPLETE), st.floats(0, 0.3), st.floats(0, 0.3))
def test_no_more_devices_are_counted_on_than_the_protocol_leaves(cohort: int, corrupt: float, dropout: float) -> None:
    task = task_of(cohort, corrupt_fraction=corrupt, max_dropouts=math.floor(dropout * cohort))
    surviving = parameters(cohort, task.aggregation).survivors_required
    assert mechanism(task, cohort).honest <= surviving - corrupt * cohort + 1e-6


@given(st.integers(8, 400), st.integers(8, 400), st.sampled_from([21, 32]))
def test_a_release_does_not_tell_how_many_devices_came(cohort: int, other: int, bits: int) -> None:
    """Same grid, same sensitivity, same noise in the sum, but for a device's variance being an integer."""
    task = task_of(participation=HUNDRED, modulus_bits=bits, min_survivors=8)
    largest = task.participation.largest_cohort
    few, many = mechanism(task, min(cohort, largest)), mechanism(task, min(other, largest))
    assert (few.scale, few.norm_bound) == (many.scale, many.norm_bound)
    integral = 1 / min(few.variance, many.variance)
    assert few.noise_std**2 == pytest.approx(many.noise_std**2, rel=1.1 * integral)
    assert integral < 0.004
    assert min(few.noise_std, many.noise_std) >= 1.0


def test_rounding_is_unbiased_and_noise_has_its_variance() -> None:
    task = task_of(4, noise=0.5, dimension=20_000, max_dropouts=1)
    chosen, update = mechanism(task, 4), Update(np.full(20_000, 0.7 / math.sqrt(20_000), np.float32))
    error = chosen.decode(summed(task, [update] * 4)) - 4 * update.delta
    assert abs(error.mean()) < 5 * chosen.noise_std / math.sqrt(20_000)
    assert error.std() == pytest.approx(chosen.noise_std / math.sqrt(0.75), rel=0.05)
    assert chosen.noise_std == pytest.approx(0.5, rel=0.01)


def test_a_zero_update_is_nothing_but_noise() -> None:
    nothing = Update(np.zeros(4096, np.float32))
    quiet = mechanism(task_of(noise=0.0, dimension=4096)).encode(nothing, ROTATION, SystemRandomness())
    assert not quiet.integers.any()
    chosen = mechanism(task_of(dimension=4096))
    noised = chosen.encode(nothing, ROTATION, SystemRandomness()).integers
    assert noised.std() == pytest.approx(math.sqrt(chosen.variance), rel=0.1)


# The sum.


@pytest.mark.parametrize("dimension", [1, 2, 3, 64, 1000])
@pytest.mark.parametrize("statistics", [(), (COUNT, LOSS)])
def test_without_noise_the_release_is_the_plain_sum(dimension: int, statistics: tuple[Statistic, ...]) -> None:
    """To the rounding of 5 devices, whatever the round's rotation."""
    task = task_of(5, noise=0.0, dimension=dimension, statistics=statistics)
    figures = [
        {statistic.name: (0.1 + 0.15 * device) * statistic.bound for statistic in statistics} for device in range(5)
    ]
    updates = [Update(unit(device, dimension), figures[device]) for device in range(5)]
    plain = np.sum([update.delta.astype(np.float64) for update in updates], axis=0)
    rounding = 5 * math.sqrt(task.length) / mechanism(task, 5).scale
    for rotation in (ROTATION, bytes(32)):
        released = release(task, [summed(task, updates, rotation)], [TRANSCRIPT], receipt(), padding=SystemRandomness())
        np.testing.assert_allclose(released.values, plain, rtol=2e-7, atol=rounding)
        for statistic in statistics:
            expected = sum(figure[statistic.name] for figure in figures)
            allowed = rounding * statistic.bound / statistic.sensitivity_fraction
            assert released.statistics[statistic.name] == pytest.approx(expected, abs=allowed)


def test_devices_that_rotate_by_another_seed_are_not_summed() -> None:
    """So that the test above would notice a rotation that is left out."""
    task = task_of(5, noise=0.0)
    decoded = mechanism(task, 5).decode(
        Total(summed(task, [Update(unit(1))] * 5, bytes(32)).sums, 5, 5, ROTATION, TRANSCRIPT)
    )
    assert np.abs(decoded - 5 * unit(1)).max() > 0.1


@given(st.integers(0, 2**32), st.floats(-100, 1e6))
def test_a_statistic_is_cut_to_its_bound(seed: int, value: float) -> None:
    task = task_of(2, noise=0.0, statistics=(COUNT,))
    chosen, quiet = mechanism(task, 2), np.zeros(64, np.float32)
    rng = SeedTree.root(seed).stream()
    encoded = [chosen.encode(Update(quiet, {"examples": count}), ROTATION, rng) for count in (value, 7.0)]
    released = release(task, [total(encoded)], [TRANSCRIPT], receipt(), padding=SystemRandomness())
    expected = min(max(value, 0.0), 50.0) + 7.0
    assert released.statistics["examples"] == pytest.approx(expected, abs=2 * 8.1 / chosen.scale * 50 / 0.2)


@pytest.mark.parametrize(
    ("figures", "missing"),
    [
        ({}, "examples, loss"),
        ({"loss": 1.0}, "examples"),
        ({"examples": 1.0, "loss": math.nan}, "loss"),
        ({"examples": math.inf, "loss": 1.0}, "examples"),
        ({"examples": 1.0, "losses": 1.0}, "loss"),
    ],
)
def test_a_statistic_that_is_missing_or_no_number_is_named(figures: Mapping[str, float], missing: str) -> None:
    chosen = mechanism(task_of(statistics=(COUNT, LOSS)))
    with pytest.raises(MechanismError, match=f"statistics: expected a finite {missing}, got none"):
        chosen.encode(Update(unit(1), figures), ROTATION, SystemRandomness())


def test_a_statistic_that_was_not_asked_for_is_not_sent() -> None:
    chosen = mechanism(task_of(noise=0.0))
    plain, more = (
        chosen.encode(Update(unit(1), figures), ROTATION, SeedTree.root(1).stream()).integers
        for figures in ({}, {"examples": 3.0})
    )
    np.testing.assert_array_equal(plain, more)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_updates_that_are_not_finite(value: float) -> None:
    delta = np.zeros(64, np.float32)
    delta[3] = value
    with pytest.raises(MechanismError, match="expected finite numbers"):
        mechanism().encode(Update(delta), ROTATION, SystemRandomness())


@pytest.mark.parametrize(
    ("delta", "got"),
    [
        (np.zeros(63, np.float32), r"float32 of shape \(63,\)"),
        (np.zeros((64, 1), np.float32), r"float32 of shape \(64, 1\)"),
        (np.zeros(64), "float64"),
        (np.full(64, 1e300), "float64"),
        (np.zeros(64, np.complex64), "complex64"),
        (np.zeros(64, np.int64), "int64"),
        (np.full(64, None), "object"),
    ],
)
def test_updates_of_another_kind(delta: NDArray[np.float32], got: str) -> None:
    with pytest.raises(MechanismError, match=rf"expected float32\[64\], got {got}"):
        mechanism().encode(Update(delta), ROTATION, SystemRandomness())


# Releases.


def sharded() -> tuple[TaskSpec, list[Total], list[str]]:
    """Three shards of 4, 5 and 6 devices, and their transcripts."""
    task = task_of(15, noise=0.5, shards=3, statistics=(COUNT,))
    transcripts = [f"{number:064x}" for number in range(3)]
    totals = []
    for size, transcript in zip((4, 5, 6), transcripts, strict=True):
        shard = summed(task, [Update(unit(size), {"examples": 10.0})] * size)
        totals.append(Total(shard.sums, shard.cohort, shard.survivors, shard.rotation, transcript))
    return task, totals, transcripts


def test_a_release_needs_the_receipt_of_this_very_sum() -> None:
    task = task_of(5)
    own = summed(task, [Update(unit(1))] * 5)
    for charged, paid in (([TRANSCRIPT], OTHER), ([OTHER], TRANSCRIPT), ([OTHER], OTHER), ([], TRANSCRIPT)):
        with pytest.raises(MechanismError, match="receipt: expected one for this very sum"):
            release(task, [own], charged, receipt(paid))
    with pytest.raises(MechanismError, match="receipt"):
        release(task, [], [TRANSCRIPT], receipt(), padding=SystemRandomness())
    assert release(task, [own], [TRANSCRIPT], receipt(), padding=SystemRandomness()).survivors == 5


def test_shards_are_summed_under_one_receipt_for_all_of_them() -> None:
    task, totals, transcripts = sharded()
    released = release(task, totals, transcripts, receipt(joint_transcript(transcripts)), padding=SystemRandomness())
    expected = np.sum([size * unit(size).astype(np.float64) for size in (4, 5, 6)], axis=0)
    spread = released.noise_std / math.sqrt(0.8)
    assert np.abs(released.values - expected).max() < 6 * spread
    assert released.statistics["examples"] == pytest.approx(150, abs=6 * spread * 50 / 0.2)
    clip, bound, fraction = task.mechanism.clip, COUNT.bound, COUNT.sensitivity_fraction
    assert released.statistics_noise_std == {"examples": pytest.approx(released.noise_std * bound / (fraction * clip))}
    assert (released.survivors, released.cohort) == (15, 15)
    shards = [mechanism(task, size) for size in (4, 5, 6)]
    assert released.noise_std == pytest.approx(math.sqrt(sum(shard.noise_std**2 for shard in shards)))
    assert released.noise_multiplier == min(shard.noise_multiplier for shard in shards) >= 0.5


def test_each_shard_carries_all_its_noise_by_itself() -> None:
    """A device is in one shard: what its sum is charged for must not count on another's noise."""
    for size in (4, 5, 6):
        assert mechanism(sharded()[0], size).noise_multiplier >= 0.5


def test_a_shard_that_ended_is_left_out_and_stays_paid_for() -> None:
    task, totals, transcripts = sharded()
    released = release(
        task, totals[1:], transcripts, receipt(joint_transcript(transcripts)), padding=SystemRandomness()
    )
    assert (released.survivors, released.cohort) == (11, 11)
    expected = 5 * unit(5).astype(np.float64) + 6 * unit(6)
    assert np.abs(released.values - expected).max() < 6 * released.noise_std / math.sqrt(0.8)


def test_a_shard_that_was_not_charged_is_not_released() -> None:
    task, totals, transcripts = sharded()
    foreign = [*totals[:2], Total(totals[2].sums, 6, 6, ROTATION, OTHER)]
    with pytest.raises(MechanismError, match="receipt"):
        release(task, foreign, transcripts, receipt(joint_transcript(transcripts)))
    for fewer in (transcripts[:2], transcripts[::-1], transcripts[:1]):
        with pytest.raises(MechanismError, match="receipt"):
            release(task, totals, transcripts, receipt(joint_transcript(fewer)))


def test_the_joint_transcript_tells_order_and_number_of_shards_apart() -> None:
    parts = [TRANSCRIPT, OTHER]
    joint = [joint_transcript(shards) for shards in (parts, parts[::-1], [*parts, TRANSCRIPT], parts[:1])]
    assert len(set(joint)) == 4
    assert joint[-1] == TRANSCRIPT


def test_receipt_cannot_be_made_up() -> None:
    with pytest.raises(TypeError, match=r"Ledger\.reserve"):
        Receipt(receipt().charge, "00" * 32)


# The modulus.


@pytest.mark.parametrize("dimension", [1, 2, 64, 1000])
@pytest.mark.parametrize(("bits", "noise"), [(12, 0.0), (12, 0.3), (12, 2.0), (16, 0.3)])
def test_aligned_updates_of_the_largest_cohort_stay_in_the_modulus(dimension: int, bits: int, noise: float) -> None:
    """Drawn 40 times over: the wrap that would show is one of 2^-40, but the margin is not idle either."""
    task = task_of(8, noise=noise, dimension=dimension, modulus_bits=bits, max_dropouts=0)
    chosen, half, reached = mechanism(task, 8), 1 << (bits - 1), 0
    update = Update(unit(dimension, dimension, length=9.0))
    for seed in range(40):
        rng, rotation = SeedTree.root(seed).stream(), SeedTree.root(seed).key()
        encoded = [chosen.encode(update, rotation, rng).integers for _ in range(8)]
        exact = np.sum(encoded, axis=0)
        reached = max(reached, int(np.abs(exact).max()))
        words = np.add.reduce([pack(integers, bits) for integers in encoded], axis=0, dtype=word_type(bits))
        np.testing.assert_array_equal(unpack(words, bits, exact.size), exact)
    assert 0.2 * half < reached < half


def default_task(dimension: int = 16_385, noise: float = 0.63, cohort: int = 64, **aggregation: int) -> TaskSpec:
    """What `fl-sim run` does with its defaults; `cohort` devices of a thousand times as many are expected."""
    participation = PoissonParticipation(population=1_000, sampling_rate=cohort / 1_000)
    aggregation.setdefault("min_survivors", cohort // 2)
    return task_of(
        noise=noise,
        dimension=dimension,
        participation=participation,
        corrupt_fraction=0.05,
        max_dropouts=cohort // 10 // aggregation.get("shards", 1),
        **aggregation,
    )


def rounding_cost(task: TaskSpec, bits: int) -> float:
    return Mechanism.for_cohort(with_modulus(task, bits), task.largest_shard).rounding_cost


def test_the_default_task_needs_16_bits() -> None:
    task = default_task()
    assert smallest_modulus(task) == 16
    assert rounding_cost(task, 16) < 1.001
    with pytest.raises(MechanismError, match="too coarse for the noise"):
        rounding_cost(task, 12)


@pytest.mark.parametrize(("cohort", "noise", "cost"), [(500, 2.0, 1.064), (64, 2.0, 1.058), (64, 1.0, 1.013)])
def test_a_million_coordinates_need_more_bits(cohort: int, noise: float, cost: float) -> None:
    """16 bits cost up to 6% of the sensitivity, 20 next to nothing; at noise 2, 14 bits are infeasible."""
    task = default_task(1 << 20, noise, cohort)
    assert smallest_modulus(task) == 21
    assert rounding_cost(task, 16) == pytest.approx(cost, abs=0.001)
    assert rounding_cost(task, 20) < 1.001
    with pytest.raises(MechanismError, match=r"modulus_bits: .* use more bits"):
        rounding_cost(default_task(1 << 20, 2.0, cohort), 14)


@settings(max_examples=50)
@given(
    dimension=st.sampled_from([1, 64, 1_000, 1 << 16, 1 << 20]),
    cohort=st.sampled_from([64, 400]),
    noise=st.one_of(st.just(0.0), st.floats(0.05, 2)),
    shards=st.integers(1, 3),
)
@example(dimension=1 << 20, cohort=64, noise=2.0, shards=3)
def test_the_smallest_modulus_runs_every_cohort_up_to_the_largest(
    dimension: int, cohort: int, noise: float, shards: int
) -> None:
    task = default_task(dimension, noise, cohort, shards=shards, min_survivors=max(2, cohort // 4 // shards))
    chosen = with_modulus(task, smallest_modulus(task))
    for size in {max(2, math.ceil(task.shard_cohort * 0.6)), math.ceil(task.shard_cohort), task.largest_shard}:
        assert Mechanism.for_cohort(chosen, size).noise_multiplier >= noise * (1 - 1e-12)


def test_rounding_cost_is_the_sensitivity_over_the_clips() -> None:
    chosen = mechanism(task_of(clip=3.0, statistics=(COUNT,), modulus_bits=12))
    assert chosen.rounding_cost == pytest.approx(chosen.norm_bound / chosen.scale / (3.0 * math.sqrt(1.04)))
    assert chosen.rounding_cost > 1


@pytest.mark.parametrize(
    ("task", "cohort", "problem"),
    [
        (task_of(dimension=1 << 20, modulus_bits=12), 10, "at 1048576 coordinates rounding would exceed the clip"),
        (task_of(100, noise=0.05, modulus_bits=12), 100, "12 bits are too coarse for the noise of so many devices"),
        (task_of(1000, noise=0.0, modulus_bits=8), 1000, "use more bits"),
        (task_of(10, modulus_bits=12), 20, "the sum of 20 devices does not fit 12 bits; .* at most 10 devices"),
    ],
)
def test_a_modulus_that_is_too_small_is_refused_by_name(task: TaskSpec, cohort: int, problem: str) -> None:
    with pytest.raises(MechanismError, match=f"^modulus_bits: .*{problem}"):
        mechanism(task, cohort)


def test_a_sum_that_fits_no_modulus_is_refused() -> None:
    with pytest.raises(MechanismError, match="modulus_bits"):
        smallest_modulus(task_of(1 << 31, noise=0.0, dimension=1))


@pytest.mark.parametrize("cohort", [2, 10, 200, 2_000])
def test_every_cohort_that_may_release_is_noised_exactly(cohort: int) -> None:
    """Also one far smaller than expected; the bits that its sampler draws have the promised spread."""
    task = task_of(2_000, dimension=4096, min_survivors=2, max_dropouts=1)
    chosen = mechanism(task, cohort)
    noised = chosen.encode(Update(np.zeros(4096, np.float32)), ROTATION, SystemRandomness()).integers
    assert noised.std() == pytest.approx(math.sqrt(chosen.variance), rel=0.1)
    assert math.sqrt(chosen.variance * chosen.honest) >= chosen.norm_bound


def test_noise_that_the_smallest_cohort_could_not_sample_is_refused_for_all() -> None:
    """Before anybody is invited, not only when so few come."""
    task = task_of(1 << 14, noise=100.0, dimension=1 << 20, min_survivors=2, max_dropouts=1)
    for cohort in (2, 1 << 14):
        with pytest.raises(MechanismError, match="min_survivors: the noise of 2 devices cannot be sampled"):
            mechanism(task, cohort)
    enough = task_of(1 << 14, noise=100.0, dimension=1 << 20, min_survivors=10, max_dropouts=1)
    assert mechanism(enough, 10).noise_multiplier >= 100


@pytest.mark.parametrize(("cohort", "survivors"), [(60, 60), (100, 100), (100, 92), (140, 131)])
def test_padded_noise_does_not_tell_the_cohorts_size(cohort: int, survivors: int) -> None:
    """Its variance is the task's whoever came; 2^16 coordinates, so within 0.6% a deviation."""
    task = make_task(
        participation=HUNDRED,
        aggregation=AggregationPolicy(max_dropouts=10, min_survivors=50, modulus_bits=32),
        model=make_task(1 << 16).model,
    )
    mechanism, rng = Mechanism.for_cohort(task, cohort), SystemRandomness()
    drawn = sum(dgauss.sample(mechanism.variance, task.length, rng) for _ in range(survivors))
    padded = mechanism.padded(Total(np.asarray(drawn), cohort, survivors, None, "00" * 32), rng)
    assert float(np.var(padded.sums)) == pytest.approx(padded_variance(task), rel=0.03)
