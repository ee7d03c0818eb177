"""The log recomputed: each entry from its row, and the nodes of the tree from the entries; both held against it.

A long log is parted into ranges that are perfect subtrees: a process compares each by itself, and what it leaves is one
hash, from which the tree above is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, select

from reconciler.audit.evidence.storing import damage_of
from reconciler.audit.in_parts import FEW, results_of
from reconciler.audit.log.agreeing import agreeing
from reconciler.audit.log.appending import stored_peaks
from reconciler.audit.log.canonical import bytes_of
from reconciler.audit.log.filling import Progress, unseen
from reconciler.audit.log.reading import TABLES, end_without_gap, entries_of, leaves_from
from reconciler.audit.log.tables import LogNodeRow
from reconciler.audit.tables import DecisionRow
from reconciler.domain.proofs.checkpoint import Head
from reconciler.domain.proofs.merkle import Run, Tree, leaf_hash, peaks

# Entries of a range: a power of two.
_TOGETHER: Final = 4096
# So many entries are worth more processes than one.
LONG: Final = FEW * _TOGETHER
# Differences that are told; the first one proves as much as all.
MOST_TOLD = 100


class Differences:
    """Collects what differs, at most `MOST_TOLD`."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def add(self, text: str) -> None:
        if len(self.told) < MOST_TOLD:
            self.told.append(text)


class Roots:
    """The roots that a tree has, while it grows, at the sizes of heads."""

    def __init__(self, heads: Sequence[Head] = ()) -> None:
        self.wanted = frozenset(head.size for head in heads)
        self.found: dict[int, bytes] = {}

    def note(self, tree: Tree) -> None:
        if tree.size in self.wanted:
            self.found[tree.size] = tree.root()


class Range(NamedTuple):
    """Entries from one on, before another; `wanted`: the sizes at which roots are asked for, here and elsewhere."""

    first: int
    last: int
    wanted: Collection[int]


@dataclass(frozen=True, slots=True)
class OfRange:
    """What came of a range: its part of the tree, what differs, and its parts at the sizes that were wanted."""

    part: Tree
    told: tuple[str, ...]
    at_heads: tuple[Tree, ...]


class _Parts(Roots):
    """Keeps the parts themselves: the root of one alone says nothing. That of the whole range is there anyway."""

    def __init__(self, range_: Range) -> None:
        super().__init__()
        self.wanted = frozenset(range(range_.first + 1, range_.last)).intersection(range_.wanted)
        self.parts: list[Tree] = []

    def note(self, tree: Tree) -> None:
        if tree.size in self.wanted:
            self.parts.append(tree.copy())


def begun(connection: Connection, first: int) -> Tree:
    """The tree over the entries before the first one, as it is stored; an empty one where it is not stored whole."""
    hashes = stored_peaks(connection, first)
    return Tree(first, [hashes[node] for node in peaks(first)]) if len(hashes) == len(peaks(first)) else Tree()


def recomputed(
    connection: Connection,
    tree: Tree,
    shown: tuple[int, Progress],
    found: Differences,
    roots: Roots,
    together: int = _TOGETHER,
) -> Tree:
    """The tree with all leaves behind it as they are stored, each compared with its row.

    Where there are many, in as many processes as the machine has cores; not where numbers are missing, which is told.

    Args:
        shown: how many entries there are, for the progress.
        together: entries of a range, a power of two.
    """
    roots.note(tree)
    size, begin = end_without_gap(connection, tree.size), -(-tree.size // together) * together
    if size is None or size - begin < FEW * together:
        return _in_turn(connection, tree, None, shown, found, roots)
    _in_turn(connection, tree, begin, shown, found, roots)
    ranges = [Range(first, min(first + together, size), roots.wanted) for first in range(begin, size, together)]
    url = connection.engine.url.render_as_string(hide_password=False)
    for of_range in results_of(url, _compared, ranges):
        for difference in of_range.told:
            found.add(difference)
        for part in of_range.at_heads:
            roots.note(tree.with_part(part))
        compare_nodes(connection, tree.take(of_range.part), found)
        roots.note(tree)
        shown[1](tree.size, shown[0])
    # What was added meanwhile is not of this state of the database.
    return tree


def _compared(connection: Connection, range_: Range) -> OfRange:
    """Compares the entries of a range with their rows and with the nodes above them."""
    part, found, roots = Tree.of_part(range_.first), Differences(), _Parts(range_)
    _in_turn(connection, part, range_.last, (range_.last, unseen), found, roots)
    return OfRange(part, tuple(found.told), tuple(roots.parts))


def _in_turn(
    connection: Connection, tree: Tree, until: int | None, shown: tuple[int, Progress], found: Differences, roots: Roots
) -> Tree:
    size, progress = shown
    expected = tree.size
    for leaves in leaves_from(connection, tree.size, until):
        progress(tree.size, size)
        _compare_rows(connection, leaves, found)
        for leaf in leaves:
            if leaf.leaf != expected:
                found.add(f"the log has nothing between its entries {expected - 1} and {leaf.leaf}")
            expected = leaf.leaf + 1
        runs = list(_added(tree, [bytes_of(leaf.hash) for leaf in leaves], roots))
        # Behind a gap no entry has its number any more, so no node can agree.
        if tree.size == expected:
            compare_nodes(connection, runs, found)
    progress(size, size)
    return tree


def _added(tree: Tree, hashes: list[bytes], roots: Roots) -> Iterator[Run]:
    """Adds leaves to the tree, in parts where a root is asked for within."""
    first = tree.size
    ends = sorted(size for size in roots.wanted if first < size < first + len(hashes))
    for end in (*ends, first + len(hashes)):
        yield from tree.extend(hashes[tree.size - first : end - first])
        roots.note(tree)


def _compare_rows(connection: Connection, leaves: list[Row[Any]], found: Differences) -> None:
    agree = agreeing(connection, leaves)
    # As almost never: each of these is looked at by itself.
    leaves = [leaf for leaf in leaves if leaf.leaf not in agree]
    keys: dict[str, list[str]] = defaultdict(list)
    for leaf in leaves:
        keys[leaf.entry].append(leaf.row_key)
    entries = {
        (table, key): entry
        for table, wanted in keys.items()
        if table in TABLES
        for key, entry in entries_of(connection, table, wanted).items()
    }
    for leaf in leaves:
        named = (leaf.entry, leaf.row_key)
        where = f"{leaf.entry} {leaf.row_key} (entry {leaf.leaf} of the log)"
        if named not in entries:
            found.add(f"{where}: the row is missing")
            continue
        entry = entries[named]
        if entry is None or leaf_hash(entry.content) != bytes_of(leaf.hash):
            found.add(f"{where}: {_what_was_changed(connection, leaf)}")


def _what_was_changed(connection: Connection, leaf: Row[Any]) -> str:
    if leaf.entry != DecisionRow.__tablename__:
        return "the row was changed"
    damage = damage_of(connection, [leaf.row_key]).get(leaf.row_key)
    return f"its evidence {damage}" if damage else "the row, its checks or its evidence was changed"


def compare_nodes(connection: Connection, runs: Iterable[Run], found: Differences) -> None:
    """Compares interior nodes that leaves complete with those that are stored."""
    row = LogNodeRow
    for level, first, hashes in runs:
        within = row.level == level, row.position.between(first, first + len(hashes) - 1)
        # As a whole: row by row takes longer.
        stored = dict(connection.execute(select(row.position, row.hash).where(*within)).all())
        for position, hash_ in enumerate(hashes, first):
            if stored.get(position) != hash_:
                found.add(f"node {level}/{position} of the log does not stand for the entries below it")
