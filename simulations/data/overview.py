"""What was understood of some files, in a few lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from privacy.base.errors import clipped
from simulations.config.data import DataConfig
from simulations.config.paths import shown
from simulations.data.dataset import Dataset, Table
from simulations.data.errors import DataError, counted, listed, quoted
from simulations.data.files import Form, read_files
from simulations.data.labels import ABSENT

_SAMPLES = 3
_LONGEST_TEXT = 70
_WORDS = 8
_COLUMNS = 12
_LONGEST_ROW = 400
_READ = {0: "not", 1: "abuse", ABSENT: "-"}


@dataclass(frozen=True)
class Overview:
    """A description of some files.

    Attributes:
        lines: shape, columns, classes and users; nobody's words.
        samples: the first rows, their texts cut short.
        notes: what a reader should know, a sentence each.
    """

    lines: tuple[str, ...]
    samples: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset, data: DataConfig) -> Overview:
        """Describe what was read by a configuration."""
        return cls(tuple(_lines(dataset, data)), tuple(_samples(dataset.table)), dataset.notes)


def _lines(dataset: Dataset, data: DataConfig) -> Iterator[str]:
    pieces = dataset.pieces
    for piece in pieces[:_SAMPLES]:
        yield f"{piece.name}: {counted(piece.columns.length, 'row')}, {piece.columns.form}"
    if len(pieces) > _SAMPLES:
        yield f"and {len(pieces) - _SAMPLES:,} more files, {dataset.rows:,} rows in all"
    for flag, path in data.inputs:
        if flag != "--data":
            yield f"{flag[2:].replace('-', ' ')}: {shown(path)}"
    yield f"columns: {listed(dict.fromkeys(name for piece in pieces for name in piece.columns.names))}"
    yield f"read: {_roles(data)}"
    yield _messages(dataset.table)
    if dataset.official is not None:
        yield f"official test set: {_messages(dataset.official)}"
    if dataset.table.words:
        yield f"labels: {_words(dataset.table)}"
    if dataset.table.users is not None:
        yield _users(dataset.table.users)


def _roles(data: DataConfig) -> str:
    roles = [f"text {quoted(data.text_column)}", f"label {quoted(data.label_column)}"]
    if data.positive is not None:
        roles[-1] += f" (abuse: {data.positive})"
    if data.votes is not None:
        roles.append(f"votes {data.votes}")
    for name, column in (("user", data.user_column), ("time", data.time_column), ("message", data.message_column)):
        roles += [] if column is None else [f"{name} {quoted(column)}"]
    roles += [f"only {condition}" for condition in data.where]
    return ", ".join(roles)


def _messages(table: Table) -> str:
    skipped = f"; {table.skipped:,} rows without a text left out" if table.skipped else ""
    if table.labels is None:
        return f"{len(table):,} messages without labels{skipped}"
    abuse, absent = (int(np.count_nonzero(table.labels == value)) for value in (1, ABSENT))
    unlabelled = f", {absent:,} without a label" if absent else ""
    labelled = len(table) - absent
    return (
        f"{len(table):,} messages, {abuse:,} abuse ({abuse / labelled:.1%}), {labelled - abuse:,} not"
        f"{unlabelled}{skipped}"
    )


def _words(table: Table) -> str:
    """Write each label with its count and what it was read as; of several annotators', each vote counts."""
    written = [f"{quoted(word)} {count:,} → {_READ[read]}" for word, count, read in table.words[:_WORDS]]
    more = [f"and {len(table.words) - _WORDS} more"] if len(table.words) > _WORDS else []
    return ", ".join([*written, *more])


def _users(users: list[str]) -> str:
    counts = Counter(users)
    [(user, most)] = counts.most_common(1)
    return (
        f"users: {len(counts):,}, {np.median(list(counts.values())):g} messages in the middle, the most {most:,} "
        f"({quoted(user)})"
    )


def _samples(table: Table) -> Iterator[str]:
    for place, text in enumerate(table.texts[:_SAMPLES]):
        label = "" if table.labels is None else f"  {_READ[int(table.labels[place])]:<5}"
        user = "" if table.users is None else f"  {quoted(table.users[place], 18)}"
        yield f"row {table.rows[place] + 1}{label}{user}  {quoted(text, _LONGEST_TEXT)}"


def first_rows(data: DataConfig) -> list[str]:
    """Return the shape, the columns and the first rows of files with all that is in them; empty if none can be read."""
    form = Form.of(data, data.columns)
    try:
        [first, *_] = read_files("--data", (data.path or ())[:1], form, ())
        names = first.columns.names[:_COLUMNS]
        [piece, *_] = read_files("--data", (data.path or ())[:1], form, names)
    except DataError:
        return []
    lines = [f"{piece.name}: {counted(piece.columns.length, 'row')}, {piece.columns.form}"]
    lines.append(f"columns: {listed(piece.columns.names)}")
    for row in range(min(_SAMPLES, piece.columns.length)):
        cells = (f"{name}={quoted(column[row])}" for name, column in piece.columns.cells.items())
        lines.append(clipped(f"row {row + 1}: {', '.join(cells)}", _LONGEST_ROW))
    return lines
