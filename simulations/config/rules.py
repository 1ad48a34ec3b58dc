"""Rules that a configuration writes as text: which labels mean abuse, how votes count, which rows are kept."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from operator import ge, gt, le, lt

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {">=": ge, "<=": le, ">": gt, "<": lt}
_COMPARED = re.compile(r"\s*(>=|<=|>|<)\s*(\S+)\s*")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_UNSEEN = "\ufeff\u200b\u2060"
"""Characters without width that spreadsheets and web pages leave at the ends of names."""
_VOTES = {"majority": ">0.5", "any": ">0"}


def word_of(cell: object) -> str:
    """Return a cell as the word that it is compared by.

    Two spellings of one value become one: white space around it is gone, accents are composed (NFC), a number without
    a fraction is written as an integer, and what is missing is the empty word.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float | Decimal) and math.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    text = str(cell).strip()
    if text.isascii() and not text.endswith("0"):  # nearly every cell
        return text
    text = unicodedata.normalize("NFC", text).strip(_UNSEEN).strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def number_of(cell: object) -> float | None:
    """Return a cell as a finite number; None for anything else."""
    if isinstance(cell, Real | Decimal | str):
        try:
            number = float(cell)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    return None


@dataclass(frozen=True)
class Comparison:
    """A threshold such as `>=0.5`."""

    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Comparison | None:
        """Read a sign and a number; None where the text is no comparison.

        Raises:
            ValueError: when a sign is followed by anything but a finite number.
        """
        match = _COMPARED.fullmatch(text)
        if match is None:
            return None
        bound = number_of(match[2])
        if bound is None:
            raise ValueError(f"expected a number behind {match[1]}, for example >=0.5")
        return cls(match[1], bound)

    def holds(self, number: float) -> bool:
        """Tell whether a number is on the right side of the bound."""
        return _COMPARISONS[self.sign](number, self.bound)


@dataclass(frozen=True)
class Positive:
    """The labels that mean abuse: some words, or all numbers beyond a threshold.

    Attributes:
        words: in small letters; empty where there is a threshold.
        threshold: the comparison; None where there are words.
    """

    words: frozenset[str]
    threshold: Comparison | None

    @classmethod
    def parse(cls, text: str) -> Positive:
        """Read `WORD,WORD...` or a comparison.

        Raises:
            ValueError: when the text is neither.
        """
        threshold = Comparison.parse(text)
        words = frozenset(word_of(word).casefold() for word in text.split(","))
        if threshold is None and "" in words:
            raise ValueError("expected words such as hate,offensive, or a threshold such as >=0.5")
        return cls(frozenset() if threshold else words, threshold)


def parse_votes(text: str) -> Comparison:
    """Read how several labels of one message become one: `majority`, `any`, or a comparison with their fraction.

    Raises:
        ValueError: when the text is something else.
    """
    votes = Comparison.parse(_VOTES.get(text.strip(), text))
    if votes is None:
        raise ValueError("expected majority, any, or a fraction such as >=0.3")
    return votes


@dataclass(frozen=True)
class Condition:
    """A rule by which rows are kept: a column has one of some values, or none of them.

    Attributes:
        column: its name.
        values: in small letters; the empty word stands for an empty cell.
        keeps: whether rows with one of the values are kept, or all others.
    """

    column: str
    values: frozenset[str]
    keeps: bool

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `COLUMN=VALUE,VALUE...` or `COLUMN!=VALUE,VALUE...`.

        Raises:
            ValueError: when the text has another form.
        """
        name, equals, listed = text.partition("=")
        column = name.removesuffix("!").strip()
        if not equals or not column:
            raise ValueError("expected COLUMN=VALUE,VALUE or COLUMN!=VALUE,VALUE, for example split=train")
        values = frozenset(word_of(value).casefold() for value in listed.split(","))
        return cls(column, values, keeps=not name.endswith("!"))

    def holds(self, cell: object) -> bool:
        """Tell whether a row with this cell is kept."""
        return (word_of(cell).casefold() in self.values) == self.keeps
