"""The fast steps against the library's own, to the last bit."""

from __future__ import annotations

import math

import pytest
from dp_accounting.pld import pld_pmf, privacy_loss_distribution as pld
from hypothesis import example, given, settings, strategies as st

from privacy.accounting.loss_distributions import epsilon_for_delta, sampled_losses, self_compose

Masses = tuple[list[int], list[float], float]
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


def test_the_grid_of_reports() -> None:
    one = gaussian(0.9, 0.064, 1e-4, pessimistic=True)
    ours, theirs = self_compose(one, 30), one.self_compose(30)
    for delta in DELTAS:
        assert epsilon_for_delta(ours, delta) == theirs.get_epsilon_for_delta(delta)


def test_a_delta_below_the_infinite_mass_has_no_epsilon() -> None:
    one = self_compose(gaussian(1.0, 0.1, 1e-2, pessimistic=True), 10)
    assert math.isinf(epsilon_for_delta(one, 1e-300))


def masses(pmf: pld_pmf.PLDPmf) -> Masses:
    """The losses in steps of the grid, their probabilities, and that of an infinite one."""
    if isinstance(pmf, pld_pmf.DensePLDPmf):
        lowest, probabilities = pmf._lower_loss, pmf._probs.tolist()
        return list(range(lowest, lowest + len(probabilities))), probabilities, pmf._infinity_mass
    return [*pmf._loss_probs.keys()], [*map(float, pmf._loss_probs.values())], pmf._infinity_mass


def same(noise: float, rate: float, grid: float, *, pessimistic: bool) -> None:
    ours = sampled_losses(noise, rate, grid, pessimistic=pessimistic)
    theirs = gaussian(noise, rate, grid, pessimistic=pessimistic)
    assert ours._symmetric == theirs._symmetric == (rate == 1)
    pairs = [(ours._pmf_remove, theirs._pmf_remove), (ours._pmf_add, theirs._pmf_add)]
    for found, expected in pairs[: 1 if rate == 1 else 2]:
        assert type(found) is type(expected)
        assert found._pessimistic_estimate == pessimistic
        assert masses(found) == masses(expected)


@settings(max_examples=40)
@example(noise=1.0, rate=0.001, exponent=1, pessimistic=False)  # few losses: another class of the library
@example(noise=0.4, rate=1 - math.exp(-1), exponent=3, pessimistic=True)  # a loss that is nearly the least there is
@given(
    noise=st.floats(0.3, 50.0),
    rate=st.one_of(st.just(1.0), st.floats(1e-6, 0.999)),
    exponent=st.integers(3, 8),
    pessimistic=st.booleans(),
)
def test_one_rounds_losses_are_the_librarys(noise: float, rate: float, exponent: int, pessimistic: bool) -> None:
    same(noise, rate, 2.0**-exponent, pessimistic=pessimistic)


@pytest.mark.parametrize("pessimistic", [False, True])
def test_on_a_fine_grid_too(pessimistic: bool) -> None:
    same(2.0, 0.064, 1e-3, pessimistic=pessimistic)
