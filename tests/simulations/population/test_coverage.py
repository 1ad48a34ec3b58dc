"""Scripts and tokens, measured on a few sentences."""

from __future__ import annotations

import re

import pytest

from simulations.population import coverage
from simulations.population.coverage import coverage_of


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("you are a fool", 0.0, 0.0),
        ("너는 바보야", 0.0, 0.0),
        ("ты дурак", 0.0, 0.0),
        ("你是个傻瓜", 1.0, 1.0),
        ("お前はばかだ", 1.0, 1.0),
        ("คุณโง่", 1.0, 1.0),
        ("lol 你是个傻瓜", 0.6, 0.7),
        ("12 !?", 0.0, 0.0),
    ],
)
def test_scripts_without_spaces(text: str, least: float, most: float) -> None:
    assert least <= coverage_of([text, ""]).without_spaces <= most


def test_marks_torn_off_their_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coverage_of(["you are a fool"]).torn == 0.0
    monkeypatch.setattr(coverage, "tokens", lambda text: re.findall(r"\w+|[^\w\s]+", text))
    assert coverage_of(["हिन्दी में"]).torn > 0.3
    monkeypatch.setattr(coverage, "tokens", str.split)
    assert coverage_of(["हिन्दी में"]).torn == 0.0


def test_nothing_is_missing_in_no_text() -> None:
    assert coverage_of([]) == coverage.Coverage(0.0, 0.0)
