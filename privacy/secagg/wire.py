"""A strict binary encoding: fixed widths, little-endian, one encoding per value, no bytes left over."""

from __future__ import annotations

import struct
from typing import Any

from privacy.secagg.errors import WireError

_VERSION = b"hfl\x05"
_U32, _U64 = 4, 8


class Writer:
    """Builds one message, field by field."""

    def __init__(self, kind: int) -> None:
        self._parts = [_VERSION, bytes([kind])]

    def u32(self, value: int) -> Writer:
        """Append an unsigned integer of 32 bits."""
        self._parts.append(value.to_bytes(_U32, "little"))
        return self

    def u64(self, value: int) -> Writer:
        """Append an unsigned integer of 64 bits."""
        self._parts.append(value.to_bytes(_U64, "little"))
        return self

    def raw(self, value: bytes) -> Writer:
        """Append a field whose width the reader knows."""
        self._parts.append(value)
        return self

    def var(self, value: bytes) -> Writer:
        """Append a field preceded by its length."""
        return self.u32(len(value)).raw(value)

    def done(self) -> bytes:
        """Return the message."""
        return b"".join(self._parts)


class Reader:
    """Takes one message apart, field by field.

    Raises:
        WireError: by every method, when the bytes end early; by the constructor, when they are of another kind or
            version; by `end`, when some are left.
    """

    def __init__(self, data: bytes, kind: int) -> None:
        self._data = data
        self._at = 0
        head = self.raw(5)
        if head != _VERSION + bytes([kind]):
            raise WireError(f"message: expected kind {kind} of version {_VERSION[-1]}, got header {head.hex()}")

    def u32(self) -> int:
        """Read an unsigned integer of 32 bits."""
        return int.from_bytes(self.raw(_U32), "little")

    def u64(self) -> int:
        """Read an unsigned integer of 64 bits."""
        return int.from_bytes(self.raw(_U64), "little")

    def raw(self, size: int) -> bytes:
        """Read a field of `size` bytes."""
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise WireError(f"message: expected {size} more bytes at {self._at}, got {len(piece)}")
        self._at += size
        return piece

    def var(self) -> bytes:
        """Read a field preceded by its length."""
        return self.raw(self.u32())

    def text(self) -> str:
        """Read a field of UTF-8 preceded by its length."""
        try:
            return self.var().decode()
        except UnicodeDecodeError as error:
            raise WireError("message: expected UTF-8") from error

    def count(self, item_bytes: int, most: int | None = None) -> int:
        """Read a list's length, checked so that neither a lie nor a flood costs anything.

        Args:
            item_bytes: what an item takes; so many have to be there.
            most: the longest list that is taken; None where a signature over it is what limits it.
        """
        value = self.u32()
        if most is not None and value > most:
            raise WireError(f"message: expected at most {most} items, got {value}")
        if value * item_bytes > len(self._data) - self._at:
            raise WireError(f"message: expected {value} items of {item_bytes} bytes, got too few bytes")
        return value

    def records(self, layout: struct.Struct, most: int) -> list[tuple[Any, ...]]:
        """Read a list of at most `most` items of one layout, preceded by its length."""
        return list(layout.iter_unpack(self.raw(self.count(layout.size, most) * layout.size)))

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.raw(len(self._data) - self._at)

    def end(self) -> None:
        """Require that nothing is left."""
        if self._at != len(self._data):
            raise WireError(f"message: expected the end at {self._at}, got {len(self._data) - self._at} more bytes")
