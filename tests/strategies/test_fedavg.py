from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from privacy.ledger.entries import Charge, issue_receipt
from privacy.release.release import Release
from strategies.fedavg import FedAvgM, ModelState
from tests.support.tasks import make_task

TASK = make_task()
RECEIPT = issue_receipt(Charge.of(TASK, 1, "ab" * 32, 100), "00" * 32)


def release(*values: float, survivors: int = 3, cohort: int = 4, within_clip: float | None = None) -> Release:
    return Release(
        values=np.array(values, np.float32),
        statistics={},
        statistics_noise_std={},
        within_clip=within_clip,
        survivors=survivors,
        cohort=cohort,
        noise_std=1.0,
        noise_multiplier=1.0,
        receipt=RECEIPT,
    )


def test_the_divisor_is_the_expected_cohort_whoever_came() -> None:
    strategy, start = FedAvgM(2.0, 0.0, 8.0), ModelState.start(np.ones(2, np.float32), 0.5)
    few = strategy.step(start, release(4.0, -8.0, survivors=1, cohort=2))
    many = strategy.step(start, release(4.0, -8.0, survivors=90, cohort=99))
    np.testing.assert_array_equal(few.weights, [2.0, -1.0])
    np.testing.assert_array_equal(few.weights, many.weights)


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8), st.sampled_from([0.0, 0.5, 0.9]))
def test_momentum_is_the_discounted_sum_of_all_means(sums: list[float], momentum: float) -> None:
    strategy, state = FedAvgM(1.0, momentum, 2.0), ModelState.start(np.zeros(1, np.float32), 0.5)
    for value in sums:
        state = strategy.step(state, release(value))
    ages = [sum(momentum**age for age in range(len(sums) - place)) for place in range(len(sums))]
    oracle = sum(value / 2 * age for value, age in zip(sums, ages, strict=True))
    np.testing.assert_allclose(state.weights, [oracle], atol=1e-3)
    assert state.weights.dtype == state.momentum.dtype == np.float32
