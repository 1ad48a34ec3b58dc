"""Degree and thresholds against independent tails, and against graphs that were really drawn."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from privacy.secagg.membership.params import COMPLETE, LARGEST, ParameterError, parameters
from privacy.task.task import AggregationPolicy


def policy(corrupt: float = 0.05, dropout: float = 0.1, **more: int) -> AggregationPolicy:
    return AggregationPolicy(
        corrupt_fraction=corrupt, dropout_fraction=dropout, modulus_bits=16, **{"min_survivors": 2, **more}
    )


@pytest.mark.parametrize(
    ("cohort", "degree", "threshold"), [(129, 18, 7), (200, 25, 11), (300, 32, 15), (512, 37, 18), (1_000, 44, 22)]
)
def test_known_values(cohort: int, degree: int, threshold: int) -> None:
    found = parameters(cohort, policy())
    assert (found.degree, found.threshold, found.complete) == (degree, threshold, False)


@given(st.integers(3, COMPLETE), st.floats(0, 0.2), st.floats(0, 0.25))
def test_complete_graphs(cohort: int, corrupt: float, dropout: float) -> None:
    try:
        found = parameters(cohort, policy(corrupt, dropout))
    except ParameterError:
        return
    assert found.complete
    assert 2 * found.threshold > cohort + found.corrupt >= 2 * found.threshold - 2
    assert found.quorum == found.threshold <= found.survivors_required == cohort - found.dropouts
    assert found.corrupt == math.floor(Fraction(corrupt) * cohort + Fraction(1, 10**9))
    assert found.honest_survivors >= 1


@pytest.mark.parametrize("corrupt", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("dropout", [0.1, 0.3])
@pytest.mark.parametrize("cohort", [129, 200, 512, 1_000])
def test_random_graphs_keep_both_bounds(cohort: int, corrupt: float, dropout: float) -> None:
    """scipy's hypergeometric tails: corrupt holders stay below the threshold, live ones reach it."""
    found = parameters(cohort, policy(corrupt, dropout))
    too_many = hypergeom.sf(found.threshold - 1, cohort - 1, found.corrupt, found.degree)
    alive = cohort - 1 - found.dropouts
    too_few = hypergeom.cdf(found.threshold - 1, cohort - 1, alive, found.degree)
    assert cohort * too_many <= 2.0**-41
    assert cohort * too_few <= 2.0**-30
    assert 2 * found.quorum > cohort + found.corrupt
    assert found.quorum == found.survivors_required


@pytest.mark.parametrize("cohort", [129, 1_000])
def test_no_set_of_honest_survivors_can_be_cut_off(cohort: int) -> None:
    """The union bound of the docstring, in exact fractions: over every size that the threshold does not forbid."""
    found = parameters(cohort, policy())
    bad = found.corrupt + found.dropouts
    most_corrupt = next(
        count for count in range(found.degree + 1)
        if cohort * hypergeom.sf(count, cohort - 1, found.corrupt, found.degree) <= 2.0**-41
    )  # fmt: skip
    smallest = found.threshold - most_corrupt + 1
    total = Fraction(0)
    for size in range(smallest, (cohort - bad) // 2 + 1):
        inward = Fraction(math.comb(size - 1 + bad, found.degree), math.comb(cohort - 1, found.degree))
        outward = Fraction(math.comb(cohort - 1 - size, found.degree), math.comb(cohort - 1, found.degree))
        sets = math.comb(cohort, size) * math.comb(cohort - size, bad)
        term = sets * _power(inward, size) * _power(outward, cohort - bad - size)
        total += term
        if term < Fraction(1, 2**200) and size > smallest + 5:
            break  # the terms in between fall further; those near half the cohort are checked below
    half = (cohort - bad) // 2
    inward = Fraction(math.comb(half - 1 + bad, found.degree), math.comb(cohort - 1, found.degree))
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
    found, rng = parameters(200, policy()), np.random.default_rng(1)
    for _ in range(40):
        holders = [set(rng.choice(np.delete(np.arange(200), one), found.degree, replace=False)) for one in range(200)]
        neighbours = [holders[one] | {other for other in range(200) if one in holders[other]} for one in range(200)]
        corrupt = set(range(1, 1 + found.corrupt))
        lost = list(neighbours[0] - corrupt)[: found.dropouts]
        left = set(range(200)) - corrupt - set(lost)
        recoverable = len(holders[0] - set(lost)) >= found.threshold
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
        (300, {"dropout": 0.35, "corrupt": 0.39}, "quorum of 209 .* lower corrupt_fraction or dropout_fraction"),
        (1, {}, r"expected at least 2 devices"),
    ],
)
def test_what_cannot_be_withstood(cohort: int, changes: dict[str, float], reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        parameters(cohort, policy(**changes))  # type: ignore[arg-type]
