"""What is said of an error, and of a record that is not as expected."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from privacy.base.canonical import Frozen
from privacy.base.errors import first_line, what_is_wrong


class Inner(Frozen):
    fraction: float


class Outer(Frozen):
    inner: Inner
    key: str


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"inner": {"fraction": 0.5}}', "key: is missing"),
        ('{"inner": {"fraction": 0.5}, "key": "k", "kye": "SECRET"}', "kye: unknown key"),
        ('{"inner": {"fraction": "SECRET"}, "key": "k"}', "inner.fraction: Input should be a valid number"),
        ('{"inner": {"chair": 0.5}}', "inner.fraction: is missing; inner.chair: unknown key; key: is missing"),
        ("SECRET", "the whole: Invalid JSON: expected value at line 1 column 1"),
    ],
)
def test_every_field_is_named_and_no_value_shown(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(text)
    assert what_is_wrong(caught.value) == said


@pytest.mark.parametrize(("message", "line"), [("", ""), ("one", "one"), ("one\ntwo", "one")])
def test_an_error_may_say_nothing(message: str, line: str) -> None:
    assert first_line(Exception(message)) == line
