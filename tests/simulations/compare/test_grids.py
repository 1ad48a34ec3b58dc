"""Which setting of a grid is taken."""

from __future__ import annotations

import math

import pytest

from simulations.compare.grids import Candidate, NothingTrained, at_edge, best


def test_what_diverged_is_not_the_best() -> None:
    assert best(
        [Candidate(1, 1, math.nan), Candidate(2, 1, 0.6), Candidate(4, 1, 0.7), Candidate(8, 1, 0.7)]
    ) == Candidate(4, 1, 0.7)
    with pytest.raises(NothingTrained):
        best([Candidate(1, 1, math.nan)])
    with pytest.raises(NothingTrained):
        best([])


@pytest.mark.parametrize(
    ("rate", "length", "expected"), [(1, 4, True), (2, 4, False), (4, 4, True), (2, 8, True), (2, 1, False)]
)
def test_the_edge_of_a_grid(rate: float, length: int, expected: bool) -> None:
    assert at_edge(Candidate(rate, length, 0.9), (1, 2, 4), 8) is expected
