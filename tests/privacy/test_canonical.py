"""What is said of a record that is not as expected, and which records there are."""

from __future__ import annotations

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from privacy.canonical import Frozen, canonical_json, what_is_wrong


class Inner(Frozen):
    share: float


class Outer(Frozen):
    inner: Inner
    key: str


class Counts(Frozen):
    one: int = 0
    many: tuple[tuple[int, ...], ...] = ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"inner": {"share": 0.5}}', "key: is missing"),
        ('{"inner": {"share": 0.5}, "key": "k", "kye": "SECRET"}', "kye: unknown key"),
        ('{"inner": {"share": "SECRET"}, "key": "k"}', "inner.share: Input should be a valid number"),
        ('{"inner": {"chair": 0.5}}', "inner.share: is missing; inner.chair: unknown key; key: is missing"),
        ("SECRET", "the whole: Invalid JSON: expected value at line 1 column 1"),
    ],
)
def test_every_field_is_named_and_no_value_shown(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(text)
    assert what_is_wrong(caught.value) == said


@given(st.integers(), st.lists(st.lists(st.integers())))
@example(2**53 - 1, [[1 - 2**53]])
@example(2**53, [])
@example(0, [[0], [1, -(2**53)]])
def test_a_record_either_has_an_encoding_or_is_none(one: int, many: list[list[int]]) -> None:
    try:
        canonical_json([one, many])
    except rfc8785.CanonicalizationError:
        with pytest.raises(ValidationError, match=r"expected integers up to 2\^53 - 1"):
            Counts(one=one, many=tuple(map(tuple, many)))
    else:
        found = Counts(one=one, many=tuple(map(tuple, many)))
        assert Counts.model_validate_json(found.canonical()) == found
