"""Where a device's memory lies: a sealed file that is replaced whole, by one user at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from filelock import FileLock, Timeout

from fl_client.device.contents import decode, encode
from fl_client.device.memory import Memory, NewerMemory, StoreError
from privacy.base.files import leftovers, write_atomically

STORE_KEY_BYTES = 32
LOCK_TIMEOUT_S = 300.0
"""How long a user of a memory waits for another, in seconds: it may be training."""
_NONCE_BYTES = 12
_PURPOSE = b"havenfl/device/store/1"


class DeviceStore(Protocol):
    """Durable memory of one device."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep every other user of this memory out, in this process and in others; may be nested.

        Raises:
            StoreError: when another user does not let go.
        """
        ...

    def load(self) -> Memory:
        """Return what was saved last.

        Raises:
            StoreError: when there is nothing, or nothing that can be read.
        """
        ...

    def save(self, memory: Memory) -> None:
        """Replace the memory; returns once the new one will survive a crash."""
        ...


class FileStore:
    """One file, encrypted by AES-256-GCM (SP 800-38D) under a key of the host's, and replaced atomically.

    An older copy of the file, put back by whoever controls the disk, is not noticed: what the device counted since is
    then forgotten. A host that has a monotonic counter should keep the file under it.

    The file of any earlier version is read, and is of this version from the next save on; see `contents`.

    Raises:
        StoreError: on reading, when the file is missing or damaged, was sealed under another key or was written by a
            newer version: a device that cannot tell what it did must not go on.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        """Open the store, without reading the file yet.

        Raises:
            ValueError: when the key is not 32 bytes long.
        """
        if len(key) != STORE_KEY_BYTES:
            raise ValueError(f"key: expected {STORE_KEY_BYTES} bytes, got {len(key)}")
        self._path = path
        self._cipher = AESGCM(key)
        self._lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_TIMEOUT_S)

    def __repr__(self) -> str:
        return f"FileStore({self._path.name})"

    @classmethod
    def create(cls, path: Path, key: bytes) -> FileStore:
        """Begin the empty memory of a new device.

        Raises:
            FileExistsError: when there is a memory already.
        """
        store = cls(path, key)
        with store.exclusive():
            if path.exists():
                raise FileExistsError(f"{path}: there is a memory already")
            store.save(Memory())
        return store

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other user of the file out, in this process and in others; may be nested."""
        try:
            self._lock.acquire()
        except Timeout:
            raise StoreError(
                f"device store: {self._path.name} has been in use by somebody else for {LOCK_TIMEOUT_S:g} s"
            ) from None
        except OSError as error:
            raise StoreError(f"device store: {self._path.name} cannot be locked: {error.strerror}") from error
        try:
            yield
        finally:
            self._lock.release()

    def load(self) -> Memory:
        """Return the memory in the file."""
        try:
            sealed = self._path.read_bytes()
        except FileNotFoundError:
            raise StoreError(
                f"device store: {self._path.name} is missing, and with it what this device did; see `fl-client recover`"
            ) from None
        except OSError as error:
            raise StoreError(f"device store: {self._path.name} cannot be read: {error.strerror}") from error
        try:
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _PURPOSE)
            return decode(plain, self._path.name)
        except (InvalidTag, ValueError):
            raise StoreError(
                f"device store: expected {self._path.name} as this device's key sealed it, got damaged data; "
                "see `fl-client recover`"
            ) from None

    def save(self, memory: Memory) -> None:
        """Replace the memory in the file."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, encode(memory), _PURPOSE)
        with self.exclusive():
            for left in leftovers(self._path):
                left.unlink(missing_ok=True)
            write_atomically(self._path, sealed, mode=0o600)

    def recover(self, participations: int) -> None:
        """Begin a memory anew where the old one is lost, and count what may have been in it.

        Args:
            participations: the most rounds that the device can have taken part in; they count for life, and in every
                task that is asked of it from now on.

        Raises:
            ValueError: when the memory is whole, or `participations` is below 0.
            StoreError: when it is another's to use, or a newer version's.
        """
        if participations < 0:
            raise ValueError(f"participations: expected 0 or more, got {participations}")
        with self.exclusive():
            try:
                self.load()
            except NewerMemory:
                raise
            except StoreError:
                self.save(Memory(participations_lost=participations))
            else:
                raise ValueError(f"{self._path.name}: it is whole; there is nothing to recover")
