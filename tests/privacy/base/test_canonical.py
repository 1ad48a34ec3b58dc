"""Which records there are: those that have an encoding."""

from __future__ import annotations

import pytest
import rfc8785
from hypothesis import example, given, strategies as st
from pydantic import ValidationError

from privacy.base.canonical import Frozen, canonical_json


class Counts(Frozen):
    single: int = 0
    many: tuple[tuple[int, ...], ...] = ()


@given(st.integers(), st.lists(st.lists(st.integers())))
@example(2**53 - 1, [[1 - 2**53]])
@example(2**53, [])
@example(0, [[0], [1, -(2**53)]])
def test_a_record_either_has_an_encoding_or_is_none(single: int, many: list[list[int]]) -> None:
    try:
        canonical_json([single, many])
    except rfc8785.CanonicalizationError:
        with pytest.raises(ValidationError, match=r"expected integers up to 2\^53 - 1"):
            Counts(single=single, many=tuple(map(tuple, many)))
    else:
        counts = Counts(single=single, many=tuple(map(tuple, many)))
        assert Counts.model_validate_json(counts.canonical()) == counts
