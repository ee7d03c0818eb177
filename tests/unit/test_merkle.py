"""The Merkle tree: the vectors of RFC 9162 and of Certificate Transparency, and the opinion of pymerkle.

Proofs are made by the product and checked by the verifier that an auditor gets, which shares no line with it.
"""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from pymerkle import InmemoryTree

from reconciler.domain.proofs.merkle import (
    Node,
    Span,
    Tree,
    above,
    consistency,
    inclusion,
    leaf_hash,
    peaks,
    with_parents,
)
from tests.verifier import VERIFIER, Differs

# The leaves and the roots that Certificate Transparency's implementations test themselves with.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
MANY = 40


class Grown:
    """A tree with all its nodes, as a database keeps them."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.hashes: dict[Node, bytes] = {}
        self.roots = [hashlib.sha256().digest()]
        self.leaves = [leaf_hash(entry) for entry in entries]
        tree = Tree()
        for position, leaf in enumerate(self.leaves):
            self.hashes[Node(0, position)] = leaf
            self.hashes.update(tree.add(leaf))
            self.roots.append(tree.root())

    def proof(self, spans: Sequence[Span]) -> list[bytes]:
        return [span.hash(self.hashes) for span in spans]


@pytest.fixture(scope="module")
def grown() -> Grown:
    return Grown([f"entry {number}".encode() for number in range(MANY)])


def test_many_leaves_at_once_make_the_same_nodes_as_one_after_the_other(grown: Grown) -> None:
    for first in range(MANY):
        for end in range(first, MANY + 1):
            tree = Tree(first, [grown.hashes[node] for node in peaks(first)])
            runs = list(tree.extend(grown.leaves[first:end]))
            assert (tree.size, tree.root()) == (end, grown.roots[end])
            made = {Node(level, at): one for level, begin, many in runs for at, one in enumerate(many, begin)}
            complete = {
                node for node in grown.hashes if first < (node.position + 1) << node.level <= end and node.level
            }
            assert made == {node: grown.hashes[node] for node in complete}


def test_a_part_of_a_tree_that_is_made_at_once_is_taken_in(grown: Grown) -> None:
    tree, made = Tree(), dict[Node, bytes]()
    for first in range(0, MANY, 8):
        part = Tree.of_part(first)
        # In two batches, as it is read.
        runs = [*part.extend(grown.leaves[first : first + 3]), *part.extend(grown.leaves[first + 3 : first + 8])]
        runs += tree.take(part)
        made |= {Node(level, at): one for level, begin, many in runs for at, one in enumerate(many, begin)}
    assert tree.root() == grown.roots[MANY]
    assert made == {node: hash_ for node, hash_ in grown.hashes.items() if node.level}


@pytest.fixture(scope="module")
def other() -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for number in range(MANY):
        tree.append_entry(f"entry {number}".encode())
    return tree


def _path(proof: Any) -> list[bytes]:
    return [bytes.fromhex(part) for part in proof.serialize()["path"]]


def test_the_roots_are_those_of_certificate_transparency() -> None:
    assert [root.hex() for root in Grown(LEAVES).roots[1:]] == ROOTS


def test_the_proofs_are_the_examples_of_rfc_9162() -> None:
    """Section 2.1.5: a tree of seven leaves, whose nodes have names."""
    names = {"a": (0, 1), "b": (1, 1), "c": (2, 1), "d": (3, 1), "e": (4, 1), "f": (5, 1), "j": (6, 1), "g": (0, 2),
             "h": (2, 2), "i": (4, 2), "k": (0, 4), "l": (4, 3)}  # fmt: skip
    named = {Span(*span): name for name, span in names.items()}
    paths = {leaf: "".join(named[span] for span in inclusion(leaf, 7)) for leaf in (0, 3, 4, 6)}
    assert paths == {0: "bhl", 3: "cgl", 4: "fjk", 6: "ik"}
    proofs = {older: "".join(named[span] for span in consistency(older, 7)) for older in (3, 4, 6)}
    assert proofs == {3: "cdgl", 4: "l", 6: "ijk"}


def test_pymerkle_has_the_same_roots_and_proofs(grown: Grown, other: InmemoryTree) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for size in range(1, MANY + 1):
            assert other.get_state(size) == grown.roots[size]
            for leaf in range(size):
                # Theirs begins with the leaf itself.
                theirs = _path(other.prove_inclusion(leaf + 1, size))
                assert theirs == [grown.leaves[leaf], *grown.proof(inclusion(leaf, size))]


def test_every_proof_is_accepted_and_every_forged_one_is_refused(grown: Grown) -> None:
    for size in range(1, MANY + 1):
        for leaf in range(size):
            proof = grown.proof(inclusion(leaf, size))
            assert VERIFIER.root_by_inclusion(grown.leaves[leaf], leaf, size, proof) == grown.roots[size]
            for forged, at in _forged(proof, leaf, size):
                assert not _accepts_inclusion(grown, leaf, at, size, forged)


def _forged(proof: list[bytes], leaf: int, size: int) -> list[tuple[list[bytes], int]]:
    """Proofs that are cut, longer, in another order, changed, or of another leaf."""
    shorter, longer = proof[:-1], [*proof, hashlib.sha256().digest()]
    found = [(longer, leaf)] + ([(shorter, leaf), (proof[1:], leaf)] if proof else [])
    if len(proof) > 1 and proof[0] != proof[1]:
        found.append(([proof[1], proof[0], *proof[2:]], leaf))
    changed = [bytes([part[0] ^ 1]) + part[1:] for part in proof]
    found += [([*proof[:at], part, *proof[at + 1 :]], leaf) for at, part in enumerate(changed)]
    return [*found, *((proof, another) for another in (leaf - 1, leaf + 1, size, -1) if another != leaf)]


def _accepts_inclusion(grown: Grown, leaf: int, at: int, size: int, proof: list[bytes]) -> bool:
    try:
        return bool(VERIFIER.root_by_inclusion(grown.leaves[leaf], at, size, proof) == grown.roots[size])
    except Differs:
        return False


def test_every_extension_is_proven_and_every_forged_one_is_refused(grown: Grown) -> None:
    for size in range(1, MANY + 1):
        for older in range(1, size + 1):
            proof = grown.proof(consistency(older, size))
            roots = grown.roots[older], grown.roots[size]
            assert _accepts_extension(older, size, roots, proof)
            fork = hashlib.sha256(roots[0]).digest()
            assert not _accepts_extension(older, size, (fork, roots[1]), proof)
            assert not _accepts_extension(older, size, (roots[0], fork), proof)
            for forged in [forged for forged, _ in _forged(proof, 0, 1) if forged != proof]:
                assert not _accepts_extension(older, size, roots, forged)
            for another in {older - 1, older + 1, 0, size + 1} - {older}:
                assert not _accepts_extension(another, size, roots, proof)
    assert not _accepts_extension(3, 2, (grown.roots[3], grown.roots[2]), [])


def _accepts_extension(older: int, size: int, roots: tuple[bytes, bytes], proof: list[bytes]) -> bool:
    try:
        VERIFIER.check_consistency(older, size, *roots, proof)
    except Differs:
        return False
    return True


def test_a_shorter_log_extends_nothing_even_where_its_proof_is_empty(grown: Grown) -> None:
    """Verifiers that fail open accept an empty proof of two sizes that differ."""
    assert not _accepts_extension(4, 8, (grown.roots[4], grown.roots[4]), [])
    assert not _accepts_extension(5, 5, (grown.roots[5], grown.roots[6]), [])


def test_the_proofs_of_a_decision_by_the_next_head_need_thirty_rows_at_most_among_two_million_entries() -> None:
    """Its outcome and a head follow within a cycle, which adds some dozen entries. A policy may be far before it."""
    chance = random.Random(20261128)
    for _ in range(2_000):
        decision = chance.randrange(1_000, 2_100_000)
        outcome = decision + chance.randrange(1, 50)
        size = outcome + chance.randrange(1, 50)
        assert _rows({decision, outcome}, size) <= 30
        assert _rows({chance.randrange(1_000), decision, outcome}, size) <= 50


def _rows(leaves: set[int], size: int) -> int:
    nodes = {node for leaf in leaves for span in inclusion(leaf, size) for node in span.nodes()}
    return len(nodes - above(leaves, nodes))


def test_what_is_above_an_entry_is_made_of_it_and_the_rest_of_its_proof(grown: Grown) -> None:
    for leaves in ({0, 5, 6}, {7}, {1, 2, 30}):
        size = max(leaves) + 3
        nodes = {node for leaf in leaves for span in inclusion(leaf, size) for node in span.nodes()}
        nodes |= set(Span(0, size).nodes())
        made = above(leaves, nodes)
        at_hand = {Node(0, leaf): grown.leaves[leaf] for leaf in leaves}
        found = with_parents(made, {node: grown.hashes[node] for node in nodes - made} | at_hand)
        assert {node: found[node] for node in nodes} == {node: grown.hashes[node] for node in nodes}
        assert Span(0, size).hash(found) == grown.roots[size]
        with pytest.raises(KeyError):
            with_parents([Node(4, 0)], at_hand)
