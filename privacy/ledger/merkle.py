"""The Merkle tree of RFC 6962, section 2.1, over SHA-256, with its audit paths and consistency proofs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from privacy.base.canonical import sha256

EMPTY_ROOT = sha256()
"""Head of the tree without leaves."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the 32-byte hash of a leaf, MTH({leaf})."""
    return sha256(b"\x00", leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of an inner node over those of its children."""
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
        """Return the Merkle tree head of the leaves so far: 32 bytes."""
        if not self._roots:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self._roots))


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree head, 32 bytes, of 32-byte leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return PATH(index, leaves) of section 2.1.1: the hashes that show leaf `index` to be in the tree.

    Raises:
        ValueError: when there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise ValueError(f"index: expected 0 to {len(leaves) - 1}, got {index}")
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion_proof(leaves[:split], index), root_of(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), root_of(leaves[:split])]


def root_by_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the head of the tree that `proof` shows to hold a leaf; it holds if that is the head known otherwise.

    Args:
        leaf: hash of the leaf, 32 bytes.
        index: its place, counted from 0.
        size: leaves of the tree.
        proof: what `inclusion_proof` made.

    Raises:
        ValueError: when the proof's length does not fit the place.
    """
    if not 0 <= index < size:
        raise ValueError(f"index: expected 0 to {size - 1}, got {index}")
    if size == 1:
        _check_used_up(proof)
        return leaf
    if not proof:
        raise ValueError("proof: expected more hashes")
    split = _split(size)
    if index < split:
        return node_hash(root_by_inclusion(leaf, index, split, proof[:-1]), proof[-1])
    return node_hash(proof[-1], root_by_inclusion(leaf, index - split, size - split, proof[:-1]))


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """Return PROOF(size, leaves) of section 2.1.2: that the first `size` leaves are still the first.

    Raises:
        ValueError: when the smaller tree is empty or larger than the other.
    """
    if not 1 <= size <= len(leaves):
        raise ValueError(f"size: expected 1 to {len(leaves)}, got {size}")
    return _subproof(leaves, size, whole=True)


def roots_by_consistency(root: bytes, size: int, new_size: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the heads of the smaller and the larger tree that `proof` binds together.

    The proof holds if the first is `root` and the second is the larger tree's head.

    Args:
        root: head of the smaller tree, as believed.
        size: leaves of the smaller tree.
        new_size: leaves of the larger tree.
        proof: what `consistency_proof` made.

    Raises:
        ValueError: when the proof's length does not fit the sizes.
    """
    if not 1 <= size <= new_size:
        raise ValueError(f"size: expected 1 to {new_size}, got {size}")
    return _rebuild(root, size, new_size, proof, whole=True)


def _subproof(leaves: Sequence[bytes], size: int, *, whole: bool) -> list[bytes]:
    """Return SUBPROOF of section 2.1.2; `whole` where the subtree is the smaller tree, whose head the verifier has."""
    if size == len(leaves):
        return [] if whole else [root_of(leaves)]
    split = _split(len(leaves))
    if size <= split:
        return [*_subproof(leaves[:split], size, whole=whole), root_of(leaves[split:])]
    return [*_subproof(leaves[split:], size - split, whole=False), root_of(leaves[:split])]


def _rebuild(root: bytes, size: int, new_size: int, proof: Sequence[bytes], *, whole: bool) -> tuple[bytes, bytes]:
    if size == new_size and whole:
        _check_used_up(proof)
        return root, root
    if not proof:
        raise ValueError("proof: expected more hashes")
    if size == new_size:
        _check_used_up(proof[1:])
        return proof[0], proof[0]
    split, last = _split(new_size), proof[-1]
    if size <= split:
        old, new = _rebuild(root, size, split, proof[:-1], whole=whole)
        return old, node_hash(new, last)
    old, new = _rebuild(root, size - split, new_size - split, proof[:-1], whole=False)
    return node_hash(last, old), node_hash(last, new)


def _check_used_up(proof: Sequence[bytes]) -> None:
    if proof:
        raise ValueError(f"proof: expected {len(proof)} hashes less")


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)
