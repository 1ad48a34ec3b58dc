"""Normal form and tokens once more, by the Unicode tables of the Python that runs: for what is assigned in them."""

from __future__ import annotations

import re
import unicodedata

IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point, as the standard lists it."""
SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
"""White_Space."""
IOTA_BELOW = "\u0345"


def assigned(text: str) -> bool:
    """Whether this Python's Unicode knows every character of a text."""
    return all(unicodedata.category(character) not in ("Cn", "Cs") for character in text)


def normal_form(text: str) -> str:
    """Fold and decompose, put marks in order, turn U+0345 into its letter, take dots from an i, compose."""
    form, before = SPACE.sub(" ", text), ""
    while form != before:
        before = form
        shown = IGNORABLE.sub("", unicodedata.normalize("NFKD", form))
        form = "".join(character if character == IOTA_BELOW else character.casefold() for character in shown)
    ordered = unicodedata.normalize("NFKD", form).replace(IOTA_BELOW, "\u03b9")
    return SPACE.sub(" ", unicodedata.normalize("NFC", _undotted(ordered))).strip(" ")


def _undotted(decomposed: str) -> str:
    """Take the dots from every i that they would be composed with."""
    pieces: list[str] = []
    base, free = "", True
    for character in decomposed:
        combining = unicodedata.combining(character)
        if combining == 0:
            base, free = character, True
        if base == "i" and free and character == "\u0307":
            continue
        free = free and combining != 230
        pieces.append(character)
    return "".join(pieces)


def kind(character: str) -> str:
    """Name the kind of a character of a normal form."""
    category = unicodedata.category(character)[0]
    if character == " ":
        return "space"
    return "mark" if category == "M" else "word" if character == "_" or category in "LN" else "other"


def plain_tokens(text: str) -> list[str]:
    """Cut a normal form into tokens."""
    tokens: list[str] = []
    before = "space"
    for character in text:
        own = kind(character)
        if own == "mark":
            own = "word" if before == "space" else before
        if own != "space" and own == before:
            tokens[-1] += character
        elif own != "space":
            tokens.append(character)
        before = own
    return tokens
