"""Cells of labels to 0 and 1: words, thresholds, votes of several annotators, several columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulations.config.rules import Comparison, Positive, number_of, parse_votes, word_of
from simulations.data.errors import DataError, counted, listed, quoted
from simulations.data.frame import Frame

ABSENT = -1
"""The label of a message that has none."""

_KNOWN = {"0": 0, "false": 0, "1": 1, "true": 1}
_SHOWN = 5
_ONE_IS_ENOUGH = Comparison(">", 0.0)


@dataclass(frozen=True)
class Labelling:
    """How a table's labels are read.

    Attributes:
        columns: the columns that hold them.
        positive: what means abuse; None for the number 1.
        votes: from which fraction of its labels on a message is abuse; None where each has one.
    """

    columns: tuple[str, ...]
    positive: Positive | None
    votes: Comparison | None

    @classmethod
    def of(cls, columns: tuple[str, ...], positive: str | None, votes: str | None) -> Labelling:
        """Return the labelling that a configuration describes."""
        return cls(columns, Positive.parse(positive) if positive else None, parse_votes(votes) if votes else None)


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels, and what they were read from.

    Attributes:
        values: int8[n] of 0 and 1, or `ABSENT`.
        words: how often each written label occurs, and what it was read as; empty for numbers by a threshold.
    """

    values: NDArray[np.int8] = field(repr=False)
    words: tuple[tuple[str, int, int], ...]


def label_columns(frame: Frame, name: str) -> tuple[str, ...]:
    """Return the columns that a `--label-column` stands for: itself, or those between its commas."""
    return (name,) if name in frame.names else tuple(part.strip() for part in name.split(","))


def read_labels(frame: Frame, labelling: Labelling, *, required: bool, trained_on: bool = True) -> Labels:
    """Read a label for each row.

    Args:
        frame: the rows.
        labelling: how.
        required: whether each row needs one, and both classes must occur.
        trained_on: whether they are also required to have every word that means abuse.

    Raises:
        DataError: when a label cannot be read, or one that is required is missing.
    """
    cells = [frame.column("--label-column", name) for name in labelling.columns]
    reader = _Reader(labelling)
    values = np.array([reader.label([column[place] for column in cells]) for place in range(len(frame))], np.int8)
    name = ",".join(labelling.columns)
    if reader.unread:
        raise DataError(reader.refusal(frame, cells, name))
    if required:
        if trained_on:
            _require_known(labelling, reader.words(), name)
        _check(frame, values, name, reader)
    return Labels(values, reader.words())


class _Reader:
    """A reader of labels that keeps count of what it meets."""

    def __init__(self, labelling: Labelling) -> None:
        self._labelling = labelling
        self._seen: Counter[tuple[str, int]] = Counter()
        self.unread: Counter[str] = Counter()
        self.lists = 0

    def label(self, cells: Sequence[object]) -> int:
        """Return the label that the cells of a row come to."""
        votes = self._labelling.votes
        if votes is None and any(isinstance(cell, list) and len(cell) != 1 for cell in cells):
            self.lists += 1
            self.unread[quoted(next(cell for cell in cells if isinstance(cell, list)))] += 1
            return ABSENT
        given = [vote for vote in map(self._vote, _flat(cells)) if vote != ABSENT]
        if not given:
            return ABSENT
        return int((votes or _ONE_IS_ENOUGH).holds(sum(given) / len(given)))

    def _vote(self, cell: object) -> int:
        word = word_of(cell)
        if not word:
            return ABSENT
        vote = self._read(cell, word)
        if vote is None:
            self.unread[quoted(cell)] += 1
            return ABSENT
        if self._labelling.positive is None or self._labelling.positive.threshold is None:
            self._seen[word, vote] += 1
        return vote

    def _read(self, cell: object, word: str) -> int | None:
        positive = self._labelling.positive
        if positive is None:
            return _KNOWN.get(word.lower())
        if positive.threshold is None:
            return int(word.casefold() in positive.words)
        number = number_of(cell)
        return None if number is None else int(positive.threshold.holds(number))

    def words(self) -> tuple[tuple[str, int, int], ...]:
        """Return what was read as what, the most frequent first."""
        return tuple((word, count, vote) for (word, vote), count in self._seen.most_common())

    def refusal(self, frame: Frame, cells: Sequence[Sequence[object]], name: str) -> str:
        """Say what could not be read, and which flag would help."""
        seen = [word for word, _ in self.unread.most_common(_SHOWN)]
        place = next(place for place in range(len(frame)) if self._unreadable([column[place] for column in cells]))
        found = f"got {listed(seen)} ({counted(self.unread.total(), 'time')}, first in {frame.at(place)})"
        if any(word.startswith("{") for word in seen):
            return (
                f"--label-column: expected labels in column {quoted(name)}, {found}; each is an object: name what is "
                f"meant in it, {name}.KEY"
            )
        if self.lists:
            return (
                f"--label-column: expected one label in a cell of {quoted(name)}, {found}; if each is an annotator's, "
                "add --votes majority"
            )
        if self._labelling.positive is not None:
            return f"--positive: expected numbers to compare in column {quoted(name)}, {found}; name words instead"
        fractions = all((number_of(word.strip("'")) or 0) % 1 for word in seen)
        known = "1" if any(word == "1" for word, _, _ in self.words()) else ""
        example = '">=0.5"' if fractions else known or _bare(seen[0])
        others = [quoted(word) for word, _, _ in self.words()[:_SHOWN]]
        beside = f", beside {listed(others)}" if others else ""
        return (
            f"--label-column: expected 0 or 1 in column {quoted(name)}, {found}{beside}; say which mean abuse, for "
            f"example --positive {example}"
        )

    def _unreadable(self, cells: Sequence[object]) -> bool:
        return any(quoted(cell) in self.unread for cell in (*_flat(cells), *cells))


def _bare(word: str) -> str:
    inner = word.strip("'")
    return inner if inner.isalnum() else word


def _flat(cells: Sequence[object]) -> Iterator[object]:
    for cell in cells:
        if isinstance(cell, list):
            yield from _flat(cell)
        else:
            yield cell


def _require_known(labelling: Labelling, words: Sequence[tuple[str, int, int]], name: str) -> None:
    """Refuse a positive label that never occurs: it would make its spelling decide the model."""
    wanted = labelling.positive.words if labelling.positive else frozenset()
    unknown = sorted(wanted - {word.casefold() for word, _, _ in words})
    if unknown:
        holds = listed(f"{quoted(word)} ({count:,})" for word, count, _ in words)
        raise DataError(
            f"--positive: no label {listed(map(quoted, unknown))} in column {quoted(name)}; it holds {holds}"
        )


def _check(frame: Frame, values: NDArray[np.int8], name: str, reader: _Reader) -> None:
    missing = np.flatnonzero(values == ABSENT)
    if missing.size:
        rows = counted(missing.size, "such row")
        raise DataError(
            f"--label-column: expected a label in every row of column {quoted(name)}, got none in "
            f"{frame.at(int(missing[0]))} ({rows}); leave them out: --where '{name}!='"
        )
    if np.unique(values).size < 2:
        holds = listed(f"{quoted(word)} ({count:,})" for word, count, _ in reader.words()[:_SHOWN])
        raise DataError(
            f"--label-column: expected both 0 and 1 in column {quoted(name)}, got only {values[0]}: it holds {holds}; "
            "add examples, or say which mean abuse with --positive"
        )
