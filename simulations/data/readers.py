"""Files of examples to columns: CSV and JSONL, gzipped or not, and Parquet.

Strict, because a row that was read wrongly trains a model wrongly: a line that does not fit is an error with its
number, never a guess. Cells come as the file has them: text in CSV, where an empty cell is "", typed values elsewhere.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import pyarrow as pa
import pyarrow.parquet as pq

FORMATS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")


class DataError(ValueError):
    """Data that cannot be used; the message names the flag, what was expected, what came and what to do."""


@dataclass(frozen=True)
class Columns:
    """All column names of a file in its order, and the cells of the wanted columns that it has."""

    names: tuple[str, ...]
    cells: Mapping[str, Sequence[object]] = field(repr=False)


def read_columns(path: PurePath, raw: bytes, wanted: Collection[str]) -> Columns:
    """Parse a file's bytes by the ending of its name.

    Args:
        path: the file, for its name and for messages.
        raw: all its bytes.
        wanted: the columns whose cells are returned where the file has them.

    Raises:
        DataError: when the ending is unknown, or the bytes are not what it promises.
    """
    name = path.name.lower()
    ending = next((ending for ending in FORMATS if name.endswith(ending)), None)
    if ending is None:
        raise DataError(f"--data: expected a name ending in {', '.join(FORMATS)}, got {path}; convert or rename it")
    if not raw:
        raise DataError(f"--data: {path} is empty; expected a table with at least one row")
    if ending == ".parquet":
        return _parquet(path, raw, wanted)
    text = _decode(path, _gunzip(path, raw) if ending.endswith(".gz") else raw)
    return _csv(path, text, wanted) if ending.startswith(".csv") else _jsonl(path, text, wanted)


def _gunzip(path: PurePath, raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"--data: {path} is damaged or not gzip ({error}); fetch or compress it again") from error


def _decode(path: PurePath, raw: bytes) -> str:
    start = len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
    try:
        return raw[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
        raise DataError(
            f"--data: {path} is not UTF-8: got byte 0x{raw[offset]:02x} at offset {offset}; "
            "save it as UTF-8, for example with `iconv -t UTF-8`"
        ) from error


def _csv(path: PurePath, text: str, wanted: Collection[str]) -> Columns:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next((line for line in reader if line), [])
        _refuse_ambiguous(path, names, wanted)
        places = {name: names.index(name) for name in wanted if name in names}
        cells: dict[str, list[object]] = {name: [] for name in places}
        for line in _full_lines(path, reader, len(names)):
            for name, place in places.items():
                cells[name].append(line[place])
    except csv.Error as error:
        raise DataError(
            f"--data: {path}, line {reader.line_num}: malformed CSV ({error}); look for an unclosed quote"
        ) from error
    return Columns(tuple(names), cells)


def _refuse_ambiguous(path: PurePath, names: Sequence[str], wanted: Collection[str]) -> None:
    for name in wanted:
        if names.count(name) > 1:
            raise DataError(f"--data: {path} has {names.count(name)} columns named {name!r}; rename all but one")


def _full_lines(path: PurePath, reader: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    """Yield the rows, with blank lines left out.

    Raises:
        DataError: when a row has more or fewer than `width` fields.
    """
    for number, line in enumerate((line for line in reader if line), 1):
        if len(line) != width:
            raise DataError(
                f"--data: {path}, row {number}: malformed CSV, expected {width} fields as in the header, "
                f"got {len(line)}; look for an unquoted comma"
            )
        yield line


def _jsonl(path: PurePath, text: str, wanted: Collection[str]) -> Columns:
    names: dict[str, None] = {}
    cells: dict[str, list[object]] = {name: [] for name in wanted}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            record = _json_object(path, number, line)
            names.update(dict.fromkeys(record))
            for name, column in cells.items():
                column.append(record.get(name))
    return Columns(tuple(names), {name: column for name, column in cells.items() if name in names})


def _json_object(path: PurePath, number: int, line: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"--data: {path}, line {number}: malformed JSON ({error}); expected one object a line"
        ) from error
    if not isinstance(record, dict):
        raise DataError(f"--data: {path}, line {number}: expected a JSON object, got {line.strip()[:40]!r}")
    return record


def _parquet(path: PurePath, raw: bytes, wanted: Collection[str]) -> Columns:
    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        names = tuple(file.schema_arrow.names)
        _refuse_ambiguous(path, names, wanted)
        table = file.read(columns=[name for name in names if name in wanted])
        cells = {name: table.column(name).to_pylist() for name in table.column_names}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"--data: {path} is damaged or not Parquet ({error}); fetch or write it again") from error
    return Columns(names, cells)
