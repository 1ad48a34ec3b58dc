"""Stores in memory: of a ledger, and of a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from fl_client.device.memory import Memory


class DiskFullError(OSError):
    pass


class MemoryStore:
    """A `LedgerStore` whose next commit can be made to fail."""

    def __init__(self) -> None:
        self.rows: list[tuple[bytes, bytes]] = []
        self.full = False

    @contextmanager
    def transaction(self) -> Iterator[MemoryStore]:
        before = list(self.rows)
        try:
            yield self
            if self.full and self.rows != before:
                raise DiskFullError
        except BaseException:
            self.rows = before
            raise

    def entries(self, start: int) -> Sequence[bytes]:
        return [entry for entry, _ in self.rows[start:]]

    def head(self) -> bytes | None:
        return self.rows[-1][1] if self.rows else None

    def append(self, seq: int, entry: bytes, head: bytes) -> None:
        if seq != len(self.rows):
            raise ValueError(f"seq: expected {len(self.rows)}, got {seq}")
        self.rows.append((entry, head))


class MemoryDeviceStore:
    """A `DeviceStore` that forgets with the process."""

    def __init__(self) -> None:
        self._memory = Memory()

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def load(self) -> Memory:
        return self._memory

    def save(self, memory: Memory) -> None:
        self._memory = memory
