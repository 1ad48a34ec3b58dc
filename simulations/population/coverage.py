"""Whether the features can see the words of texts: measured on the texts themselves, without their labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fl_client.training.features import normalise, tokens

_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""How the Unicode names begin of letters whose scripts put no space between words."""
_LOOKED_AT = 2_000


@dataclass(frozen=True)
class Coverage:
    """How a script and the features fit each other.

    Attributes:
        without_spaces: the fraction of letters whose script puts no space between words: a "word" there is a sentence.
        torn: the fraction of tokens that begin with a combining mark, torn off the letter before it.
    """

    without_spaces: float
    torn: float


def coverage_of(texts: Sequence[str]) -> Coverage:
    """Measure the first 2,000 of some texts; nothing is missing in no text."""
    normalised = [normalise(text) for text in texts[:_LOOKED_AT]]
    spaceless = [_without_spaces(character) for text in normalised for character in text if character.isalpha()]
    torn = [unicodedata.category(token[0]).startswith("M") for text in normalised for token in tokens(text)]
    return Coverage(_fraction(spaceless), _fraction(torn))


@lru_cache(maxsize=4096)
def _without_spaces(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(_WITHOUT_SPACES)


def _fraction(outcomes: list[bool]) -> float:
    return sum(outcomes) / len(outcomes) if outcomes else 0.0
