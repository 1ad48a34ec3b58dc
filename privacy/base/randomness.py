"""Uniform bytes, and where they come from.

Production code can only build `SystemRandomness`. Predictable sources exist in `simulations`, which nothing imports,
and in `privacy.audit`, which replays bytes for encodings that never leave it. Whoever draws for a task asks
`require_origin` first, so that neither reaches a real device by accident.
"""

from __future__ import annotations

import os
from typing import Literal, Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

Origin = Literal["system", "seeded"]

KEY_BYTES = 32
"""Length of an AES-256 key."""
SEED_BYTES = KEY_BYTES + 16
"""Length of an AES-256 key followed by the initial counter block."""


class RandomnessError(ValueError):
    """A source whose bytes can be recomputed, where a task promises the operating system's."""


class Randomness(Protocol):
    """A source of independent uniform bytes."""

    @property
    def origin(self) -> Origin:
        """Where the bytes come from; of `seeded` ones all can be recomputed, so no real guarantee may rest on them."""
        ...

    def token(self, size: int) -> bytes:
        """Return `size` uniform bytes."""
        ...


class Keystream:
    """AES-256-CTR keystream (NIST SP 800-38A) of a secret seed of 48 bytes.

    Raises:
        ValueError: when the seed has another length.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"seed: expected {SEED_BYTES} bytes, got {len(seed)}")
        self._encryptor = Cipher(algorithms.AES(seed[:KEY_BYTES]), modes.CTR(seed[KEY_BYTES:])).encryptor()

    def __repr__(self) -> str:
        return "Keystream(…)"

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes of the stream."""
        return self._encryptor.update(bytes(size))

    def xor_into(self, data: memoryview, out: memoryview) -> None:
        """Write `data` XOR the next bytes of the stream over `out`, of the same length, without allocating."""
        self._encryptor.update_into(data, out)


class SystemRandomness:
    """The operating system's CSPRNG, stretched by AES-256-CTR so that noise for a large vector is cheap."""

    origin: Origin = "system"

    def __init__(self) -> None:
        self._stream = Keystream(os.urandom(SEED_BYTES))

    def __repr__(self) -> str:
        return "SystemRandomness()"

    def token(self, size: int) -> bytes:
        """Return `size` bytes that nobody can predict."""
        return self._stream.read(size)


def require_origin(promised: Origin, rng: Randomness) -> None:
    """Require that a source keeps what a task promises; the system's is good enough for any.

    Args:
        promised: the task's `randomness`.
        rng: the source that is about to be drawn from.

    Raises:
        RandomnessError: when the system's is promised, and the source is not the system's.
    """
    if promised != "seeded" and rng.origin != "system":
        raise RandomnessError(
            f"randomness: expected the operating system's, as the task promises, got a source that is {rng.origin}; "
            "whoever knows its seed can remove the noise"
        )


def uniform_words(rng: Randomness, size: int, dtype: type[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Draw `size` independent uniform words.

    Args:
        rng: source of the bits.
        size: how many words.
        dtype: unsigned, of the width wanted.

    Returns:
        dtype[size], little-endian and read-only.
    """
    little = np.dtype(dtype).newbyteorder("<")
    return np.frombuffer(rng.token(size * little.itemsize), dtype=little)


def uniform_unit(rng: Randomness, size: int) -> NDArray[np.float64]:
    """Draw `size` uniform multiples of 2^-53 in [0, 1), coins to compare with a probability: float64[size]."""
    return (uniform_words(rng, size, np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53
