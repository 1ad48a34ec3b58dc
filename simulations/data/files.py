"""The files behind a path: itself, those of a folder or an archive, and what is read of each."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from simulations.config.data import DataConfig
from simulations.config.paths import shown
from simulations.data.errors import DataError, UnreadableFile, listed
from simulations.data.formats.columns import Columns
from simulations.data.formats.decoding import COMPRESSIONS, decoded, decompressed
from simulations.data.formats.delimited import Dialect, read_delimited
from simulations.data.formats.json_rows import read_json
from simulations.data.formats.parquet import read_parquet
from simulations.data.formats.workbook import read_workbook

_DELIMITED = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson", ".json")
_TEXT = (*_DELIMITED, *_JSON)
_BINARY = (".parquet", ".xlsx", ".xlsm", ".xls", ".ods")
_MESSAGE = ".txt"
_ARCHIVE = ".zip"
FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx")
"""Endings that a message names; the text ones also compressed."""


@dataclass(frozen=True)
class Form:
    """How files are read, beyond what their names say.

    Attributes:
        separator: one character between two cells; None for what the ending says.
        quoting: whether quotation marks around a cell are none of its content.
        encoding: of text files.
        names: of the columns, where files have no header.
        sheet: of workbooks; None for the first.
    """

    separator: str | None = None
    quoting: bool = True
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None
    sheet: str | None = None

    @classmethod
    def of(cls, data: DataConfig, names: tuple[str, ...] | None) -> Form:
        """Return the form of a configuration's files, whose columns have these names if they have no header."""
        return cls(data.separator, data.quoting, data.encoding, names, data.sheet)


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Attributes:
        flag: the option that named it.
        path: the file, or the folder or archive that it was found in.
        member: its path in there; empty for a file that was named itself.
        sha256: the digest of its bytes as they lie there, in hex.
    """

    flag: str
    path: Path
    member: str
    sha256: str

    def record(self) -> dict[str, str]:
        """Return what a run remembers of the file, wherever it lies, for JSON."""
        return {"flag": self.flag, "member": self.member, "sha256": self.sha256}

    @property
    def name(self) -> str:
        """The file for people."""
        return shown(self.path / self.member) if self.member else shown(self.path)


@dataclass(frozen=True)
class Piece:
    """What was read of one file, or of a folder of messages."""

    name: str
    columns: Columns = field(repr=False)
    sources: tuple[Source, ...] = field(repr=False)
    left_out: tuple[str, ...] = ()
    """Files beside it whose names say nothing."""


@dataclass(frozen=True)
class _Found:
    path: Path
    member: str
    read: Callable[[], bytes] = field(repr=False)
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return (self.member or self.path.name).lower()


def read_files(flag: str, paths: Collection[Path], form: Form, wanted: Collection[str]) -> list[Piece]:
    """Read all files behind some paths, in the order of the paths, those of folders and archives by name.

    A folder or archive of `.txt` files has a message in each, with the columns `text`, `file` (its name without the
    ending) and `folder` (the name of the folder that it is in).

    Args:
        flag: the option that named the paths, for messages.
        paths: files, folders and archives.
        form: how they are read.
        wanted: the columns whose cells are returned where files have them; of nested values, dotted names.

    Raises:
        DataError: when a file is missing or cannot be read as what its name promises.
    """
    pieces: list[Piece] = []
    with _named(flag):
        for path in paths:
            found = list(_behind(path, form))
            if form.separator is None and found[0].member and found[0].name.endswith(_MESSAGE):
                pieces.append(_messages(flag, path, found, form))
            else:
                pieces += [_table(flag, one, form, wanted) for one in found]
    return pieces


@contextmanager
def _named(flag: str) -> Iterator[None]:
    try:
        yield
    except UnreadableFile as error:
        raise DataError(f"{flag}: {error}") from error


def _behind(path: Path, form: Form) -> Iterator[_Found]:
    if path.is_dir():
        inner = sorted(one for one in path.rglob("*") if one.is_file() and not _hidden(one.relative_to(path).parts))
        members = [(str(PurePosixPath(one.relative_to(path))), one.read_bytes) for one in inner]
        yield from _usable(path, members, form)
    elif path.name.lower().endswith(_ARCHIVE):
        yield from _usable(path, list(_archived(path)), form)
    else:
        yield _Found(path, "", path.read_bytes)


def _archived(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UnreadableFile(f"cannot read {shown(path)} as a zip archive: {error}") from error
    for name in sorted(archive.namelist()):
        if not name.endswith("/") and not _hidden(PurePosixPath(name).parts):
            yield name, lambda name=name: archive.read(name)  # type: ignore[misc]


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _usable(path: Path, members: list[tuple[str, Callable[[], bytes]]], form: Form) -> list[_Found]:
    """Return the tables among a folder's files, or its messages."""
    found = [_Found(path, name, read) for name, read in members]
    tables = [one for one in found if _ending(one.name, form) is not None]
    messages = [one for one in found if one.name.endswith(_MESSAGE) and one not in tables]
    if tables and messages:
        raise UnreadableFile(
            f"{shown(path)} holds tables ({listed(one.member for one in tables[:3])}) and .txt files; name "
            "the files or the folder below it that are meant"
        )
    if not tables and not messages:
        raise UnreadableFile(
            f"{shown(path)} holds no file ending in {', '.join(FORMATS)} or .txt, but "
            f"{listed(one.member for one in found)}"
        )
    meant = tables or messages
    others = tuple(one.member for one in found if one not in meant)
    return [replace(meant[0], left_out=others), *meant[1:]]


def _table(flag: str, found: _Found, form: Form, wanted: Collection[str]) -> Piece:
    raw = _bytes(found)
    source = _source(flag, found, raw)
    ending = _ending(found.name, form)
    if ending is None:
        raise UnreadableFile(
            f"expected a name ending in {', '.join(FORMATS)}, got {source.name}; add --separator if it is a "
            "table of another name, else convert or rename it"
        )
    if not raw:
        raise UnreadableFile(f"{source.name} is empty; expected a table with at least one row")
    if ending == ".parquet":
        columns = read_parquet(source.name, raw, wanted)
    elif ending in _BINARY:
        columns = read_workbook(source.name, raw, form.sheet, form.names, wanted)
    else:
        compression = next((one for one in COMPRESSIONS if found.name.endswith(one)), None)
        text = decoded(source.name, decompressed(source.name, raw, compression) if compression else raw, form.encoding)
        if ending in _JSON:
            columns = read_json(source.name, text, set(wanted))
        else:
            dialect = Dialect(form.separator or _DELIMITED.get(ending, ","), form.quoting, form.names)
            columns = read_delimited(source.name, text, dialect, wanted)
    return Piece(source.name, columns, (source,), found.left_out)


def _ending(name: str, form: Form) -> str | None:
    """Return the ending that says how a file is read; None for a name that says nothing."""
    if name.endswith(_BINARY):
        return next(ending for ending in _BINARY if name.endswith(ending))
    plain = next((name.removesuffix(one) for one in COMPRESSIONS if name.endswith(one)), name)
    known = next((ending for ending in _TEXT if plain.endswith(ending)), None)
    return known or (".csv" if form.separator is not None else None)


def _messages(flag: str, path: Path, found: list[_Found], form: Form) -> Piece:
    """Read a folder's `.txt` files, each a message."""
    sources: list[Source] = []
    cells: dict[str, list[object]] = {"text": [], "file": [], "folder": []}
    for one in found:
        raw = _bytes(one)
        sources.append(_source(flag, one, raw))
        member = PurePosixPath(one.member)
        cells["text"].append(decoded(sources[-1].name, raw, form.encoding).strip())
        cells["file"].append(member.name[: -len(_MESSAGE)])
        cells["folder"].append(member.parent.name or path.name)
    columns = Columns(tuple(cells), cells, len(found), f"{len(found):,} .txt files, a message each")
    return Piece(shown(path), columns, tuple(sources), found[0].left_out)


def digests(data: DataConfig) -> tuple[Source, ...]:
    """Return all files of a configuration, without reading what is in them.

    Raises:
        DataError: when a file is missing or cannot be read.
    """
    form, sources = Form.of(data, None), list[Source]()
    for flag, path in data.inputs:
        with _named(flag):
            sources += [_source(flag, one, _bytes(one)) for one in _behind(path, form)]
    return tuple(sources)


def _source(flag: str, found: _Found, raw: bytes) -> Source:
    return Source(flag, found.path, found.member, hashlib.sha256(raw).hexdigest())


def _bytes(found: _Found) -> bytes:
    name = shown(found.path / found.member) if found.member else shown(found.path)
    try:
        return found.read()
    except FileNotFoundError as error:
        raise UnreadableFile(f"no file {name}; expected the path of a data file") from error
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:  # an archive's, of a password for example
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UnreadableFile(f"cannot read {name}: {reason}; expected a readable file") from error


def fingerprint(sources: Collection[Source]) -> str:
    """Return one digest of files and of their names in folders, wherever these lie: hex SHA-256.

    Of a single file it is that of its bytes, what `sha256sum` prints.
    """
    found = list(sources)
    if len(found) == 1 and not found[0].member:
        return found[0].sha256
    lines = "".join(f"{one.flag}\0{one.member}\0{one.sha256}\n" for one in found)
    return hashlib.sha256(lines.encode()).hexdigest()
