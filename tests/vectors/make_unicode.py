"""Makes the Unicode table of the features out of the Unicode Character Database (UAX #44), version 17.0.0.

    python -m tests.vectors.make_unicode FOLDER_OF_UCD

The folder holds UnicodeData.txt, CaseFolding.txt, PropList.txt, DerivedCoreProperties.txt, Scripts.txt and
CompositionExclusions.txt, as Unicode publishes them. The table's format is described in docs/features.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

VERSION = "17.0.0"
TABLE = Path(__file__).parents[2] / "privacy/features/unicode-17.0.txt"
SINGLE = frozenset(["Han", "Hiragana", "Katakana", "Yi", "Nushu", "Tangut", "Khitan_Small_Script"])
"""Scripts without spaces between words, in which one character writes a word or a syllable."""
PAIR = frozenset(["Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet"])
"""Scripts without spaces between words, in which it takes more."""
SYLLABLE = frozenset(["Hangul", "Ethiopic", "Cherokee", "Vai", "Bamum", "Canadian_Aboriginal"])
"""Scripts with spaces, in which one character writes a syllable."""
PROLONGED_SOUND = 0x30FC
"""The mark of a long vowel in kana, of no script of its own."""
IOTA_BELOW = 0x345
"""It folds to a letter, but only once marks are in order (The Unicode Standard, D147)."""
DOTTED_I = (0x69, 0x307, 0x69)
"""The one composition of our own: the dot that the folding of a Turkish capital leaves over the i."""
SPACE = 0x20
SYLLABLES = range(0xAC00, 0xD7A4)
"""Hangul that is composed by arithmetic (The Unicode Standard, 3.12)."""
LAST = 0x10FFFF
HEADER = f"""\
# Unicode {VERSION}: what havenfl's features need of it. Made by tests/vectors/make_unicode.py, read as docs/features.md
# says. Copyright (c) 1991-2025 Unicode, Inc., under the Unicode License V3: see UNICODE-LICENSE.
"""


@dataclass(frozen=True)
class Database:
    """What the table needs of the UCD."""

    category: dict[int, str]
    combining: dict[int, int]
    canonical: dict[int, tuple[int, ...]]
    compatible: dict[int, tuple[int, ...]]
    folding: dict[int, tuple[int, ...]]
    ignorable: frozenset[int]
    spaces: frozenset[int]
    compact: dict[str, frozenset[int]]
    excluded: frozenset[int]

    @classmethod
    def read(cls, folder: Path) -> Database:
        """Read the files of one version."""
        category, combining, canonical, compatible = {}, {}, {}, {}
        first = 0
        for fields in _fields(folder / "UnicodeData.txt"):
            code = int(fields[0], 16)
            if fields[1].endswith("First>"):
                first = code
            codes = range(first, code + 1) if fields[1].endswith("Last>") else [code]
            for one in codes:
                category[one] = fields[2]
                if int(fields[3]):
                    combining[one] = int(fields[3])
            mapping = fields[5].split()
            if mapping and mapping[0].startswith("<"):
                compatible[code] = tuple(int(part, 16) for part in mapping[1:])
            elif mapping:
                canonical[code] = tuple(int(part, 16) for part in mapping)
        folding = {
            int(fields[0], 16): tuple(int(part, 16) for part in fields[2].split())
            for fields in _fields(folder / "CaseFolding.txt")
            if fields[1] in "CF"
        }
        letters = {code for code, value in category.items() if value[0] in "LN"}
        compact = {
            "single": _property(folder / "Scripts.txt", SINGLE.__contains__) | {PROLONGED_SOUND},
            "pair": _property(folder / "Scripts.txt", PAIR.__contains__),
            "syllable": _property(folder / "Scripts.txt", SYLLABLE.__contains__),
        }
        return cls(
            category,
            combining,
            canonical,
            compatible,
            folding,
            frozenset(_property(folder / "DerivedCoreProperties.txt", "Default_Ignorable_Code_Point".__eq__)),
            frozenset(_property(folder / "PropList.txt", "White_Space".__eq__)),
            {name: frozenset(codes & letters) for name, codes in compact.items()},
            frozenset(int(fields[0], 16) for fields in _fields(folder / "CompositionExclusions.txt")),
        )

    def decompose(self, codes: Iterable[int], *, compatible: bool) -> Iterator[int]:
        """Yield the full decomposition, canonical or of both kinds, marks not yet in order."""
        for code in codes:
            mapping = self.canonical.get(code) or (self.compatible.get(code) if compatible else None)
            if mapping:
                yield from self.decompose(mapping, compatible=compatible)
            else:
                yield code

    def ordered(self, codes: Iterable[int]) -> tuple[int, ...]:
        """Put marks in canonical order."""
        result: list[int] = []
        run: list[int] = []
        for code in codes:
            if code not in self.combining:
                result += sorted(run, key=self.combining.__getitem__)
                result.append(code)
                run = []
            else:
                run.append(code)
        return tuple(result + sorted(run, key=self.combining.__getitem__))

    def folded(self, code: int) -> tuple[int, ...]:
        """Return NFKC_Casefold of a code point, decomposed, with a space for all white space and U+0345 as it is."""
        if code in self.spaces:
            return (SPACE,)
        before: tuple[int, ...] = ()
        codes: tuple[int, ...] = tuple(self.decompose([code], compatible=False))
        while codes != before:
            before = codes
            cased = (part for one in codes for part in (self.folding.get(one, (one,)) if one != IOTA_BELOW else (one,)))
            kept = [one for one in cased if one not in self.ignorable]
            codes = self.ordered(self.decompose(kept, compatible=True))
        return codes

    def compositions(self) -> Iterator[tuple[int, int, int]]:
        """Yield first, second and the primary composite of both, without Hangul syllables."""
        for code, mapping in sorted(self.canonical.items()):
            starters = len(mapping) == 2 and not (code in self.combining or mapping[0] in self.combining)
            if starters and code not in self.excluded and mapping[1] != IOTA_BELOW and self._reached(code):
                yield (*mapping, code)

    def _reached(self, code: int) -> bool:
        """Whether a normal form can hold this composite."""
        return self.folded(code) == self.ordered(self.decompose([code], compatible=False))


def _fields(path: Path) -> Iterator[list[str]]:
    for line in path.read_text("utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text:
            yield [field.strip() for field in text.split(";")]


def _property(path: Path, wanted: Callable[[str], bool]) -> set[int]:
    found: set[int] = set()
    for fields in _fields(path):
        if wanted(fields[1]):
            first, _, last = fields[0].partition("..")
            found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def _ranges(codes: Iterable[int]) -> Iterator[tuple[int, int]]:
    run: list[int] = []
    for code in sorted(codes):
        if run and code != run[-1] + 1:
            yield run[0], run[-1]
            run = []
        run.append(code)
    if run:
        yield run[0], run[-1]


def _moved(pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int, int]]:
    """Yield first, last, step and target of runs that all move by as much, 1 or 2 apart."""
    at = 0
    while at < len(pairs):
        first, target = pairs[at]
        best = (1, 1)
        for step in (1, 2):
            size = 1
            while at + size < len(pairs) and pairs[at + size] == (first + size * step, target + size * step):
                size += 1
            best = max(best, (size, step), key=lambda found: found[0])
        yield first, first + (best[0] - 1) * best[1], best[1], target
        at += best[0]


def table(database: Database) -> str:
    """Write the table."""
    folds = {code: database.folded(code) for code in range(LAST + 1) if code not in SYLLABLES}
    kinds = {
        "word": {code for code, value in database.category.items() if value[0] in "LN"} | {ord("_")},
        "mark": {code for code, value in database.category.items() if value[0] == "M"},
        **database.compact,
    }
    lines = [f"version {VERSION}"]
    for name, codes in kinds.items():
        fixed = [code for code in codes if folds.get(code) in (None, (code,)) or len(folds[code]) > 1]
        lines += [f"{name} {first:X} {last:X}" for first, last in _ranges(fixed)]
    lines += [f"remove {first:X} {last:X}" for first, last in _ranges(code for code, to in folds.items() if not to)]
    singles = [(code, to[0]) for code, to in folds.items() if len(to) == 1 and to != (code,)]
    lines += ["move " + " ".join(f"{number:X}" for number in run) for run in _moved(singles)]
    lines += [f"expand {code:X} {' '.join(f'{part:X}' for part in to)}" for code, to in folds.items() if len(to) > 1]
    for value in sorted(set(database.combining.values())):
        codes = [code for code, number in database.combining.items() if number == value and folds[code] == (code,)]
        lines += [f"class {first:X} {last:X} {value}" for first, last in _ranges(codes)]
    lines += [f"compose {first:X} {second:X} {code:X}" for first, second, code in (DOTTED_I, *database.compositions())]
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(Database.read(Path(sys.argv[1]))), "ascii")
