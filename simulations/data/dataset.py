"""A checked table of messages: texts, labels, users, times, from whatever files hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.config.data import DataConfig
from simulations.config.rules import Condition, word_of
from simulations.data.errors import DataError, listed, quoted
from simulations.data.files import Form, Piece, Source, fingerprint, read_files
from simulations.data.frame import Frame
from simulations.data.joining import Join, grouped, joined
from simulations.data.labels import ABSENT, Labelling, label_columns, read_labels
from simulations.data.times import read_times
from simulations.data.users import is_spreadsheet_error, read_users


@dataclass(frozen=True, eq=False)
class Table:
    """Messages that can be used, in the files' order.

    Attributes:
        texts: n texts, none blank.
        labels: int8[n] of 0 and 1 (1 is abuse), where they are optional also -1 (none); or None where no message has
            one.
        users: who wrote each text, or None where nobody asked or, in a test set, nobody knows.
        rows: int64[n], each text's row in the files, counted from 0 without headers.
        skipped: rows whose text was blank or missing.
        times: float64[n], when each text was written, in any unit; or None where nobody asked.
        words: how often each written label occurs, and what it was read as.
    """

    texts: list[str] = field(repr=False)
    labels: NDArray[np.int8] | None = field(repr=False)
    users: list[str] | None = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    skipped: int
    times: NDArray[np.float64] | None = field(default=None, repr=False)
    words: tuple[tuple[str, int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def required_labels(self) -> NDArray[np.int8]:
        """Return the labels.

        Raises:
            DataError: when there are none.
        """
        if self.labels is None:
            raise DataError("--label-column: training needs labels, got an unlabelled table; name the labels' column")
        return self.labels

    def required_times(self) -> NDArray[np.float64]:
        """Return the times.

        Raises:
            DataError: when there are none.
        """
        if self.times is None:
            raise DataError("--time-column: expected times, got a table without; name their column")
        return self.times


@dataclass(frozen=True, eq=False)
class Dataset:
    """All that was read of some files.

    Attributes:
        table: the messages.
        official: those of an official test set, if there is one: no others.
        pieces: the files of messages, as they were read.
        sources: all files.
        notes: what a reader should know, a sentence each.
    """

    table: Table
    official: Table | None
    pieces: tuple[Piece, ...] = field(repr=False)
    sources: tuple[Source, ...] = field(repr=False)
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """One digest of all files, in hex; of a single one what `sha256sum` prints."""
        return fingerprint(self.sources)

    @property
    def rows(self) -> int:
        """The number of rows in the files of messages, an official test set's not among them."""
        return sum(piece.columns.length for piece in self.pieces)


def load(data: DataConfig, *, labels_required: bool = True) -> Dataset:
    """Read and check the files of a configuration.

    Blank and missing texts are skipped and counted; in CSV only an empty cell is missing, the word `NaN` is a text. A
    user whose every text was skipped is no device. Labels are 0 and 1, or what `data.positive` says; times are numbers,
    or dates in ISO 8601. A text that is a list of words is these words.

    Args:
        data: the files, and what in them is what.
        labels_required: whether each row needs a label and both classes must occur. If not, as for scoring, rows may
            have none, and the column may be absent or, if `data.positive` does not say how to read it, of words.

    Raises:
        DataError: when files cannot be read or used.
    """
    return _Loader(data, labels_required).load()


class _Loader:
    """A reader of one configuration's files, which collects what there is to say of them."""

    def __init__(self, data: DataConfig, labels_required: bool) -> None:
        self._data = data
        self._required = labels_required
        self._sources: list[Source] = []
        self._notes: list[str] = []

    def load(self) -> Dataset:
        data = self._data
        pieces = self._read("--data", data.path or (), Form.of(data, data.columns))
        frame = self._complete(Frame.of(pieces), "--labels", data.labels)
        official = None
        if data.test is not None:
            tests = Frame.of(self._read("--test", data.test, Form.of(data, data.columns)))
            labels = ("--test-labels", data.test_labels) if data.test_labels else ("--labels", data.labels)
            official = self._table(self._complete(tests, *labels), official=True)
        elif data.test_where is not None:
            tested = frame.matching("--test-where", [data.test_where])
            official = self._table(frame.take(np.flatnonzero(tested)), official=True)
            frame = frame.take(np.flatnonzero(~tested))
        table = self._table(frame, official=False)
        if official is not None and len(np.unique(official.required_labels())) < 2:
            raise DataError("--test: expected both labels in the official test set; check --positive, or its labels")
        sources = tuple(dict.fromkeys(self._sources))
        return Dataset(table, official, tuple(pieces), sources, tuple(dict.fromkeys(self._notes)))

    def _read(self, flag: str, paths: Sequence[Path], form: Form) -> list[Piece]:
        pieces = read_files(flag, paths, form, self._wanted)
        for piece in pieces:
            self._sources += piece.sources
            if piece.left_out:
                self._notes.append(f"beside {piece.name}, not read: {listed(piece.left_out)}")
        return pieces

    @property
    def _wanted(self) -> tuple[str, ...]:
        """The names of all columns that something is read of."""
        data, join = self._data, Join.parse(self._data.join or "")
        conditions = [*data.where, *([data.test_where] if data.test_where else [])]
        named = (data.text_column, data.user_column, data.time_column, data.message_column)
        of_labels = [data.label_column, *(part.strip() for part in data.label_column.split(","))]
        of_rows = [Condition.parse(text).column for text in conditions]
        of_both = [join.of_texts, join.of_labels]
        return tuple(dict.fromkeys(name for name in (*named, *of_labels, *of_rows, *of_both) if name))

    def _complete(self, frame: Frame, flag: str, paths: tuple[Path, ...] | None) -> Frame:
        """Bring labels that lie elsewhere, leave out rows that are not meant, and make one of a message's votes."""
        data, votes = self._data, self._data.votes is not None
        if paths is not None:
            labels = Frame.of(self._read(flag, paths, Form.of(data, data.labels_columns)))
            columns = label_columns(labels, data.label_column)
            for name in columns:
                labels.column("--label-column", name)
            before = len(frame)
            frame = joined(frame, labels, Join.parse(data.join or ""), columns, votes=votes)
            if len(frame) < before:
                self._notes.append(f"{before - len(frame):,} of {before:,} rows have no label in {flag}: left out")
        kept = np.flatnonzero(frame.matching("--where", data.where))
        if kept.size < len(frame):
            frame = frame.take(kept)
        if data.message_column is None:
            return frame
        columns = label_columns(frame, data.label_column)
        for name in columns:
            frame.column("--label-column", name)
        return grouped(frame, data.message_column, data.text_column, columns)

    def _table(self, frame: Frame, *, official: bool) -> Table:
        data = self._data
        texts = frame.column("--text-column", data.text_column)
        read = [self._text(frame, place, cell) for place, cell in enumerate(texts)]
        used = [place for place, text in enumerate(read) if text]
        if not used:
            flag = "--test" if official and data.test else "--data"
            raise DataError(
                f"{flag}: {frame.ends[0][0] if frame.ends else 'the data'} has {len(frame):,} rows, none with a text "
                f"in column {quoted(data.text_column)}; expected at least one"
            )
        chosen = frame.take(used)
        found = [text for text in read if text]
        errors = sum(map(is_spreadsheet_error, found))
        if errors:
            self._notes.append(f"{errors:,} texts are a spreadsheet's error values, such as #NAME?")
        labels, words = self._labels(chosen, official=official)
        return Table(
            texts=found,
            labels=labels,
            users=self._users(chosen, official=official),
            rows=chosen.rows,
            skipped=len(frame) - len(used),
            times=read_times(chosen, data.time_column) if data.time_column and not official else None,
            words=words,
        )

    def _text(self, frame: Frame, place: int, cell: object) -> str:
        """Return the text of a cell, with what stands for something else replaced; empty where nothing is to be seen.

        Raises:
            DataError: when the cell holds something else.
        """
        if isinstance(cell, list) and all(isinstance(word, str) for word in cell):
            cell = " ".join(cell)
        if not isinstance(cell, str):
            if not word_of(cell):
                return ""
            raise DataError(
                f"--text-column: expected text, got {type(cell).__name__} {quoted(cell)} in {frame.at(place)}; name "
                "another column"
            )
        for pair in self._data.replace:
            word, _, text = pair.partition("=")
            cell = cell.replace(word, text.replace("\\n", "\n").replace("\\t", "\t"))
        return cell if cell.strip() else ""

    def _labels(
        self, frame: Frame, *, official: bool
    ) -> tuple[NDArray[np.int8] | None, tuple[tuple[str, int, int], ...]]:
        data = self._data
        columns = label_columns(frame, data.label_column)
        if not self._required and not all(name in frame.cells for name in columns):
            return None, ()
        labelling = Labelling.of(columns, data.positive, data.votes)
        try:
            labels = read_labels(frame, labelling, required=self._required, trained_on=not official)
        except DataError as error:
            asked = data.model_fields_set & {"label_column", "positive", "votes"}
            if self._required or asked:
                raise
            self._notes.append(f"no metrics: {error}")
            return None, ()
        return (None if np.all(labels.values == ABSENT) else labels.values), labels.words

    def _users(self, frame: Frame, *, official: bool) -> list[str] | None:
        name = self._data.user_column
        if name is None or (official and name not in frame.cells):
            return None
        users, notes = read_users(frame, name)
        self._notes += notes
        return users
