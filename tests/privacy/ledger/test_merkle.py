"""Against the recursive definition in RFC 6962, section 2.1."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, strategies as st

from privacy.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_by_inclusion,
    root_of,
    roots_by_consistency,
)


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


# Certificate Transparency's own test tree (google/certificate-transparency, merkletree tests): leaves and heads.
CT_LEAVES = [bytes.fromhex(leaf) for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
CT_LEAVES.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
CT_HEAD_OF_8 = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_the_published_tree_has_its_published_head() -> None:
    assert root_of([leaf_hash(leaf) for leaf in CT_LEAVES]).hex() == CT_HEAD_OF_8


def hashed(count: int) -> list[bytes]:
    return [leaf_hash(bytes([number])) for number in range(count)]


@given(st.integers(1, 70).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_an_audit_path_leads_to_the_head_from_its_own_leaf_and_place_alone(where: tuple[int, int]) -> None:
    size, index = where
    leaves = hashed(size)
    proof, head = inclusion_proof(leaves, index), root_of(leaves)
    assert len(proof) <= (size - 1).bit_length()
    assert root_by_inclusion(leaves[index], index, size, proof) == head
    assert root_by_inclusion(leaf_hash(b"other"), index, size, proof) != head
    for place in range(len(proof)):
        assert root_by_inclusion(leaves[index], index, size, [*proof[:place], bytes(32), *proof[place + 1 :]]) != head
    with pytest.raises(ValueError, match="proof: expected"):
        root_by_inclusion(leaves[index], index, size, [*proof, bytes(32)])


@given(st.integers(1, 70).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size))))
def test_a_consistency_proof_binds_both_heads(sizes: tuple[int, int]) -> None:
    old, new = sizes
    leaves = hashed(new)
    proof, heads = consistency_proof(leaves, old), (root_of(leaves[:old]), root_of(leaves))
    assert roots_by_consistency(heads[0], old, new, proof) == heads
    for place in range(len(proof)):
        damaged = [*proof[:place], bytes(32), *proof[place + 1 :]]
        assert roots_by_consistency(heads[0], old, new, damaged) != heads
    with pytest.raises(ValueError, match="proof: expected"):
        roots_by_consistency(heads[0], old, new, [*proof, bytes(32)])


@given(st.integers(2, 40).flatmap(lambda size: st.tuples(st.integers(1, size - 1), st.just(size))), st.data())
def test_no_proof_joins_a_changed_past(sizes: tuple[int, int], data: st.DataObject) -> None:
    old, new = sizes
    leaves = hashed(new)
    changed = data.draw(st.integers(0, old - 1))
    rewritten = [*leaves[:changed], leaf_hash(b"rewritten"), *leaves[changed + 1 :]]
    heads = roots_by_consistency(root_of(leaves[:old]), old, new, consistency_proof(rewritten, old))
    assert heads != (root_of(leaves[:old]), root_of(rewritten))


@pytest.mark.parametrize(("size", "new"), [(0, 4), (5, 4)])
def test_impossible_sizes_are_refused(size: int, new: int) -> None:
    with pytest.raises(ValueError, match="size: expected 1 to 4"):
        consistency_proof(hashed(new), size)
    with pytest.raises(ValueError, match="size: expected 1 to 4"):
        roots_by_consistency(bytes(32), size, new, [])
    with pytest.raises(ValueError, match="index: expected 0 to 3"):
        inclusion_proof(hashed(new), 4)
    with pytest.raises(ValueError, match="index: expected 0 to 3"):
        root_by_inclusion(bytes(32), 4, 4, [])
