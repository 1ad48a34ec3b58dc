"""CSV and its kin: cells between separators, in quotation marks or not."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from simulations.data.errors import UnreadableFile, quoted
from simulations.data.formats.columns import Columns

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_LONGEST_CELL = 2**31 - 1
"""Characters of a cell; the module's own limit of 131,072 is less than some messages have."""


_DECLARED = re.compile(r"sep=(.)\r?\n")
"""The line by which Excel is told of a separator, before the header."""


@dataclass(frozen=True)
class Dialect:
    """How cells are written.

    Attributes:
        separator: one character between two cells.
        quoting: whether quotation marks around a cell are none of its content.
        names: of the columns, where the first line is no header; else None.
    """

    separator: str
    quoting: bool
    names: tuple[str, ...] | None


def read_delimited(path: str, text: str, dialect: Dialect, wanted: Collection[str]) -> Columns:
    """Read a table; lines without anything in them are left out.

    Args:
        path: the file's name, for messages.
        text: all its text.
        dialect: how its cells are written.
        wanted: the columns whose cells are returned where the file has them.

    Raises:
        UnreadableFile: when a line does not fit.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.quoting else csv.QUOTE_NONE
    declared = _DECLARED.match(text)
    if declared and dialect.names is None:
        dialect, text = replace(dialect, separator=declared[1]), text[declared.end() :]
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=dialect.separator, quoting=quoting, strict=True)
    with _long_cells():
        try:
            names = list(dialect.names or [name.strip() for name in next((line for line in reader if line), [])])
            refuse_ambiguous(path, names, wanted)
            places = {name: names.index(name) for name in wanted if name in names}
            cells: dict[str, list[object]] = {name: [] for name in places}
            length = 0
            for line in _full_lines(path, reader, names, dialect):
                length += 1
                for name, place in places.items():
                    cells[name].append(line[place])
        except csv.Error as error:
            raise UnreadableFile(f"{path}, line {reader.line_num}: {_malformed(error, dialect)}") from error
    form = f"cells between {named(dialect.separator)}s{'' if dialect.quoting else ', quotation marks left as they are'}"
    return Columns(tuple(names), cells, length, form, _hint(names, dialect))


def named(separator: str) -> str:
    """Return the name of a separator, as `--separator` takes it."""
    return _SEPARATORS.get(separator, repr(separator))


def refuse_ambiguous(path: str, names: Sequence[str], wanted: Collection[str]) -> None:
    """Refuse a wanted name that two columns have.

    Raises:
        UnreadableFile: when there is one.
    """
    for name in wanted:
        if names.count(name) > 1:
            raise UnreadableFile(f"{path} has {names.count(name)} columns named {quoted(name)}; rename all but one")


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _full_lines(path: str, reader: Iterator[list[str]], names: Sequence[str], dialect: Dialect) -> Iterator[list[str]]:
    """Yield the rows.

    Raises:
        UnreadableFile: when a row has more or fewer cells than there are columns.
    """
    header = "--columns" if dialect.names else "the header"
    for number, line in enumerate((line for line in reader if line), 1):
        if len(line) != len(names):
            unquoted = f"look for an unquoted {named(dialect.separator)}"
            other = ", or add --no-quoting if quotation marks mean nothing in it" if dialect.quoting else ""
            raise UnreadableFile(
                f"{path}, row {number}: malformed, expected {len(names)} fields as in {header}, "
                f"got {len(line)}; {_other_separator(names) or unquoted}{other} (the row begins {quoted(line[0], 30)})"
            )
        yield line


def _malformed(error: csv.Error, dialect: Dialect) -> str:
    if not dialect.quoting:
        return f"malformed ({error})"
    return (
        f"malformed CSV ({error}); look for an unclosed quote before it, or add --no-quoting if quotation marks mean "
        "nothing in this file"
    )


def _hint(names: Sequence[str], dialect: Dialect) -> str:
    """Say what may be wrong where a wanted column is not there."""
    if dialect.names:
        return ""
    return _other_separator(names) or "if its first line is no header, name the columns with --columns"


def _other_separator(names: Sequence[str]) -> str:
    """Say which separator would split a first line that is not split by its own; empty if it is, or none would."""
    if len(names) != 1:
        return ""
    first = names[0]
    other = max(_SEPARATORS, key=first.count)
    return f"its cells look separated by a {named(other)}: add --separator {named(other)}" if other in first else ""
