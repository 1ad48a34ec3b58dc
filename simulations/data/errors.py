"""The error of data that cannot be used, and how its messages quote what they found."""

from __future__ import annotations

from collections.abc import Iterable

from privacy.base.errors import clipped

_LISTED = 20


class DataError(ValueError):
    """Data that cannot be used; the message names the flag, what was expected, what came and what to do."""


class UnreadableFile(ValueError):
    """A file that cannot be read as what it seems to be; whoever knows the flag that named it puts it before this."""


def quoted(cell: object, longest: int = 40) -> str:
    """Return a cell as a message shows it, with control characters escaped."""
    return clipped(repr(cell), longest)


def counted(number: int, thing: str) -> str:
    """Return a number with what it counts, whose plural ends in s."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def listed(names: Iterable[str]) -> str:
    """Return names for a message: the first few, and how many more there are."""
    found = [clipped(name.encode("unicode_escape").decode() if not name.isprintable() else name, 40) for name in names]
    more = [f"and {len(found) - _LISTED} more"] if len(found) > _LISTED else []
    return ", ".join([*found[:_LISTED], *more]) or "none"
