from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from privacy.signing import Signer
from privacy.task import DeviceMechanism, FeatureSpec, TaskError, TaskSpec, open_task, sign_task
from tests.support.tasks import make_task

OPERATOR = Signer.from_seed(bytes(range(32)))
SIGNED = sign_task(make_task(), OPERATOR)


def test_round_trip_keeps_the_identity() -> None:
    opened = open_task(SIGNED, OPERATOR.public)
    assert opened == make_task()
    assert opened.id == make_task().id


def test_every_field_is_part_of_the_identity() -> None:
    other = make_task(mechanism=DeviceMechanism(clip=1.0, noise_multiplier=1.01))
    assert other.id != make_task().id


@pytest.mark.parametrize("place", range(0, len(SIGNED), 11))
def test_any_changed_byte_is_refused(place: int) -> None:
    changed = bytearray(SIGNED)
    changed[place] ^= 1
    with pytest.raises(TaskError, match="task: "):
        open_task(bytes(changed), OPERATOR.public)


def test_another_operator_is_refused() -> None:
    with pytest.raises(TaskError, match="no valid signature"):
        open_task(SIGNED, Signer.from_seed(bytes(32)).public)


def test_only_the_canonical_encoding_is_accepted() -> None:
    body = json.dumps(json.loads(SIGNED[64:]), indent=1).encode()
    with pytest.raises(TaskError, match="RFC 8785"):
        open_task(OPERATOR.sign("havenfl/task/1", body) + body, OPERATOR.public)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"clip": 0.0}, "mechanism.clip"),
        ({"clip": float("inf")}, "mechanism.clip"),
        ({"noise_multiplier": -1.0}, "mechanism.noise_multiplier"),
        ({"noise": 1.0}, "mechanism.noise"),
        ({"clip": "1"}, "mechanism.clip"),
    ],
)
def test_bad_values_are_refused_by_name(change: dict[str, Any], field: str) -> None:
    values = make_task().model_dump()
    values["mechanism"].update(change)
    with pytest.raises(ValidationError) as caught:
        TaskSpec.model_validate(values)
    assert ".".join(str(part) for part in caught.value.errors()[0]["loc"]) == field


def test_a_budget_needs_noise() -> None:
    with pytest.raises(ValidationError, match="needs noise, got 0"):
        make_task(mechanism=DeviceMechanism(clip=1.0, noise_multiplier=0.0))


@pytest.mark.parametrize("lengths", [(0, 2), (3, 1), (1, 17)])
def test_ngram_ranges_that_would_drop_features(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="the shorter one first"):
        FeatureSpec(word_ngrams=lengths)
