"""Whether features can see the words of texts: measured on the texts themselves, without their labels."""

from __future__ import annotations

from collections.abc import Sequence

from privacy.features.normalising import normalise
from privacy.features.tokenising import compact_places

_LOOKED_AT = 2_000


def compact_letters(texts: Sequence[str]) -> float:
    """Return the fraction of letters of scripts without spaces, or of syllables, in the first 2,000 texts.

    A few of their characters make a word, so that n-grams of three and more do not see it.
    """
    normalised = [normalise(text) for text in texts[:_LOOKED_AT]]
    letters = sum(character.isalpha() for text in normalised for character in text)
    return min(1.0, sum(len(compact_places(text)) for text in normalised) / letters) if letters else 0.0
