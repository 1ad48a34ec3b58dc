"""The table of Unicode that normal form and tokens are made with.

It ships as data (`unicode-17.0.txt`, format in docs/features.md), because what runtimes carry differs: Python 3.11 to
3.13 have Unicode 14.0 to 15.1, Java 17 has 13.0, Node 20 has 17.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final

UNICODE_VERSION: Final = "17.0.0"

_TABLE = "unicode-17.0.txt"
_KINDS = ("word", "mark", "single", "pair", "syllable")
_FIRST_SYLLABLE, _LAST_SYLLABLE = 0xAC00, 0xD7A3
_LEADS, _VOWELS, _TAILS = 0x1100, 0x1161, 0x11A7
_VOWEL_COUNT, _TAIL_COUNT = 21, 28
_LAST_OF_BMP = 0xFFFF
_NEAR = 0x400
"""Ranges no further apart than this are taken together where only a rough answer is wanted."""
_IOTA_BELOW, _IOTA = "\u0345", "\u03b9"


@dataclass(eq=False)
class Table:
    """What is needed of one Unicode version, by character.

    Attributes:
        decomposed: character to what it is folded and decomposed to, where that is not itself.
        classes: canonical combining class, where it is not 0.
        compositions: two characters to the one that they are composed to.
        ranges: first and last code points by kind of character.
        folded: character to its folded, composed form, where that is not itself.
    """

    decomposed: dict[str, str] = field(default_factory=dict, repr=False)
    classes: dict[str, int] = field(default_factory=dict, repr=False)
    compositions: dict[str, str] = field(default_factory=dict, repr=False)
    ranges: dict[str, list[tuple[int, int]]] = field(default_factory=dict, repr=False)
    folded: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> Table:
        """Read a table.

        Raises:
            ValueError: when it is of another version, or has a line of an unknown kind.
        """
        table = cls(ranges={kind: [] for kind in _KINDS})
        for line in text.splitlines():
            if not line.startswith("#"):
                table._read(*line.split())
        for character, whole in table.decomposed.items():
            composed = table.compose(whole)
            if composed != character:
                table.folded[character] = composed
        return table

    def _read(self, kind: str, *fields: str) -> None:
        if kind == "version":
            if fields != (UNICODE_VERSION,):
                raise ValueError(f"unicode: expected a table of {UNICODE_VERSION}, got {' '.join(fields)}")
            return
        if kind == "class":
            self.classes.update(dict.fromkeys(_characters(*fields[:2]), int(fields[2])))
            return
        codes = [int(part, 16) for part in fields]
        if kind in self.ranges:
            self.ranges[kind].append((codes[0], codes[1]))
        elif kind == "remove":
            self.decomposed.update(dict.fromkeys(_characters(*fields), ""))
        elif kind == "move":
            first, last, step, target = codes
            self.decomposed.update((chr(code), chr(code - first + target)) for code in range(first, last + 1, step))
        elif kind == "expand":
            self.decomposed[chr(codes[0])] = "".join(map(chr, codes[1:]))
        elif kind == "compose":
            self.compositions[chr(codes[0]) + chr(codes[1])] = chr(codes[2])
        else:
            raise ValueError(f"unicode: expected a line of a known kind, got {kind!r}")

    def decompose(self, text: str) -> str:
        """Fold and decompose a text, marks in canonical order, and U+0345, last of them, turned into its letter."""
        pieces: list[str] = []
        marks: list[str] = []
        for character in "".join(map(self._decomposed, text)):
            if character in self.classes:
                marks.append(character)
                continue
            pieces += sorted(marks, key=self.classes.__getitem__)
            pieces.append(character)
            marks = []
        return "".join(pieces + sorted(marks, key=self.classes.__getitem__)).replace(_IOTA_BELOW, _IOTA)

    def _decomposed(self, character: str) -> str:
        code = ord(character)
        if not _FIRST_SYLLABLE <= code <= _LAST_SYLLABLE:
            return self.decomposed.get(character, character)
        rest, tail = divmod(code - _FIRST_SYLLABLE, _TAIL_COUNT)
        lead, vowel = divmod(rest, _VOWEL_COUNT)
        return chr(_LEADS + lead) + chr(_VOWELS + vowel) + (chr(_TAILS + tail) if tail else "")

    def compose(self, text: str) -> str:
        """Compose a decomposed text (The Unicode Standard, D117)."""
        pieces: list[str] = []
        starter, before = -1, 0
        for character in text:
            own = self.classes.get(character, 0)
            if starter >= 0 and (before < own or (before == 0 and starter == len(pieces) - 1)):
                composed = self._composed(pieces[starter], character)
                if composed:
                    pieces[starter] = composed
                    continue
            if own == 0:
                starter = len(pieces)
            before = own
            pieces.append(character)
        return "".join(pieces)

    def _composed(self, first: str, second: str) -> str | None:
        lead, vowel, tail = ord(first) - _LEADS, ord(second) - _VOWELS, ord(second) - _TAILS
        if 0 <= lead < _VOWELS - _LEADS and 0 <= vowel < _VOWEL_COUNT:
            return self._syllable(lead, vowel)
        syllable = ord(first) - _FIRST_SYLLABLE
        whole = 0 <= syllable <= _LAST_SYLLABLE - _FIRST_SYLLABLE and syllable % _TAIL_COUNT == 0
        if whole and 0 < tail < _TAIL_COUNT:
            return chr(ord(first) + tail)
        return self.compositions.get(first + second)

    @staticmethod
    def _syllable(lead: int, vowel: int) -> str | None:
        code = _FIRST_SYLLABLE + (lead * _VOWEL_COUNT + vowel) * _TAIL_COUNT
        return chr(code) if code <= _LAST_SYLLABLE else None

    def set_of(self, *kinds: str, astral: bool) -> str:
        """Return what a regular expression's brackets hold for characters of these kinds.

        Args:
            kinds: names of `ranges`.
            astral: whether it is for texts with code points beyond U+FFFF that the table says something of. Without
                them brackets are looked up at once, not range by range.
        """
        codes = (code for kind in kinds for first, last in self.ranges[kind] for code in range(first, last + 1))
        return _brackets(codes, astral=astral)

    def folding(self, *, astral: bool) -> re.Pattern[str]:
        """Return an expression of one character that is folded."""
        return compiled(f"[{_brackets(map(ord, self.folded), astral=astral)}]")

    def unsettled(self, *, astral: bool) -> re.Pattern[str]:
        """Return an expression of a place in a folded text that may not be in normal form yet.

        It is a character and the marks behind it, where one of them may be composed, or two may change places.
        """
        jamo = {*range(_VOWELS, _VOWELS + _VOWEL_COUNT), *range(_TAILS + 1, _TAILS + _TAIL_COUNT)}
        composed = jamo | {ord(pair[1]) for pair in self.compositions} | {ord(_IOTA_BELOW)}
        marks = set(map(ord, self.classes))
        sets = (composed | marks, composed, marks)
        behind, seconds, moving = (_brackets(codes, astral=astral) for codes in sets)
        return compiled(f"[^{behind}]?(?=[{behind}]*?(?:[{seconds}]|[{moving}]{{2}}))[{behind}]+")

    def astral(self) -> re.Pattern[str]:
        """Return an expression of what may be a code point beyond U+FFFF that the table says something of."""
        alone = map(ord, "".join((*self.decomposed, *self.folded.values(), *self.classes)))
        known = sorted([(code, code) for code in alone] + [span for ranges in self.ranges.values() for span in ranges])
        spans: list[tuple[int, int]] = []
        for first, last in known:
            if spans and first - spans[-1][1] < _NEAR:
                spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
            elif last > _LAST_OF_BMP:
                spans.append((first, last))
        return compiled("[" + "".join(_span(first, last) for first, last in spans) + "]")


def _brackets(codes: Iterable[int], *, astral: bool) -> str:
    spans: list[list[int]] = []
    for code in sorted(set(codes)):
        if spans and code == spans[-1][1] + 1:
            spans[-1][1] = code
        elif astral or code <= _LAST_OF_BMP:
            spans.append([code, code])
    return "".join(_span(first, last) for first, last in spans)


def _span(first: int, last: int) -> str:
    return f"\\U{first:08x}-\\U{last:08x}"


def _characters(first: str, last: str) -> Iterable[str]:
    return map(chr, range(int(first, 16), int(last, 16) + 1))


@cache
def table() -> Table:
    """Read the table that ships with this package, once."""
    return Table.parse(files(__package__).joinpath(_TABLE).read_text("ascii"))


def compiled(expression: str) -> re.Pattern[str]:
    """Compile an expression whose brackets alone say what characters are, never the runtime's own Unicode."""
    return re.compile(expression, re.DOTALL)


@cache
def _astral() -> re.Pattern[str]:
    return table().astral()


def is_astral(text: str) -> bool:
    """Whether a text may have code points beyond U+FFFF that the table says something of; emoji are not."""
    return _astral().search(text) is not None
