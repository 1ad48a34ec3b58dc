"""What is marked, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from simulations.evaluation.marks import marks_of, still_falling

GOOD = {
    "auroc": 0.9,
    "auroc_interval": (0.88, 0.92),
    "test_messages": 1_000,
    "test_positives": 200,
    "test_users_with_positives": 80,
}


def lines(losses: list[float | None]) -> list[dict[str, Any]]:
    return [{"loss": loss} for loss in losses]


@pytest.mark.parametrize(
    ("changed", "losses", "codes"),
    [
        ({}, [0.5, 0.4, 0.39, 0.39], []),
        ({"auroc": 0.55, "auroc_interval": (0.48, 0.62)}, [0.4, 0.4], ["no_better_than_chance"]),
        ({"auroc": 0.3, "auroc_interval": (0.2, 0.42)}, [0.4, 0.4], ["no_better_than_chance"]),
        ({"auroc": None, "auroc_interval": None}, [0.4, 0.4], ["no_auroc"]),
        ({"test_positives": 29}, [0.4, 0.4], ["few_positives"]),
        ({"test_users_with_positives": 9}, [0.4, 0.4], ["few_positives"]),
        ({}, [0.6, 0.5], ["undertrained"]),
        ({}, [0.4], []),
    ],
)
def test_marks(changed: dict[str, Any], losses: list[float | None], codes: list[str]) -> None:
    marks = marks_of({**GOOD, **changed}, lines(losses))
    assert [mark.code for mark in marks] == codes
    assert all(any(character.isdigit() for character in mark.text) or mark.code == "no_auroc" for mark in marks)


def test_the_last_fifth_is_held_against_the_fifth_before() -> None:
    assert still_falling(lines([9.0] * 6 + [1.0, 1.0, 0.5, 0.5])) == 0.5
    assert still_falling(lines([None, 0.4])) is None
