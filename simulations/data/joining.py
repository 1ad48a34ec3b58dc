"""Labels in files of their own, brought to their messages by a column that both have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from simulations.config.rules import word_of
from simulations.data.errors import DataError, listed, quoted
from simulations.data.frame import Frame


@dataclass(frozen=True)
class Join:
    """The column by which messages find their labels: its name here and there."""

    of_texts: str
    of_labels: str

    @classmethod
    def parse(cls, text: str) -> Join:
        """Read `COLUMN`, or `COLUMN=COLUMN`, the texts' first."""
        here, _, there = text.partition("=")
        return cls(here.strip(), (there or here).strip())


def joined(texts: Frame, labels: Frame, join: Join, label_columns: Collection[str], *, votes: bool) -> Frame:
    """Return the texts that have labels, with the wanted columns of both files.

    A column that both have is the texts' own, but for those of labels.

    Args:
        texts: the messages.
        labels: their labels, and what else is wanted of them.
        join: what both have in common.
        label_columns: the columns of labels.
        votes: whether a message may have several rows of labels: its cells are then lists.

    Raises:
        DataError: when no text has a label, or one has several without `votes`.
    """
    rows: dict[str, list[int]] = {}
    for place, cell in enumerate(labels.column("--join", join.of_labels)):
        rows.setdefault(word_of(cell), []).append(place)
    keys = [word_of(cell) for cell in texts.column("--join", join.of_texts)]
    matched = [place for place, key in enumerate(keys) if key and key in rows]
    if not matched:
        raise DataError(
            f"--join: no value of {quoted(join.of_texts)} in the texts occurs in {quoted(join.of_labels)} of the "
            f"labels; expected the same, got {listed(map(quoted, keys[:3]))} there and "
            f"{listed(map(quoted, list(rows)[:3]))} here"
        )
    several = next((place for place in matched if len(rows[keys[place]]) > 1), None)
    if several is not None and not votes:
        raise DataError(
            f"--join: {len(rows[keys[several]])} rows of labels for {join.of_texts} {quoted(keys[several])}; if each "
            "is an annotator's, add --votes majority"
        )
    own = texts.take(matched)
    groups = [rows[keys[place]] for place in matched]
    brought = {
        name: _cells(column, groups, many=votes and name in label_columns)
        for name, column in labels.cells.items()
        if name in label_columns or name not in own.cells
    }
    names = tuple(dict.fromkeys((*own.names, *labels.names)))
    return replace(own, names=names, cells={**own.cells, **brought}, hint=own.hint or labels.hint)


def _cells(column: Sequence[object], groups: Sequence[Sequence[int]], *, many: bool) -> list[object]:
    return [[column[place] for place in group] if many else column[group[0]] for group in groups]


def grouped(frame: Frame, message_column: str, text_column: str, label_columns: Collection[str]) -> Frame:
    """Return each message once, where each annotator has a row; cells of labels are lists.

    Raises:
        DataError: when rows of one message have different texts.
    """
    rows: dict[str, list[int]] = {}
    for place, cell in enumerate(frame.column("--message-column", message_column)):
        rows.setdefault(word_of(cell), []).append(place)
    texts = frame.column("--text-column", text_column)
    for key, group in rows.items():
        other = next((place for place in group if texts[place] != texts[group[0]]), None)
        if other is not None:
            raise DataError(
                f"--message-column: expected one text for each value of {quoted(message_column)}, got two for "
                f"{quoted(key)}, in {frame.at(group[0])} and {frame.at(other)}; name another column"
            )
    first = frame.take([group[0] for group in rows.values()])
    votes = {name: _cells(frame.cells[name], list(rows.values()), many=True) for name in label_columns}
    return replace(first, cells={**first.cells, **votes})
