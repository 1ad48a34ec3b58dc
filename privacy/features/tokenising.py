"""Normalised texts cut into tokens, and tokens into words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from privacy.features.unicode import compiled, is_astral, table

_ASCII_TOKEN = re.compile("[0-9a-z_]+|[^0-9a-z_ ]+")


def tokens(normalised: str) -> list[str]:
    """Cut a normalised text into runs of letters, numbers and `_`, and runs of others that are no space.

    Combining marks belong to what they follow; a run that begins with one is of letters.
    """
    expression = _ASCII_TOKEN if normalised.isascii() else _token(is_astral(normalised))
    return expression.findall(normalised)


def words(normalised: str) -> list[str]:
    """Cut a normalised text into words.

    They are its tokens, but for scripts without spaces: there each character with its marks is a word where a
    character writes a word or a syllable (Chinese, Japanese), and each pair of neighbours elsewhere (Thai, Lao, Khmer,
    Burmese).
    """
    found = tokens(normalised)
    if normalised.isascii():
        return found
    unspaced, piece, cluster = _unspaced(is_astral(normalised))
    if not unspaced.search(normalised):
        return found
    return [word for token in found for word in _cut(token, piece, cluster)]


def _cut(token: str, piece: re.Pattern[str], cluster: re.Pattern[str]) -> Iterator[str]:
    for single, pairs, other in piece.findall(token):
        if not pairs:
            yield single or other
            continue
        characters = cluster.findall(pairs)
        yield from map("".join, pairwise(characters)) if len(characters) > 1 else characters


def compact_places(text: str) -> list[int]:
    """Return where in a text a character is of a compact script: without spaces, or of syllables."""
    return [found.start() for found in _compact(is_astral(text)).finditer(text)]


@cache
def _compact(astral: bool) -> re.Pattern[str]:
    return compiled(f"[{table().set_of('single', 'pair', 'syllable', astral=astral)}]")


@cache
def _token(astral: bool) -> re.Pattern[str]:
    word = table().set_of("word", astral=astral)
    return compiled(f"[{table().set_of('word', 'mark', astral=astral)}]+|[^{word} ]+")


@cache
def _unspaced(astral: bool) -> tuple[re.Pattern[str], ...]:
    """Return expressions of a character without spaces; of a piece of a token, by its kind; of one and its marks."""
    single, pair, mark = (table().set_of(kind, astral=astral) for kind in ("single", "pair", "mark"))
    piece = f"([{single}][{mark}]*)|((?:[{pair}][{mark}]*)+)|([^{single}{pair}]+)"
    return compiled(f"[{single}{pair}]"), compiled(piece), compiled(f".[{mark}]*")
