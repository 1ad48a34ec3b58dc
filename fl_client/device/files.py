"""A device's own directory: keys that never leave it, its enrolment, its memory and its messages."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from privacy.base.files import write_secret

if TYPE_CHECKING:
    from fl_client.device.enrolment import Enrolment
    from privacy.secagg.primitives.keys import DeviceKeys

# Each method imports what it needs: a host application that only looks where a device is should not pay for the rest.

_IDENTITY, _REQUEST, _ENROLMENT = "identity.key", "enrolment-request.bin", "enrolment.json"
_NODE_KEY, _NODE_PUBLIC = "node.key", "node.key.pub"
_STORE_KEY, _MEMORY, _MESSAGES = "store.key", "memory.bin", "messages.csv"
_KEY_BYTES = 32
"""Length of the seed of a device's identity, and of the key of its memory."""


class DeviceFilesError(ValueError):
    """A device directory that is incomplete or damaged; the message names the file and says what to do."""


@dataclass(frozen=True)
class DeviceDirectory:
    """The files of one device."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> DeviceDirectory:
        """Make a new directory with fresh keys and an empty memory, without which the device takes no part.

        `enrolment-request.bin` is for the enrolment authority, `node.key.pub` for the SuperLink's operator.

        Raises:
            DeviceFilesError: when the directory exists.
        """
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

        from fl_client.device.store import FileStore
        from privacy.secagg.membership.identity import EnrolmentRequest
        from privacy.secagg.primitives.keys import DeviceKeys

        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise DeviceFilesError(f"{path}: expected a new path: {error.strerror or error}") from error
        seed = os.urandom(_KEY_BYTES)
        write_secret(path / _IDENTITY, seed)
        (path / _REQUEST).write_bytes(EnrolmentRequest.by(DeviceKeys.from_seed(seed)).encode())
        store_key = os.urandom(_KEY_BYTES)
        write_secret(path / _STORE_KEY, store_key)
        FileStore.create(path / _MEMORY, store_key)
        node = ec.generate_private_key(ec.SECP384R1())
        write_secret(path / _NODE_KEY, node.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public = node.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        (path / _NODE_PUBLIC).write_bytes(public + b"\n")
        return cls(path)

    @property
    def node_key(self) -> Path:
        """The file of the OpenSSH ECDSA key (P-384) that authenticates this device to the SuperLink."""
        return self.path / _NODE_KEY

    def keys(self) -> DeviceKeys:
        """Read this device's secret keys.

        Raises:
            DeviceFilesError: when their seed is missing or damaged.
        """
        from privacy.secagg.primitives.keys import DeviceKeys

        return DeviceKeys.from_seed(self._read(_IDENTITY, _KEY_BYTES))

    def store_key(self) -> bytes:
        """Read the key that encrypts the device's memory, 32 bytes.

        An application would keep it in the platform's keystore.

        Raises:
            DeviceFilesError: when it is missing or damaged.
        """
        return self._read(_STORE_KEY, _KEY_BYTES)

    def enrolment(self) -> Enrolment:
        """Read what the enrolment authority answered.

        Raises:
            DeviceFilesError: when it is missing, damaged or another device's.
        """
        from pydantic import ValidationError

        from fl_client.device.enrolment import Enrolment
        from privacy.base.errors import what_is_wrong

        data, keys = self._read(_ENROLMENT), self.keys()
        try:
            enrolment = Enrolment.model_validate_json(data)
        except ValidationError as error:
            raise DeviceFilesError(f"{self.path / _ENROLMENT}: {what_is_wrong(error)}") from error
        if (enrolment.issued.identity, enrolment.issued.agreement) != (keys.identity.public, keys.agreement.public):
            raise DeviceFilesError(
                f"{self.path / _ENROLMENT}: expected a certificate of this device's keys, not others"
            )
        return enrolment

    @property
    def memory(self) -> Path:
        """The file in which the device remembers, encrypted, which rounds it answered and how often it took part."""
        return self.path / _MEMORY

    def recover(self, participations: int) -> None:
        """Begin the memory anew where the old one is missing or damaged.

        Args:
            participations: the most rounds that the device can have taken part in; they count for life, and in every
                task that is asked of it from now on.

        Raises:
            DeviceFilesError: when the memory is whole, the number below 0, or the memory's key missing or damaged.
            StoreError: when it is in use, or a newer version's.
        """
        from fl_client.device.store import FileStore

        try:
            FileStore(self.memory, self.store_key()).recover(participations)
        except ValueError as error:
            raise DeviceFilesError(str(error)) from error

    def messages(self) -> list[tuple[str, int]]:
        """Read the text and the label, 0 or 1, of each message on this device; none without a `messages.csv`.

        Raises:
            DeviceFilesError: when it is not UTF-8, or a line is not a text and a label of 0 or 1.
        """
        path = self.path / _MESSAGES
        if not path.exists():
            return []
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                return [_message(path, rows.line_num, row) for row in rows]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DeviceFilesError(f"{path}: expected CSV in UTF-8: {error}") from error

    def _read(self, name: str, size: int | None = None) -> bytes:
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise DeviceFilesError(
                f"{self.path / name}: {error.strerror or error}; make devices with `fl-client init`, then enrol them"
            ) from error
        if size is not None and len(data) != size:
            raise DeviceFilesError(f"{self.path / name}: expected {size} bytes, got {len(data)}")
        return data


def _message(path: Path, line: int, row: dict[str, str]) -> tuple[str, int]:
    text, label = row.get("text"), row.get("label")
    if not text or label not in {"0", "1"}:
        raise DeviceFilesError(f"{path}, line {line}: expected columns text and label, the label 0 or 1")
    return text, int(label)
