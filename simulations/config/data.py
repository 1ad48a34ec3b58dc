"""The section `data` of a configuration: files, how they are read, and what in them is text, label, user and time."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from simulations.config.rules import Condition, Positive, parse_votes
from simulations.config.sections import Section

_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str | Path) else value


def _absolute(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    if Path() in paths:  # what an empty text comes to: a variable of a shell that nobody set
        raise ValueError("expected the path of a file or folder, not an empty one")
    if any("\0" in str(path) for path in paths):
        raise ValueError("expected the path of a file or folder, which no zero byte is part of")
    return tuple(path.absolute() for path in paths)


def _listed(value: object) -> object:
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


Paths = Annotated[tuple[Path, ...], BeforeValidator(_one_or_more), AfterValidator(_absolute), Field(min_length=1)]
"""One path or several; those that are not absolute lie below the current directory."""
Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
"""Several names, as a list or between commas."""
Several = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
"""One text or several."""


class DataConfig(Section):
    """Where the examples come from. Without a path, the embedded generator makes them."""

    path: Paths | None = None
    """A file, a folder of files, or several of them."""
    text_column: str = "text"
    label_column: str = "label"
    """One column, or several between commas: abuse is what any of them says is abuse, or their `votes`."""
    positive: str | None = None
    """Which labels mean abuse: words between commas, or a threshold such as `>=0.5`. Default: 1, where 0 is the
    other."""
    votes: str | None = None
    """How the labels of several annotators become one: `majority`, `any`, or the fraction who say abuse, `>=0.3`."""
    message_column: str | None = None
    """Where each annotator has a row: rows with the same value here are one message."""
    user_column: str | None = None
    time_column: str | None = None
    """When a message was written: devices come to hold theirs as rounds pass, and the newest fifth is for testing."""
    where: Several = ()
    """Rows to keep, each `COLUMN=VALUE,VALUE` or `COLUMN!=VALUE,VALUE`; an empty value is an empty cell."""
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    """Between two cells of a line. Default: a comma, in .tsv a tab."""
    quoting: bool = True
    """Whether quotation marks around a cell are none of its content."""
    encoding: str = "utf-8"
    """How text files are encoded, by a name that Python knows."""
    columns: Names | None = None
    """Names of the columns of files without a header."""
    sheet: str | None = None
    """The sheet of a workbook. Default: the first."""
    replace: Several = ()
    """`WORD=TEXT`: what stands for something else in texts, for example `NEWLINE_TOKEN=\\n`."""
    labels: Paths | None = None
    """Files of labels (and users, or times), where they are not in the same files as the texts."""
    labels_columns: Names | None = None
    """Names of the columns of files of labels without a header."""
    join: str | None = None
    """The column that texts and their labels have in common; `COLUMN=COLUMN` where its names differ."""
    test: Paths | None = None
    """An official test set: nobody in it trains. Default: a fifth of the users, drawn."""
    test_labels: Paths | None = None
    """Its files of labels. Default: those of the other messages, if there are some."""
    test_where: str | None = None
    """The rows that are the official test set, where no files of their own are: `split=test`."""
    history: float = Field(default=0.5, ge=0, le=1)
    """The fraction of the training messages, the oldest, that devices hold before round 1 where there are times."""
    partition: str | None = None
    """How rows without users are spread over devices: `dirichlet:ALPHA`, or `time`, each a run of consecutive rows."""
    devices: int = Field(default=1_000, ge=2, le=1 << 30)
    """How many devices the generator or the partition makes; with a user column every user is a device."""

    @field_validator("separator", mode="before")
    @classmethod
    def _named_separator(cls, value: object) -> object:
        return _SEPARATORS.get(value.strip().lower(), value) if isinstance(value, str) and value.strip() else value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            "a".encode(name)
            return codecs.lookup(name).name
        except (LookupError, UnicodeError) as error:
            raise ValueError("expected an encoding that Python knows, such as utf-8, cp1252 or utf-16") from error

    @field_validator("positive")
    @classmethod
    def _whole_rule(cls, text: str | None) -> str | None:
        if text is not None:
            Positive.parse(text)
        return text

    @field_validator("votes")
    @classmethod
    def _counted(cls, text: str | None) -> str | None:
        if text is not None:
            parse_votes(text)
        return text

    @field_validator("where", "test_where")
    @classmethod
    def _conditions(cls, given: Any) -> Any:
        for text in (given,) if isinstance(given, str) else given or ():
            Condition.parse(text)
        return given

    @field_validator("replace")
    @classmethod
    def _pairs(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not all(text.partition("=")[0] and "=" in text for text in given):
            raise ValueError("expected WORD=TEXT, for example NEWLINE_TOKEN=\\n")
        return given

    @model_validator(mode="after")
    def _whole(self) -> DataConfig:
        _need("--data", self.path, {"--labels": self.labels, "--test": self.test, "--test-where": self.test_where})
        _need("--test", self.test, {"--test-labels": self.test_labels})
        _need("--votes", self.votes, {"--message-column": self.message_column})
        joined = self.labels or self.test_labels
        _need("--labels", joined, {"--join": self.join, "--labels-columns": self.labels_columns})
        if joined and self.join is None:
            raise ValueError("--join: expected it with --labels; name the column that texts and labels have in common")
        if self.test is not None and self.test_where is not None:
            raise ValueError("--test-where: expected it or --test, got both")
        return self

    @property
    def inputs(self) -> tuple[tuple[str, Path], ...]:
        """All files and folders that are read, each with the flag that names it."""
        given = {"--data": self.path, "--labels": self.labels, "--test": self.test, "--test-labels": self.test_labels}
        return tuple((flag, path) for flag, paths in given.items() for path in paths or ())


def _need(flag: str, value: object, dependent: Mapping[str, object]) -> None:
    """Refuse flags that mean nothing without another."""
    for name in [name for name, given in dependent.items() if given is not None and value is None]:
        raise ValueError(f"{name}: expected it together with {flag}")
