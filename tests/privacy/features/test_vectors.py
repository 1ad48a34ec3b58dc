"""The vectors that features in other languages are checked against, and that this one keeps to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from privacy.features.normalising import normalise
from privacy.features.tokenising import tokens
from tests.support.unicode_oracle import assigned, normal_form, plain_tokens
from tests.vectors.make_features import VECTORS, vectors

KEPT: list[dict[str, Any]] = json.loads(VECTORS.read_text("ascii"))["texts"]


def test_this_version_makes_the_vectors() -> None:
    """A change of any of these numbers is another version of the features."""
    assert json.loads(json.dumps(vectors())) == json.loads(VECTORS.read_text("ascii"))


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept["script"])
def test_the_vectors_have_the_standards_form_and_tokens(kept: dict[str, Any]) -> None:
    """By Python's own Unicode, for what it knows."""
    if assigned(kept["text"]):
        assert (normal_form(kept["text"]), plain_tokens(kept["normal"])) == (kept["normal"], kept["tokens"])
    assert tokens(normalise(kept["normal"])) == kept["tokens"]


def test_the_vectors_are_of_thirty_scripts_and_more() -> None:
    assert len({kept["script"] for kept in KEPT}) >= 30
