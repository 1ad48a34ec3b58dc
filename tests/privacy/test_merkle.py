"""Against the recursive definition in RFC 6962, section 2.1."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from privacy.merkle import Frontier, leaf_hash


def recursive_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + recursive_root(leaves[:split]) + recursive_root(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_the_frontier_has_the_root_of_every_prefix(leaves: list[bytes]) -> None:
    frontier = Frontier()
    for size, leaf in enumerate(leaves):
        assert frontier.root() == recursive_root(leaves[:size])
        frontier.append(leaf_hash(leaf))
    assert frontier.size == len(leaves)
    assert frontier.root() == recursive_root(leaves)
