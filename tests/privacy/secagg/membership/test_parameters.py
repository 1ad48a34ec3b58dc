"""Degree and thresholds against independent tails, and against graphs that were really drawn."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import hypergeom

from privacy.secagg.membership.params import COMPLETE, LARGEST, ParameterError, default_max_dropouts, parameters
from privacy.task.task import AggregationPolicy


def policy(cohort: int, corrupt: float = 0.05, dropout: float = 0.1, **more: int) -> AggregationPolicy:
    most = default_max_dropouts(cohort, 1, dropout)
    return AggregationPolicy(
        corrupt_fraction=corrupt, max_dropouts=most, modulus_bits=16, **{"min_survivors": 2, **more}
    )


@pytest.mark.parametrize(
    ("cohort", "degree", "threshold"), [(129, 18, 7), (200, 25, 11), (300, 32, 15), (512, 37, 18), (1_000, 44, 22)]
)
def test_known_values(cohort: int, degree: int, threshold: int) -> None:
    params = parameters(cohort, policy(cohort))
    assert (params.degree, params.threshold, params.complete) == (degree, threshold, False)


@given(st.integers(3, COMPLETE), st.floats(0, 0.2), st.floats(0, 0.25))
def test_complete_graphs(cohort: int, corrupt: float, dropout: float) -> None:
    try:
        params = parameters(cohort, policy(cohort, corrupt, dropout))
    except ParameterError:
        return
    assert params.complete
    assert 2 * params.threshold > cohort + params.corrupt >= 2 * params.threshold - 2
    assert params.quorum == params.threshold <= params.survivors_required == cohort - params.dropouts
    assert params.corrupt == math.floor(Fraction(corrupt) * cohort + Fraction(1, 10**9))
    assert params.honest_survivors >= 1


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
        (10, {"dropout": 0.49, "corrupt": 0.3}, "quorum of 7 cannot be reached when 4 devices drop out"),
        (300, {"dropout": 0.35, "corrupt": 0.39}, "quorum of 209 .* lower corrupt_fraction or max_dropouts"),
        (1, {}, r"expected at least 2 devices"),
    ],
)
def test_what_cannot_be_withstood(cohort: int, changes: dict[str, float], reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        parameters(cohort, policy(cohort, **changes))  # type: ignore[arg-type]
