"""The fast steps against the library's own, to the last bit."""

from __future__ import annotations

import math

import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import example, given, settings, strategies as st

from privacy.accounting.loss_distributions import epsilon_for_delta, self_compose

DELTAS = (1e-12, 1e-9, 1e-5, 1e-2, 0.3)


def gaussian(noise: float, rate: float, grid: float, *, pessimistic: bool) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(
        standard_deviation=noise,
        sampling_prob=rate,
        value_discretization_interval=grid,
        pessimistic_estimate=pessimistic,
        use_connect_dots=pessimistic,
    )


@settings(max_examples=25)
@example(noise=1.0, rate=0.001, times=1, pessimistic=False, delta=1e-12)  # few losses: another class of the library
@given(
    st.floats(0.4, 20.0),
    st.sampled_from([1e-3, 0.02, 0.3, 1.0]),
    st.integers(1, 60),
    st.booleans(),
    st.sampled_from(DELTAS),
)
def test_the_figures_are_the_librarys(noise: float, rate: float, times: int, pessimistic: bool, delta: float) -> None:
    one = gaussian(noise, rate, 1e-2, pessimistic=pessimistic)
    ours, theirs = self_compose(one, times), one.self_compose(times)
    assert epsilon_for_delta(ours, delta) == theirs.get_epsilon_for_delta(delta)
    assert epsilon_for_delta(ours.compose(one), delta) == theirs.compose(one).get_epsilon_for_delta(delta)


@pytest.mark.parametrize("times", [1, 7, 30])
def test_the_grid_of_reports(times: int) -> None:
    one = gaussian(0.9, 0.064, 1e-4, pessimistic=True)
    ours, theirs = self_compose(one, times), one.self_compose(times)
    for delta in DELTAS:
        assert epsilon_for_delta(ours, delta) == theirs.get_epsilon_for_delta(delta)


def test_a_delta_below_the_infinite_mass_has_no_epsilon() -> None:
    one = self_compose(gaussian(1.0, 0.1, 1e-2, pessimistic=True), 10)
    assert math.isinf(epsilon_for_delta(one, 1e-300))
