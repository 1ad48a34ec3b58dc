"""Randomness of a seed, for simulations: whoever knows the seed can recompute, and remove, all noise.

Nothing imports `simulations`, so no device or server outside a simulation can build one of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from privacy.base.canonical import sha256
from privacy.base.randomness import SEED_BYTES, Keystream, Origin


class SeededRandomness:
    """A keystream that depends on nothing but its seed; implements `privacy.base.randomness.Randomness`."""

    origin: Origin = "seeded"

    def __init__(self, seed: bytes) -> None:
        self._stream = Keystream(seed)

    def token(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        return self._stream.read(size)


@dataclass(frozen=True)
class SeedTree:
    """Independent streams by name: each label's stream is the same however many others were drawn before it."""

    node: bytes = field(repr=False)

    @classmethod
    def root(cls, seed: int) -> SeedTree:
        """Return the tree of a run's seed."""
        return cls(sha256(b"havenfl/seed/1", str(seed).encode()))

    def child(self, *labels: str | int | bytes) -> SeedTree:
        """Return the subtree under `labels`; a label of another type is another label."""
        node = self.node
        for label in labels:
            raw = label if isinstance(label, bytes) else f"{type(label).__name__}:{label}".encode()
            node = sha256(node, len(raw).to_bytes(4, "big"), raw)
        return SeedTree(node)

    def key(self) -> bytes:
        """Return 32 bytes of this node, for a signing key."""
        return sha256(self.node, b"key")

    def integer(self) -> int:
        """Return a seed of 63 bits of this node, for libraries that take one."""
        return int.from_bytes(sha256(self.node, b"integer")[:8], "big") >> 1

    def unit(self) -> float:
        """Return a multiple of 2^-53 in [0, 1) of this node: a coin to compare with a probability."""
        return (self.integer() >> 10) * 2.0**-53

    def stream(self) -> SeededRandomness:
        """Return the random stream of this node, from its beginning."""
        return SeededRandomness((sha256(self.node, b"stream/1") + sha256(self.node, b"stream/2"))[:SEED_BYTES])
