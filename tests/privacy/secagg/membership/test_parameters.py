"""Degree and thresholds against independent tails, and against graphs that were really drawn."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import binom, hypergeom

from privacy.secagg.membership.params import (
    COMPLETE,
    LARGEST,
    ParameterError,
    default_max_dropouts,
    default_min_survivors,
    draw_bits,
    parameters,
)
from privacy.task.task import AggregationPolicy


def policy(cohort: int, corrupt: float = 0.05, dropout: float = 0.1, **more: int) -> AggregationPolicy:
    most = default_max_dropouts(cohort, 1, dropout)
    return AggregationPolicy(
        corrupt_fraction=corrupt, max_dropouts=most, modulus_bits=16, **{"min_survivors": max(2, most + 1), **more}
    )


@pytest.mark.parametrize(
    ("cohort", "degree", "threshold"),
    [
        (65, 25, 19),
        (100, 33, 23),
        (129, 37, 25),
        (200, 45, 27),
        (300, 48, 28),
        (512, 51, 29),
        (1_000, 54, 30),
    ],
)
def test_known_values(cohort: int, degree: int, threshold: int) -> None:
    params = parameters(cohort, policy(cohort))
    assert (params.degree, params.threshold, params.complete) == (degree, threshold, False)


@pytest.mark.parametrize(
    ("cohort", "corrupt", "required", "fewest_quorum"),
    [(20, 10, 18, 16), (32, 13, 29, 23), (64, 18, 58, 42), (100, 22, 90, 62), (128, 26, 116, 78)],
)
def test_corrupt_devices_are_sized_by_the_tail_of_their_draw(
    cohort: int, corrupt: int, required: int, fewest_quorum: int
) -> None:
    """At 5% of the population and 2^-30, with a tenth that drops out; the tail once more in exact fractions."""
    params = parameters(cohort, policy(cohort))
    assert (params.corrupt, params.draw_bits, params.survivors_required) == (corrupt, 30, required)
    assert (cohort + corrupt) // 2 + 1 == fewest_quorum <= params.quorum <= required
    assert tail(cohort, corrupt) <= Fraction(1, 2**30) < tail(cohort, corrupt - 1)


def tail(cohort: int, corrupt: int) -> Fraction:
    """The probability of more than so many corrupt ones of a cohort, at 5%."""
    terms = (math.comb(cohort, count) * 19 ** (cohort - count) for count in range(corrupt + 1, cohort + 1))
    return Fraction(sum(terms), 20**cohort)


@given(st.integers(3, COMPLETE), st.floats(0, 0.2), st.floats(0, 0.3))
def test_quorum_and_threshold_of_complete_graphs(cohort: int, corrupt: float, dropout: float) -> None:
    """The inequalities of the module's docstring, with the probability that is left where there is no room."""
    params = parameters(cohort, policy(cohort, corrupt, dropout))
    assert params.complete
    assert 2 * params.quorum > cohort + params.corrupt
    assert params.corrupt < params.threshold <= params.quorum <= params.survivors_required == cohort - params.dropouts
    assert params.corrupt <= params.withstands <= params.survivors_required - 2
    exceeded = binom.sf(params.corrupt, cohort, corrupt)
    assert exceeded <= 2.0**-params.draw_bits
    assert params.draw_bits == 30 or 2.0 ** -(params.draw_bits + 1) < exceeded
    if params.draw_bits == 30:
        assert binom.sf(params.corrupt - 1, cohort, corrupt) > 2.0**-30
    lost = params.survivors_required - params.quorum
    assert params.threshold in (params.corrupt + 1, params.quorum - params.corrupt - lost)


@given(st.integers(0, 20), st.integers(1, 60), st.sampled_from([0.0, 0.02, 0.05, 0.2]), st.integers(0, 100))
def test_no_cohort_that_may_release_has_fewer_bits_than_its_policy(
    dropouts: int, more: int, corrupt: float, beyond: int
) -> None:
    """Above `min_survivors` every size is feasible, so that no other size ends a round than too small a one."""
    chosen = AggregationPolicy(
        corrupt_fraction=corrupt, max_dropouts=dropouts, min_survivors=max(2, dropouts + more), modulus_bits=16
    )
    cohort = min(COMPLETE, chosen.min_survivors + beyond)
    if cohort >= chosen.min_survivors:
        assert parameters(cohort, chosen).draw_bits >= draw_bits(chosen)


@given(st.integers(4, 1_000), st.floats(0, 0.2), st.floats(0, 0.3))
def test_default_survivors_leave_room_where_there_is_some(cohort: int, corrupt: float, dropout: float) -> None:
    dropouts = default_max_dropouts(cohort, 1, dropout)
    least = default_min_survivors(cohort, 1, dropouts, corrupt)
    assert max(2, cohort // 4, dropouts + 1) <= least <= cohort
    chosen = AggregationPolicy(corrupt_fraction=corrupt, max_dropouts=dropouts, min_survivors=least, modulus_bits=16)
    if least > max(2, cohort // 4, dropouts + 1):
        assert draw_bits(chosen) == 30 > draw_bits(chosen.model_copy(update={"min_survivors": least - 1}))


def test_drop_outs_of_shards_have_room_for_their_lots() -> None:
    """3,000 devices in 4 shards, 300 of which vanish: dealt out 20,000 times, some shard has more than it allows for
    in at most one round of 128."""
    assert default_max_dropouts(3_000, 1, 0.1) == 300
    most = default_max_dropouts(3_000, 4, 0.1)
    lots = np.random.default_rng(3).multinomial(300, [0.25] * 4, 20_000)
    spoilt = float(np.mean((lots > most).any(axis=1)))
    assert 2.0**-9 < spoilt <= 2.0**-7 < float(np.mean((lots > 75).any(axis=1)))


@pytest.mark.parametrize("corrupt", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("dropout", [0.1, 0.3])
@pytest.mark.parametrize("cohort", [129, 200, 512, 1_000])
def test_random_graphs_keep_both_bounds(cohort: int, corrupt: float, dropout: float) -> None:
    """scipy's hypergeometric tails: corrupt holders stay below the threshold, live ones reach it."""
    params = parameters(cohort, policy(cohort, corrupt, dropout))
    too_many = hypergeom.sf(params.threshold - 1, cohort - 1, params.corrupt, params.degree)
    alive = cohort - 1 - params.dropouts
    too_few = hypergeom.cdf(params.threshold - 1, cohort - 1, alive, params.degree)
    assert cohort * too_many <= 2.0**-41
    assert cohort * too_few <= 2.0**-30
    assert 2 * params.quorum > cohort + params.corrupt
    assert params.quorum == params.survivors_required


@pytest.mark.parametrize("cohort", [129, 1_000])
def test_no_set_of_honest_survivors_can_be_cut_off(cohort: int) -> None:
    """The union bound of the docstring, in exact fractions: over every size that the threshold does not forbid."""
    params = parameters(cohort, policy(cohort))
    bad = params.corrupt + params.dropouts
    most_corrupt = next(
        count for count in range(params.degree + 1)
        if cohort * hypergeom.sf(count, cohort - 1, params.corrupt, params.degree) <= 2.0**-41
    )  # fmt: skip
    smallest = params.threshold - most_corrupt + 1
    total = Fraction(0)
    for size in range(smallest, (cohort - bad) // 2 + 1):
        inward = Fraction(math.comb(size - 1 + bad, params.degree), math.comb(cohort - 1, params.degree))
        outward = Fraction(math.comb(cohort - 1 - size, params.degree), math.comb(cohort - 1, params.degree))
        sets = math.comb(cohort, size) * math.comb(cohort - size, bad)
        term = sets * _power(inward, size) * _power(outward, cohort - bad - size)
        total += term
        if term < Fraction(1, 2**200) and size > smallest + 5:
            break  # the terms in between fall further; those near half the cohort are checked below
    half = (cohort - bad) // 2
    inward = Fraction(math.comb(half - 1 + bad, params.degree), math.comb(cohort - 1, params.degree))
    assert math.comb(cohort, half) * math.comb(cohort - half, bad) * _power(inward, half) < Fraction(1, 2**200)
    assert total <= Fraction(1, 2**41)


def _power(base: Fraction, exponent: int) -> Fraction:
    """Rounded up to a power of two now and then, to stay fast."""
    return Fraction(2) ** math.ceil(exponent * _log2(base)) if base else Fraction(0)


def _log2(value: Fraction) -> float:
    return math.log2(value.numerator) - math.log2(value.denominator) + 1e-9


def test_drawn_graphs_stay_connected_when_the_worst_neighbourhood_is_lost() -> None:
    """200 devices: all neighbours of a victim that may be lost are, and the rest at random. What is left is one piece,
    or the victim's secret cannot be recovered."""
    params, rng = parameters(200, policy(200)), np.random.default_rng(1)
    for _ in range(40):
        holders = [
            set(rng.choice(np.delete(np.arange(200), device), params.degree, replace=False)) for device in range(200)
        ]
        neighbours = [
            holders[device] | {other for other in range(200) if device in holders[other]} for device in range(200)
        ]
        corrupt = set(range(1, 1 + params.corrupt))
        lost = list(neighbours[0] - corrupt)[: params.dropouts]
        left = set(range(200)) - corrupt - set(lost)
        recoverable = len(holders[0] - set(lost)) >= params.threshold
        assert not recoverable or _piece(0, left, neighbours) == left


def _piece(start: int, left: set[int], neighbours: list[set[int]]) -> set[int]:
    seen, border = {start}, [start]
    while border:
        fresh = (neighbours[border.pop()] & left) - seen
        seen |= fresh
        border += fresh
    return seen


@pytest.mark.parametrize(
    ("cohort", "changes", "reason"),
    [
        (LARGEST + 1, {}, "expected at most 1000 devices, got 1001; raise aggregation.shards"),
        (5, {"min_survivors": 6}, r"expected at least 6 devices \(min_survivors\), got 5"),
        (1, {}, r"expected at least 2 devices"),
    ],
)
def test_what_cannot_be_withstood(cohort: int, changes: dict[str, float], reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        parameters(cohort, policy(cohort, **changes))  # type: ignore[arg-type]
