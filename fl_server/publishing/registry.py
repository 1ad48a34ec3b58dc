"""Published models: content-addressed directories, and channels that point to one of them.

A channel is a symbolic link, moved by one atomic rename: a reader finds the old release or the new one, whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.base.canonical import canonical_json
from privacy.base.files import sync_directory, write_atomically
from privacy.base.signing import SignatureError, Signer, key_id
from privacy.release.files import (
    CARD_FILE,
    MODEL_FILE,
    REPORT_FILE,
    STATEMENT_FILE,
    TASK_FILE,
    open_statement,
    pack_tensors,
    release_name,
    sign_statement,
    unpack_tensors,
)
from privacy.task.task import TaskSpec

KEY_FILE = "operator.pub"
STABLE = "stable"
EXTRAPOLATED = "extrapolated"
"""The channel of models whose noise no real cohort would have had: nobody serves it."""


class RegistryError(RuntimeError):
    """A release that is missing, incomplete or not what its statement says."""


@dataclass(frozen=True)
class ReleaseContents:
    """What goes into a release beside the statement.

    Attributes:
        task: what the model was trained for.
        weights: float32[d].
        card: what a scorer needs beside the weights: the decision threshold, and how it was chosen.
        report: the privacy report, canonical JSON.
    """

    task: TaskSpec
    weights: NDArray[np.float32]
    card: Mapping[str, Any]
    report: bytes


@dataclass(frozen=True)
class ModelVersion:
    """A release that was verified when it was made or opened.

    Attributes:
        name: hash of the contents, 32 hex digits; also the directory's name.
        path: of the directory.
        task: what the model was trained for.
        weights: float32[d].
        card: what a scorer needs beside the weights.
        predicate: what the signed statement says beside the digests: task, parent release, head of the ledger.
    """

    name: str
    path: Path
    task: TaskSpec
    weights: NDArray[np.float32]
    card: Mapping[str, Any]
    predicate: Mapping[str, Any]


class Registry:
    """Releases in one directory, and channels that point to them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, contents: ReleaseContents, ledger_head: Mapping[str, Any], signer: Signer) -> ModelVersion:
        """Write, sign and verify a release, then point `stable` at it; `extrapolated`, if its task stands for a fleet.

        Publishing the same contents again is harmless: the name is the hash of the contents.

        Args:
            contents: what is published.
            ledger_head: the head of the ledger that paid for it.
            signer: the operator's key.

        Raises:
            RegistryError: when a release of that name is there and not whole.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        files = _files(contents)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        name = release_name(digests)
        channel = STABLE if contents.task.simulation.fleet is None else EXTRAPOLATED
        predicate = {
            "task": contents.task.id,
            "parent": self._name_in(channel),
            "ledger": dict(ledger_head),
            "extrapolated": contents.task.simulation.fleet is not None,
        }
        if not (self._root / name).exists():
            files[STATEMENT_FILE] = sign_statement(digests, predicate, signer)
            self._write(name, files)
        version = open_release(self._root / name, signer.public)
        write_atomically(self._root / KEY_FILE, signer.public.hex().encode() + b"\n")
        self._point(channel, name)
        return version

    def _write(self, name: str, files: Mapping[str, bytes]) -> None:
        staging = self._root / f".{name}.tmp"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        for file_name, data in files.items():
            write_atomically(staging / file_name, data)
        staging.rename(self._root / name)
        sync_directory(self._root)

    def _point(self, channel: str, name: str) -> None:
        temporary = self._root / f".{channel}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name, target_is_directory=True)
        temporary.replace(self._root / channel)
        sync_directory(self._root)

    def _name_in(self, channel: str) -> str | None:
        pointer = self._root / channel
        return pointer.readlink().name if pointer.is_symlink() else None


def open_release(path: Path, public_key: bytes | None = None) -> ModelVersion:
    """Read a release and check its statement and every digest.

    Args:
        path: of the release's directory, or of a channel.
        public_key: the operator's Ed25519 key. Without one, `operator.pub` beside the release is believed, which
            shows that nothing was damaged but not who made it.

    Raises:
        RegistryError: when it is not a whole release signed by that key.
    """
    path = path.resolve()
    if not (path / STATEMENT_FILE).is_file():
        raise RegistryError(f"{path}: expected a release directory with {STATEMENT_FILE}")
    try:
        key = public_key or bytes.fromhex((path.parent / KEY_FILE).read_text())
        digests, predicate = open_statement((path / STATEMENT_FILE).read_bytes(), key)
        files = {name: (path / name).read_bytes() for name in (MODEL_FILE, TASK_FILE, CARD_FILE, REPORT_FILE)}
    except (SignatureError, OSError, ValueError) as error:
        raise RegistryError(f"{path}: {error}") from error
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != digests.get(name):
            raise RegistryError(f"{path}: {name} is not what key {key_id(key)} signed")
    task = TaskSpec.model_validate_json(files[TASK_FILE])
    weights = unpack_tensors(files[MODEL_FILE], task.model)
    return ModelVersion(path.name, path, task, weights, json.loads(files[CARD_FILE]), predicate)


def _files(contents: ReleaseContents) -> dict[str, bytes]:
    return {
        MODEL_FILE: pack_tensors(contents.weights, contents.task.model),
        TASK_FILE: contents.task.canonical(),
        CARD_FILE: canonical_json(dict(contents.card)),
        REPORT_FILE: contents.report,
    }
