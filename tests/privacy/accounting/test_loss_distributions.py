"""The fast steps against the library's own, to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting.pld import pld_pmf, privacy_loss_distribution as pld
from hypothesis import example, given, settings, strategies as st

from privacy.accounting.composition import Composition, Sampled, _grid, upper_bound
from privacy.accounting.gaussian_losses import gaussian_losses
from privacy.accounting.loss_distributions import deltas_for_epsilons, epsilon_for_delta, most_epsilon, self_compose

DELTAS = (1e-12, 1e-9, 1e-5, 1e-2, 0.3)
RATES = st.sampled_from([1e-3, 0.02, 0.3, 1.0])


def theirs(noise: float, rate: float, grid: float, *, pessimistic: bool) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(
        standard_deviation=noise,
        sampling_prob=rate,
        value_discretization_interval=grid,
        pessimistic_estimate=pessimistic,
        use_connect_dots=pessimistic,
    )


def both(distribution: pld.PrivacyLossDistribution) -> list[pld_pmf.PLDPmf]:
    """Return the directions: a device removed, and one added."""
    return [distribution._pmf_remove, distribution._pmf_add]


def same(ours: pld_pmf.PLDPmf, library: pld_pmf.PLDPmf) -> bool:
    if type(ours) is not type(library) or ours._infinity_mass != library._infinity_mass:
        return False
    left, right = ours.to_dense_pmf(), library.to_dense_pmf()
    return left._lower_loss == right._lower_loss and np.array_equal(left._probs, right._probs)


@settings(max_examples=40, deadline=None)
@example(noise=1.0, rate=0.001, grid=0.5, pessimistic=False)  # few losses: another class of the library
@example(noise=0.4, rate=1 - math.exp(-1), grid=0.125, pessimistic=True)  # a loss that is nearly the least there is
@example(noise=1e6, rate=1.0, grid=1e-2, pessimistic=True)  # three losses
@example(noise=1e6, rate=1e-3, grid=1e-2, pessimistic=False)
@example(noise=0.3, rate=0.999, grid=1e-2, pessimistic=True)
@example(noise=0.52, rate=0.0285, grid=1e-3, pessimistic=False)
@given(
    noise=st.floats(0.3, 50.0),
    rate=st.one_of(st.just(1.0), st.floats(1e-6, 0.999)),
    grid=st.integers(3, 8).map(lambda exponent: 2.0**-exponent),
    pessimistic=st.booleans(),
)
def test_one_round_is_the_librarys(noise: float, rate: float, grid: float, pessimistic: bool) -> None:
    library = theirs(noise, rate, grid, pessimistic=pessimistic)
    for added, direction in enumerate(both(library)):
        assert same(gaussian_losses(noise, rate, grid, pessimistic=pessimistic, added=bool(added)), direction)


@pytest.mark.long
@pytest.mark.parametrize("pessimistic", [False, True])
def test_one_round_on_the_grid_of_reports(pessimistic: bool) -> None:
    for noise, rate in ((0.52, 200 / 7000), (0.9, 0.064), (4.0, 1e-4)):
        library = theirs(noise, rate, 1e-4, pessimistic=pessimistic)
        for added, direction in enumerate(both(library)):
            assert same(gaussian_losses(noise, rate, 1e-4, pessimistic=pessimistic, added=bool(added)), direction)


@settings(max_examples=25)
@example(noise=1.0, rate=0.001, times=1, pessimistic=False, delta=1e-12)  # few losses: another class of the library
@given(st.floats(0.4, 20.0), RATES, st.integers(1, 60), st.booleans(), st.sampled_from(DELTAS))
def test_the_figures_are_the_librarys(noise: float, rate: float, times: int, pessimistic: bool, delta: float) -> None:
    for one in both(theirs(noise, rate, 1e-2, pessimistic=pessimistic)):
        ours, library = self_compose(one, times), one.self_compose(times, 1e-15)
        assert epsilon_for_delta(ours, delta) == library.get_epsilon_for_delta(delta)
        assert epsilon_for_delta(ours, delta) <= most_epsilon(one, times, delta)
        more = pld_pmf.compose_pmfs(ours, one, 1e-15)
        assert epsilon_for_delta(more, delta) == pld_pmf.compose_pmfs(library, one, 1e-15).get_epsilon_for_delta(delta)


@settings(max_examples=12, deadline=None)
@example(rate=0.02, noise=0.6, times=3)  # adding a device cannot cost as much, and is not composed
@example(rate=0.3, noise=8.0, times=40)  # it could
@given(rate=st.floats(0.005, 0.5), noise=st.floats(0.5, 10.0), times=st.integers(1, 50))
def test_leaving_out_a_direction_that_costs_less_changes_nothing(rate: float, noise: float, times: int) -> None:
    composition = Composition.of(0.0, [(Sampled(rate, noise), times)])
    library = theirs(noise, rate, 64 * _grid(composition, 1e-5), pessimistic=True).self_compose(times)
    assert upper_bound(composition, 1e-5, 64) == library.get_epsilon_for_delta(1e-5)


@pytest.mark.parametrize("times", [1, 7, 30])
def test_the_grid_of_reports(times: int) -> None:
    for added in (False, True):
        one = gaussian_losses(0.9, 0.064, 1e-4, pessimistic=True, added=added)
        ours, library = self_compose(one, times), one.self_compose(times, 1e-15)
        for delta in DELTAS:
            assert epsilon_for_delta(ours, delta) == library.get_epsilon_for_delta(delta)


@pytest.mark.parametrize("rate", [0.05, 1.0])
@pytest.mark.parametrize("times", [1, 7])
@pytest.mark.parametrize("added", [False, True])
def test_many_epsilons_have_the_deltas_that_the_library_finds(rate: float, times: int, added: bool) -> None:
    losses = self_compose(gaussian_losses(0.9, rate, 1e-2, pessimistic=True, added=added), times)
    epsilons = np.array([0.0, 0.004, 0.5, 1.0, 3.7, 12.0, 40.0, 300.0])
    expected = losses.get_delta_for_epsilon(epsilons)
    np.testing.assert_allclose(deltas_for_epsilons(losses, epsilons), expected, rtol=1e-9, atol=1e-13)


def test_a_delta_below_the_infinite_mass_has_no_epsilon() -> None:
    one = gaussian_losses(1.0, 0.1, 1e-2, pessimistic=True, added=False)
    assert math.isinf(epsilon_for_delta(self_compose(one, 10), 1e-300))
    assert math.isinf(most_epsilon(one, 10, 1e-300))
