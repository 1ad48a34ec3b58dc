"""Normalised texts cut into tokens, and tokens into words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from privacy.features.unicode import compiled, table

_ASCII_TOKEN = re.compile("[0-9a-z_]+|[^0-9a-z_ ]+")


def tokens(normalised: str) -> list[str]:
    """Cut a normalised text into runs of letters, numbers and `_`, and runs of others that are no space.

    Combining marks belong to what they follow; a run that begins with one is of letters.
    """
    expression = _ASCII_TOKEN if normalised.isascii() else _expressions()[0]
    return expression.findall(normalised)


def words(normalised: str) -> list[str]:
    """Cut a normalised text into words.

    They are its tokens, but for scripts without spaces: there each character with its marks is a word where a
    character writes a word or a syllable (Chinese, Japanese), and each pair of neighbours elsewhere (Thai, Lao, Khmer,
    Burmese).
    """
    found = tokens(normalised)
    if normalised.isascii() or not _expressions()[1].search(normalised):
        return found
    return [word for token in found for word in _cut(token)]


def _cut(token: str) -> Iterator[str]:
    _, _, pieces, clusters = _expressions()
    for piece in pieces.finditer(token):
        if piece.lastgroup != "pairs":
            yield piece[0]
            continue
        characters = clusters.findall(piece[0])
        yield from map("".join, zip(characters, characters[1:])) if len(characters) > 1 else characters


@cache
def _expressions() -> tuple[re.Pattern[str], ...]:
    """Return expressions of a token, of a character without spaces, of pieces of a token, and of clusters."""
    unicode = table()
    word, mark, unspaced = unicode.set_of("word"), unicode.set_of("mark"), unicode.set_of("unspaced")
    single = f"(?=[{unicode.set_of('dense')}])[{unspaced}][{mark}]*"
    pairs = f"(?:(?![{unicode.set_of('dense')}])[{unspaced}][{mark}]*)+"
    return (
        compiled(f"[{word}{mark}]+|[^{word}{mark} ][^{word} ]*"),
        compiled(f"[{unspaced}]"),
        compiled(f"(?P<single>{single})|(?P<pairs>{pairs})|[^{unspaced}]+"),
        compiled(f"[{unspaced}][{mark}]*"),
    )


@cache
def compact() -> re.Pattern[str]:
    """Return an expression of a character of a compact script: dense, or without spaces."""
    return compiled(f"[{table().set_of('dense', 'unspaced')}]")
