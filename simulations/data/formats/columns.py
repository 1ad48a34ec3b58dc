"""What every format is read into: the wanted columns of a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MISSING = object()
"""What `dig` returns where there is nothing."""

_DEEPEST = 5


@dataclass(frozen=True)
class Columns:
    """The columns of a file.

    Attributes:
        names: all of them in the file's order; of nested values, dotted.
        cells: those of the wanted columns that the file has, n each.
        length: n, the number of rows.
        form: how the file was read, for people.
        hint: what may be wrong if a wanted column is not there.
    """

    names: tuple[str, ...]
    cells: Mapping[str, Sequence[object]] = field(repr=False)
    length: int
    form: str
    hint: str = ""


def dig(value: object, name: str) -> object:
    """Return what a nested value has under a dotted name; of a list, what each of its parts has.

    A key with a dot in it goes before a path.
    """
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        head, dot, rest = name.partition(".")
        return dig(value[head], rest) if dot and head in value else MISSING
    if isinstance(value, list):
        found = [part for part in (dig(part, name) for part in value) if part is not MISSING]
        return found or MISSING
    return MISSING


def nested_names(value: object, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the dotted names of all that is no object itself."""
    if isinstance(value, Mapping) and depth < _DEEPEST:
        for key, part in value.items():
            inner = list(nested_names(part, f"{prefix}{key}.", depth + 1))
            yield from inner or [f"{prefix}{key}"]
    elif isinstance(value, list):
        yield from dict.fromkeys(name for part in value for name in nested_names(part, prefix, depth + 1))


_SAMPLED = 200
"""Of how many records the nested names are listed; a wanted one is found in any."""


def columns_of(records: Iterable[Mapping[str, object]], wanted: Collection[str], form: str) -> Columns:
    """Return the wanted columns of records that may be nested; None stands where a record has no such key."""
    names: dict[str, None] = {}
    cells: dict[str, list[object]] = {name: [] for name in wanted}
    found: set[str] = set()
    length = 0
    for length, record in enumerate(records, 1):
        if length <= _SAMPLED:
            names.update(dict.fromkeys(nested_names(record)))
        for name, column in cells.items():
            cell = dig(record, name)
            if cell is MISSING:
                column.append(None)
            else:
                column.append(cell)
                found.add(name)
    return Columns(tuple(names), {name: cells[name] for name in cells if name in found}, length, form)
