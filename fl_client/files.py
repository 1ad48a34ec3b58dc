"""A device's own directory: keys that never leave it, its enrolment, its memory and its messages."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from numpy.typing import NDArray
from pydantic import ValidationError

from fl_client.device import Device, Train
from fl_client.features import hash_texts
from fl_client.store import FileStore
from fl_client.training import Examples, LocalTrainer
from privacy.canonical import Frozen
from privacy.randomness import KEY_BYTES, Randomness, SystemRandomness
from privacy.secagg.client import Trust
from privacy.secagg.identity import Certificate
from privacy.signing import Signer
from privacy.states import Update
from privacy.task import FeatureSpec, TaskSpec

_IDENTITY, _IDENTITY_PUBLIC = "identity.key", "identity.pub"
_NODE_KEY, _NODE_PUBLIC = "node.key", "node.key.pub"
_ENROLMENT, _MEMORY, _MESSAGES = "enrolment.json", "memory.json", "messages.csv"


class DeviceFilesError(ValueError):
    """A device directory that is incomplete or damaged; the message names the file and says what to do."""


class Enrolment(Frozen):
    """What the operator gives a device: its certificate, and the two public keys to trust; all in hex."""

    certificate: str
    operator: str
    authority: str


@dataclass(frozen=True)
class DeviceDirectory:
    """The files of one device."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> DeviceDirectory:
        """A new directory with fresh keys; `identity.pub` and `node.key.pub` are for the operator.

        Raises:
            DeviceFilesError: when the directory exists.
        """
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise DeviceFilesError(f"{path}: expected a new path: {error.strerror or error}") from error
        seed = os.urandom(KEY_BYTES)
        _write_secret(path / _IDENTITY, seed)
        (path / _IDENTITY_PUBLIC).write_text(Signer.from_seed(seed).public.hex() + "\n")
        node = ec.generate_private_key(ec.SECP384R1())
        _write_secret(path / _NODE_KEY, node.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public = node.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        (path / _NODE_PUBLIC).write_bytes(public + b"\n")
        return cls(path)

    @property
    def node_key(self) -> Path:
        """OpenSSH ECDSA key (P-384) that authenticates this device to the SuperLink."""
        return self.path / _NODE_KEY

    def device(self) -> Device:
        """The device, ready to answer.

        Raises:
            DeviceFilesError: when a file is missing or damaged.
        """
        try:
            identity = Signer.from_seed((self.path / _IDENTITY).read_bytes())
            enrolment = Enrolment.model_validate_json((self.path / _ENROLMENT).read_bytes())
            certificate = Certificate.decode(bytes.fromhex(enrolment.certificate))
            trust = Trust(bytes.fromhex(enrolment.operator), bytes.fromhex(enrolment.authority))
        except FileNotFoundError as error:
            raise DeviceFilesError(
                f"{error.filename}: missing; make the device with `fl-client init`, enrol it"
            ) from error
        except (ValidationError, ValueError, OSError) as error:
            raise DeviceFilesError(f"{self.path}: damaged keys or {_ENROLMENT}: {error}") from error
        return Device(
            identity=identity,
            certificate=certificate,
            trust=trust,
            store=FileStore(self.path / _MEMORY),
            train=_local_training(self.messages()),
            randomness_for=_system_randomness,
        )

    def messages(self) -> list[tuple[str, int]]:
        """Text and label of each message on this device; none when there is no `messages.csv`.

        Raises:
            DeviceFilesError: when a line is not a text and a label of 0 or 1.
        """
        path = self.path / _MESSAGES
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            return [_message(path, rows.line_num, row) for row in rows]


def _message(path: Path, line: int, row: dict[str, str]) -> tuple[str, int]:
    text, label = row.get("text"), row.get("label")
    if not text or label not in {"0", "1"}:
        raise DeviceFilesError(f"{path}, line {line}: expected columns text and label, the label 0 or 1")
    return text, int(label)


def _local_training(messages: list[tuple[str, int]]) -> Train:
    """Training on these messages; a trainer of its own, for devices of one host train in threads of their own."""
    labels = np.array([label for _, label in messages], np.float32)
    trainer = lru_cache(maxsize=1)(LocalTrainer)

    @lru_cache(maxsize=1)
    def examples(features: FeatureSpec) -> Examples:
        return Examples(hash_texts(features, [text for text, _ in messages]), labels)

    def train(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:
        return trainer(task).train(weights, examples(task.features), rng)

    return train


def _system_randomness(stage: str, request: bytes) -> Randomness:  # noqa: ARG001 - fresh for every request
    return SystemRandomness()


def _write_secret(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
