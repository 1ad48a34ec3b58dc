"""Workbooks of spreadsheets, one sheet of them."""

from __future__ import annotations

import io
from collections.abc import Collection

from simulations.data.errors import DataError, UnreadableFile, listed, quoted
from simulations.data.formats.columns import Columns
from simulations.data.formats.delimited import refuse_ambiguous


def read_workbook(
    path: str, raw: bytes, sheet: str | None, names: tuple[str, ...] | None, wanted: Collection[str]
) -> Columns:
    """Read a sheet, the first if none is named; rows without anything in them are left out.

    Args:
        path: the file's name, for messages.
        raw: all its bytes.
        sheet: the sheet's name.
        names: of the columns, where the first row is no header.
        wanted: the columns whose cells are returned where the sheet has them.

    Raises:
        UnreadableFile: when the package that reads workbooks is not installed, or the file is damaged or protected.
        DataError: when there is no such sheet, or it has another number of columns than there are names.
    """
    try:
        import python_calamine as calamine  # noqa: PLC0415 - brought by an extra
    except ModuleNotFoundError as error:
        raise UnreadableFile(
            f"{path} is a workbook, and what reads these is not installed: install havenfl with its 'xlsx' "
            "extra, or save the sheet as CSV"
        ) from error
    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(raw))
        if sheet is not None and sheet not in book.sheet_names:
            raise DataError(f"--sheet: no sheet {quoted(sheet)} in {path}; expected one of {listed(book.sheet_names)}")
        chosen = sheet or book.sheet_names[0]
        rows = [row for row in book.get_sheet_by_name(chosen).to_python() if any(cell != "" for cell in row)]
    except (calamine.CalamineError, OSError, IndexError) as error:
        raise UnreadableFile(f"{path} cannot be read as a workbook ({error}); save the sheet as CSV") from error
    header = list(names or [str(cell).strip() for cell in (rows[0] if rows else [])])
    body = rows if names else rows[1:]
    if names and body and len(body[0]) != len(names):
        raise DataError(f"--columns: expected {len(body[0])} names for the columns of {path}, got {len(names)}")
    refuse_ambiguous(path, header, wanted)
    places = {name: header.index(name) for name in wanted if name in header}
    cells = {name: [row[place] for row in body] for name, place in places.items()}
    others = [name for name in book.sheet_names if name != chosen]
    form = f"sheet {quoted(chosen)}" + (f", not {listed(map(quoted, others))}: --sheet" if others else "")
    hint = "" if names else "if its first row is no header, name the columns with --columns"
    return Columns(tuple(header), cells, len(body), form, hint)
