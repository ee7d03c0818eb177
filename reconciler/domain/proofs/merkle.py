"""A Merkle tree with the hashing of RFC 9162 (section 2.1): one root stands for every entry, in their order.

A node is named by its level (0: the leaves) and its position on that level. The tree of a size is kept by its peaks:
the roots of the perfect subtrees that it is made of, by their levels, at most one a level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple


class Node(NamedTuple):
    level: int
    position: int


class Run(NamedTuple):
    """The hashes of nodes of one level that are next to each other, from a position on."""

    level: int
    position: int
    hashes: list[bytes]


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry. The prefix keeps an entry from passing for an interior node."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def peaks(size: int) -> list[Node]:
    """The nodes that a tree of `size` leaves is made of, the lowest first."""
    return [Node(level, (size >> level) - 1) for level in range(size.bit_length()) if size >> level & 1]


def above(leaves: Collection[int], nodes: Iterable[Node]) -> set[Node]:
    """Those of the nodes that a leaf is below: they are made of its hash and the other nodes of its proof."""
    return {node for node in nodes if any(leaf >> node.level == node.position for leaf in leaves)}


def with_parents(nodes: Iterable[Node], hashes: Mapping[Node, bytes]) -> dict[Node, bytes]:
    """With the hashes of these nodes, made of those below them. Raises KeyError where one of them is missing."""
    known = dict(hashes)

    def hash_of(node: Node) -> bytes:
        if node not in known and node.level:
            left, right = (Node(node.level - 1, 2 * node.position + side) for side in (0, 1))
            known[node] = node_hash(hash_of(left), hash_of(right))
        return known[node]

    for node in nodes:
        hash_of(node)
    return known


class Span(NamedTuple):
    """The leaves from one on, as a part of a tree that one hash of a proof stands for."""

    first: int
    size: int

    def nodes(self) -> list[Node]:
        """The perfect subtrees that it is made of, from the left."""
        found, at = [], self.first
        for level in reversed(range(self.size.bit_length())):
            if self.size >> level & 1:
                found.append(Node(level, at >> level))
                at += 1 << level
        return found

    def hash(self, hashes: Mapping[Node, bytes]) -> bytes:
        """Its hash, of the hashes of its nodes. Raises KeyError where one is missing."""
        *rest, result = [hashes[node] for node in self.nodes()]
        for left in reversed(rest):
            result = node_hash(left, result)
        return result


def inclusion(leaf: int, size: int) -> list[Span]:
    """What the proof that a leaf is in the tree of a size holds, in the order of RFC 9162, section 2.1.3.1."""
    spans, first = [], 0
    while size > 1:
        half = 1 << (size - 1).bit_length() - 1
        if leaf - first < half:
            spans.append(Span(first + half, size - half))
            size = half
        else:
            spans.append(Span(first, half))
            first, size = first + half, size - half
    return spans[::-1]


def consistency(older: int, size: int) -> list[Span]:
    """What the proof that the tree of a size extends an older one, which is not empty, holds: section 2.1.4.1."""
    spans, first, left = [], 0, older
    while left != size:
        half = 1 << (size - 1).bit_length() - 1
        if left <= half:
            spans.append(Span(first + half, size - half))
            size = half
        else:
            spans.append(Span(first, half))
            first, left, size = first + half, left - half, size - half
    # Where the older tree is a node of the newer one by itself, whoever checks has its hash already.
    return ([] if first == 0 else [Span(first, size)]) + spans[::-1]


class Tree:
    """A tree that grows leaf by leaf, and holds no more than its peaks: about log2(size) hashes of 32 bytes."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """`hashes` are those of `peaks(size)`, in that order."""
        self.size = size
        self._peaks = {node.level: hash_ for node, hash_ in zip(peaks(size), hashes, strict=True)}

    @classmethod
    def of_part(cls, first: int) -> Tree:
        """Of the leaves from one on, for a tree that takes it in afterwards.

        Args:
            first: a multiple of a power of two, of which as many leaves are added at most.
        """
        part = cls()
        part.size = first
        return part

    def add(self, leaf: bytes) -> Iterator[tuple[Node, bytes]]:
        """Adds the hash of a leaf, and yields the interior nodes that are complete with it, the lowest first."""
        return self._put(0, leaf)

    def extend(self, leaves: Sequence[bytes]) -> Iterator[Run]:
        """Adds the hashes of many leaves, and yields the interior nodes that are complete with them, by level."""
        level, at, hashes = 0, self.size, [*leaves]
        self.size += len(hashes)
        while hashes:
            row = [self._peaks.pop(level), *hashes] if level in self._peaks else hashes
            if len(row) & 1:
                self._peaks[level] = row[-1]
            level, at, hashes = level + 1, at >> 1, [*map(node_hash, row[::2], row[1::2])]
            if hashes:
                yield Run(level, at, hashes)

    def take(self, part: Tree) -> Iterator[Run]:
        """Adds a part that begins where this tree ends, and yields the nodes that are complete with it."""
        for level in sorted(part._peaks, reverse=True):
            for node, hash_ in self._put(level, part._peaks[level]):
                yield Run(*node, [hash_])

    def with_part(self, part: Tree) -> Tree:
        """This tree as it is with a part that ends within a perfect subtree of it."""
        both = Tree()
        both.size, both._peaks = part.size, self._peaks | part._peaks
        return both

    def copy(self) -> Tree:
        return Tree().with_part(self)

    def _put(self, lowest: int, hash_: bytes) -> Iterator[tuple[Node, bytes]]:
        level = lowest
        while level in self._peaks:
            hash_ = node_hash(self._peaks.pop(level), hash_)
            level += 1
            yield Node(level, self.size >> level), hash_
        self._peaks[level] = hash_
        self.size += 1 << lowest

    def root(self) -> bytes:
        """The hash that stands for the whole tree; that of nothing where it is empty."""
        lowest_first = [self._peaks[level] for level in sorted(self._peaks)]
        if not lowest_first:
            return hashlib.sha256(b"").digest()
        root = lowest_first[0]
        for peak in lowest_first[1:]:
            root = node_hash(peak, root)
        return root
