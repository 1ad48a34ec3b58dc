"""Parquet, nested columns among it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from simulations.data.errors import UnreadableFile
from simulations.data.formats.columns import Columns, columns_of
from simulations.data.formats.delimited import refuse_ambiguous

if TYPE_CHECKING:
    import pyarrow as pa

# pyarrow is imported by those who read Parquet: it takes half a second.


def read_parquet(path: str, raw: bytes, wanted: Collection[str]) -> Columns:
    """Read the wanted columns; times are cut to microseconds and are in UTC.

    Args:
        path: the file's name, for messages.
        raw: all its bytes.
        wanted: the columns whose cells are returned where the file has them; of nested ones, dotted names.

    Raises:
        UnreadableFile: when the bytes are damaged, not Parquet, or of a type that has no value in Python.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        schema = file.schema_arrow
        refuse_ambiguous(path, schema.names, wanted)
        heads = {name if name in schema.names else name.partition(".")[0] for name in wanted}
        table = file.read(columns=[name for name in schema.names if name in heads])
        cells = {name: _plain(table.column(name)).to_pylist() for name in table.column_names}
        length = file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError, ImportError) as error:
        raise UnreadableFile(f"{path} is damaged or not Parquet ({error}); fetch or write it again") from error
    rows = (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True))
    found = columns_of(rows, wanted, "Parquet").cells
    names = tuple(name for field in schema for name in _names(field))
    empty = {name: [None] * length for name in wanted if name in names}
    return Columns(names, {**empty, **found}, length, "Parquet")


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with its times in microseconds: Python has none that are finer."""
    return column.cast(_coarser(column.type), safe=False)


def _coarser(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_coarser(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_coarser(kind.value_type))
    return kind


def _names(field: pa.Field, prefix: str = "") -> Iterator[str]:
    import pyarrow as pa  # noqa: PLC0415

    kind = field.type
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if not pa.types.is_struct(kind):
        yield f"{prefix}{field.name}"
        return
    for inner in kind:
        yield from _names(inner, f"{prefix}{field.name}.")
