"""Bytes to text: decompressed, and decoded by the encoding that the user names; a refusal names one that would do."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable

from simulations.data.errors import UnreadableFile, counted, quoted

COMPRESSIONS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    ".gz": ("gzip", gzip.decompress),
    ".bz2": ("bzip2", bz2.decompress),
    ".xz": ("xz", lzma.decompress),
}
"""By the ending of a file's name: the format's name, and what undoes it."""

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_AROUND = 20


def decompressed(name: str, raw: bytes, ending: str) -> bytes:
    """Decompress a file by the ending of its name.

    Raises:
        UnreadableFile: when it is damaged, or not what the name promises.
    """
    kind, undo = COMPRESSIONS[ending]
    try:
        return undo(raw)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise UnreadableFile(f"{name} is damaged or not {kind} ({error}); fetch or compress it again") from error


def decoded(name: str, raw: bytes, encoding: str) -> str:
    """Decode a file; a byte order mark is no content.

    Raises:
        UnreadableFile: when the bytes are not in the encoding; the message names `--encoding` with one that they are
            in.
    """
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            f"{name} is not in {encoding}: got byte 0x{raw[error.start]:02x} at offset {error.start}; "
            f"{_advice(raw, error.start)}"
        ) from error
    except UnicodeError as error:
        raise UnreadableFile(f"{name} is not in {encoding} ({error}); name another --encoding") from error
    if "\0" in text and _zeros(raw):
        raise UnreadableFile(f"{name} is not in {encoding}: it is full of zero bytes; {_advice(raw, 0)}")
    return text.removeprefix("\ufeff")


def _advice(raw: bytes, offset: int) -> str:
    """Say what would help: an encoding in which the bytes are text, with what they would then be."""
    encoding = _UTF16.get(raw[:2]) or _zeros(raw)
    if encoding is not None:
        return f"it looks like UTF-16: add --encoding {encoding}"
    broken = _broken_sequences(raw)
    if broken is not None:
        line = raw.count(b"\n", 0, offset) + 1
        places = counted(broken, "place")
        return f"all but {places} of it is UTF-8: mend them, the first in line {line}, or drop them with `iconv -c`"
    for encoding in ("cp1252", "latin-1"):
        try:
            around = raw[max(0, offset - _AROUND) : offset + _AROUND].decode(encoding)
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return (
            f"add --encoding with the one it was saved in: {encoding} (Western European) would make "
            f"{quoted(around, 60)} of the place"
        )
    raise AssertionError("latin-1 decodes anything")


def _zeros(raw: bytes) -> str | None:
    """Return the UTF-16 without a mark that the bytes of Western text would be, by where the zeros are."""
    start = raw[: 1 << 12]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) <= len(start) // 8:
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _broken_sequences(raw: bytes) -> int | None:
    """Return how many places are no UTF-8 in bytes of which most beyond ASCII are; None for other bytes."""
    text = raw.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    whole = sum(not character.isascii() for character in text) - broken
    return broken if whole > broken else None
