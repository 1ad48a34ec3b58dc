"""Ed25519 keys in files: 32 secret bytes, readable by their owner alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from privacy.base.signing import Signer


_SEED_BYTES = 32


def new_key(path: Path) -> Signer:
    """Make a key, and write it with its `.pub` beside it; an existing file is never overwritten.

    Raises:
        EvidenceError: when a file is there already, or cannot be written.
    """
    from privacy.base.signing import Signer
    from privacy.verification.evidence import EvidenceError

    key = Ed25519PrivateKey.generate()
    signer = Signer(key)
    try:
        for name, data, mode in (
            (path, key.private_bytes_raw(), 0o600),
            (path.with_name(f"{path.name}.pub"), f"{signer.public.hex()}\n".encode(), 0o644),
        ):
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise EvidenceError(f"key: expected to write a new file {error.filename}: {error.strerror}") from error
    return signer


def read_key(option: str, path: Path) -> Signer:
    """Read a key that `new_key` wrote.

    Raises:
        EvidenceError: when the file holds none; the message names the option and never the content.
    """
    from privacy.base.signing import Signer
    from privacy.verification.evidence import EvidenceError

    try:
        seed = path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"{option}: {path}: {error.strerror}") from error
    if len(seed) != _SEED_BYTES:
        raise EvidenceError(f"{option}: expected a key of {_SEED_BYTES} bytes in {path}, got {len(seed)} bytes")
    return Signer.from_seed(seed)
