"""Scripts, measured on a few sentences."""

from __future__ import annotations

import pytest

from simulations.population.coverage import compact_letters


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("you are a fool", 0.0, 0.0),
        ("ты дурак", 0.0, 0.0),
        ("你是个傻瓜", 1.0, 1.0),
        ("お前はばかだ", 1.0, 1.0),
        ("คุณโง่", 0.6, 1.0),
        ("lol 你是个傻瓜", 0.6, 0.7),
        ("12 !?", 0.0, 0.0),
    ],
)
def test_scripts_without_spaces(text: str, least: float, most: float) -> None:
    assert least <= compact_letters([text, ""]) <= most


def test_nothing_is_missing_in_no_text() -> None:
    assert compact_letters([]) == 0.0
