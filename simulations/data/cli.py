"""`fl-sim data`, and the options by which commands are told how to read files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from privacy.command.exits import fail

# Commands import what they need when they run, so that help, and errors about flags, take no time.

DATA = "Data"
"""The panel of these options in a command's help."""

TextColumn = Annotated[
    str | None, typer.Option(help="Column of the text; of nested ones post.text.", rich_help_panel=DATA)
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of the label; of several toxic,obscene any.", rich_help_panel=DATA)
]
Positive = Annotated[
    str | None,
    typer.Option(help='Labels that mean abuse: hate,offensive, or ">=0.5". Default: 1.', rich_help_panel=DATA),
]
Votes = Annotated[
    str | None,
    typer.Option(
        help='How labels of several annotators become one: majority, any, or a fraction, ">=0.3".',
        rich_help_panel=DATA,
    ),
]
MessageColumn = Annotated[
    str | None,
    typer.Option(help="With --votes: rows with the same value here are one message.", rich_help_panel=DATA),
]
UserColumn = Annotated[
    str | None, typer.Option(help="Column of the user; every user is a device.", rich_help_panel=DATA)
]
TimeColumn = Annotated[
    str | None,
    typer.Option(help="When a message was written; devices get theirs as rounds pass.", rich_help_panel=DATA),
]
Where = Annotated[
    list[str] | None,
    typer.Option(help="COLUMN=VALUE,VALUE or COLUMN!=VALUE: rows to keep. Again for another.", rich_help_panel=DATA),
]
Separator = Annotated[
    str | None,
    typer.Option(help="Between cells: ; or tab. Default: a comma, in .tsv a tab.", rich_help_panel=DATA),
]
Quoting = Annotated[
    bool | None,
    typer.Option(
        "--quoting/--no-quoting", help="Whether quotation marks around a cell are markup.", rich_help_panel=DATA
    ),
]
Encoding = Annotated[
    str | None, typer.Option(help="Of text files: cp1252, utf-16. Default: utf-8.", rich_help_panel=DATA)
]
ColumnNames = Annotated[
    str | None,
    typer.Option("--columns", help="Names for files without a header: text,label.", rich_help_panel=DATA),
]
Sheet = Annotated[str | None, typer.Option(help="Sheet of a workbook. Default: the first.", rich_help_panel=DATA)]
Replace = Annotated[
    list[str] | None,
    typer.Option(help="WORD=TEXT in texts: NEWLINE_TOKEN=\\n. Again for another.", rich_help_panel=DATA),
]
LabelFiles = Annotated[
    list[Path] | None,
    typer.Option("--labels", help="File of the labels, where texts are in another.", rich_help_panel=DATA),
]
LabelNames = Annotated[
    str | None,
    typer.Option("--labels-columns", help="Names for files of labels without a header.", rich_help_panel=DATA),
]
JoinColumn = Annotated[
    str | None,
    typer.Option("--join", help="Column that texts and labels share; else TEXTS=LABELS.", rich_help_panel=DATA),
]
TestFiles = Annotated[
    list[Path] | None,
    typer.Option("--test", help="Official test set: nobody in it trains.", rich_help_panel=DATA),
]
TestLabels = Annotated[
    list[Path] | None, typer.Option(help="Its file of labels, where it has none.", rich_help_panel=DATA)
]
TestWhere = Annotated[
    str | None,
    typer.Option(help="The rows that are the official test set: split=test.", rich_help_panel=DATA),
]


def data_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="CSV, TSV, JSON, JSONL, Parquet, XLSX; gzipped, in a folder or a zip.", metavar="FILE..."),
    ] = None,
    *,
    config: Annotated[Path | None, typer.Option(help="TOML file; flags win over its section data.")] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    positive: Positive = None,
    votes: Votes = None,
    message_column: MessageColumn = None,
    user_column: UserColumn = None,
    time_column: TimeColumn = None,
    where: Where = None,
    separator: Separator = None,
    quoting: Quoting = None,
    encoding: Encoding = None,
    columns: ColumnNames = None,
    sheet: Sheet = None,
    replace: Replace = None,
    labels: LabelFiles = None,
    labels_columns: LabelNames = None,
    join: JoinColumn = None,
    test: TestFiles = None,
    test_labels: TestLabels = None,
    test_where: TestWhere = None,
) -> None:
    """Show how files are read: shape, columns, classes, users, and three rows. Nothing is trained.

    Examples:
    [bold]fl-sim data chat.csv[/bold]

    [bold]fl-sim data tweets.tsv --text-column tweet --label-column subtask_a --positive OFF[/bold]

    [bold]fl-sim data posts.json --label-column annotators.label --positive hatespeech --votes majority[/bold]

    The flags are those of [bold]fl-sim run[/bold]; docs/data.md has a command for each kind of file.

    Exit codes: 0 can be used, 2 cannot.
    """
    overrides = data_overrides({**locals(), "path": files})
    from simulations.config import ConfigError, load_config
    from simulations.data.dataset import load
    from simulations.data.errors import DataError
    from simulations.data.overview import Overview, first_rows

    try:
        data = load_config(config, overrides).data
    except ConfigError as error:
        fail(str(error))
    if data.path is None:
        fail("FILE: expected a file, or a configuration with data.path, got neither")
    check_exist(data.inputs)
    try:
        overview = Overview.of(load(data), data)
    except DataError as error:
        for line in first_rows(data):
            typer.echo(line)
        fail(str(error))
    for line in (*overview.lines, *overview.samples, *(f"note: {note}" for note in overview.notes)):
        typer.echo(line)


_KEYS = (
    "path", "text_column", "label_column", "positive", "votes", "message_column", "user_column", "time_column",
    "where", "separator", "quoting", "encoding", "columns", "sheet", "replace", "labels", "labels_columns", "join",
    "test", "test_labels", "test_where", "partition", "devices",
)  # fmt: skip


def data_overrides(given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of section `data` among a command's options, by dotted key; what was not given is None."""

    def plain(value: Any) -> Any:
        return [str(one) for one in value] or None if isinstance(value, list) else value

    return {f"data.{key}": plain(given[key]) for key in _KEYS if key in given}


def check_exist(inputs: tuple[tuple[str, Path], ...]) -> None:
    """End with 2 where a file that is to be read does not exist, before anything slow is imported."""
    from simulations.config.paths import shown

    for flag, path in inputs:
        if not path.exists():
            fail(f"{flag}: cannot read {shown(path)}: no such file; expected a readable file")
