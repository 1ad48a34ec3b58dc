"""Cells of users to names: two spellings of one name are one device, and nobody is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from simulations.config.rules import word_of
from simulations.data.errors import DataError, counted, listed, quoted
from simulations.data.frame import Frame

_ERRORS = frozenset(
    (
        "#n/a",
        "#ref!",
        "#value!",
        "#name?",
        "#div/0!",
        "#null!",
        "#num!",
        "#spill!",
        "#calc!",
        "#field!",
        "#getting_data",
    )
)
_NOBODY = frozenset(
    ("nan", "null", "none", "n/a", "na", "nil", "-", "?", "unknown", "anonymous", "deleted", "[deleted]", "undefined")
)
_LARGE, _FEW = 0.2, 100


def is_spreadsheet_error(cell: object) -> bool:
    """Tell whether a cell is what a spreadsheet writes for a formula that failed."""
    return isinstance(cell, str) and "#" in cell[:8] and cell.strip().lower() in _ERRORS


def read_users(frame: Frame, name: str) -> tuple[list[str], list[str]]:
    """Return each row's user, and what a reader should know of them.

    White space around a name, characters without width, the form of accents and a fraction of zero in a number make no
    other user; small and large letters do.

    Raises:
        DataError: when a row has no user: such rows may be one person's, and the privacy guarantee is per person.
    """
    cells = frame.column("--user-column", name)
    wrong = [place for place, cell in enumerate(cells) if _is_nobody(cell)]
    if wrong:
        cell, rows = cells[wrong[0]], counted(len(wrong), "such row")
        raise DataError(
            f"--user-column: expected a user in every row, got {quoted(cell)} in {frame.at(wrong[0])} "
            f"({rows}); give each a user, or leave them out: {_left_out(name, cells, wrong)}"
        )
    users = [word_of(cell) for cell in cells]
    return users, _notes(name, cells, users)


def _is_nobody(cell: object) -> bool:
    return not isinstance(cell, str | int | float) or not word_of(cell) or is_spreadsheet_error(cell)


def _left_out(name: str, cells: Sequence[object], wrong: Sequence[int]) -> str:
    words = dict.fromkeys(word_of(cells[place]) for place in wrong)
    return f"--where '{name}!={','.join(list(words)[:5])}'"


def _notes(name: str, cells: Sequence[object], users: Sequence[str]) -> list[str]:
    counts = Counter(users)
    notes = []
    spellings: dict[str, set[str]] = {}
    for cell, user in zip(cells, users, strict=True):
        spellings.setdefault(user, set()).add(str(cell))
    several = [user for user, written in spellings.items() if len(written) > 1]
    if several:
        written = listed(map(quoted, sorted(spellings[several[0]])))
        notes.append(f"{counted(len(several), 'user')} written in several ways, such as {written}: each is one device")
    folded = Counter(user.casefold() for user in counts)
    alike = [user for user in counts if folded[user.casefold()] > 1]
    if alike:
        notes.append(f"{len(alike):,} users differ in nothing but small and large letters, such as {quoted(alike[0])}")
    nobody = [user for user in counts if user.casefold() in _NOBODY and counts[user] > 1]
    large = [user for user in counts if len(users) >= _FEW and counts[user] > _LARGE * len(users) and len(counts) > 5]
    return notes + [
        f"user {quoted(user)} wrote {counted(counts[user], 'message')}; if that stands for nobody in particular, these "
        f"are several people's and not one device's: --where '{name}!={user}'"
        for user in dict.fromkeys([*nobody, *large])
    ]
