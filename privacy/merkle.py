"""The Merkle tree of RFC 6962, section 2.1, over SHA-256."""

from __future__ import annotations

from functools import reduce

from privacy.canonical import sha256

EMPTY_ROOT = sha256()


def leaf_hash(leaf: bytes) -> bytes:
    """MTH({leaf}): 32 bytes."""
    return sha256(b"\x00", leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: 32 bytes."""
    return sha256(b"\x01", left, right)


class Frontier:
    """The roots of the perfect subtrees of a growing tree: O(log n) memory, O(log n) hashes per leaf at worst."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add the 32-byte hash of the next leaf."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self._roots.pop(), node)
            size >>= 1
        self._roots.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The Merkle tree head of the leaves so far: 32 bytes."""
        if not self._roots:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self._roots))
