"""The floor under masking: AES-256-CTR keystream alone, at the speed of `cryptography`'s cipher."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from measure import cpu

_BUFFER_BYTES = 1 << 17
"""Stays in a core's second-level cache."""
_TRIES = 5


def keystream_seconds(nbytes: int) -> float:
    """CPU seconds to produce `nbytes` of keystream into one reused buffer, nothing kept: the best of several tries.

    Raises:
        ValueError: when nbytes is not positive.
    """
    if nbytes <= 0:
        raise ValueError(f"nbytes: expected a positive number, got {nbytes}")
    _produce(64 * _BUFFER_BYTES)
    return min(cpu(lambda: _produce(nbytes))[0] for _ in range(_TRIES))


def _produce(nbytes: int) -> None:
    zeros, keystream = memoryview(bytes(_BUFFER_BYTES)), bytearray(_BUFFER_BYTES)
    encryptor = Cipher(AES256(os.urandom(32)), CTR(os.urandom(16))).encryptor()
    for _ in range(nbytes // _BUFFER_BYTES):
        encryptor.update_into(zeros, keystream)
    encryptor.update_into(zeros[: nbytes % _BUFFER_BYTES], keystream)
