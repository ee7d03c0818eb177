"""Whether history is as it was when it entered the log: recomputed from the columns, never from a remembered answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, and_, func, select, text

from reconciler.audit.database import any_bytes, audit_errors, one_state
from reconciler.audit.evidence.tables import RedactionRow
from reconciler.audit.in_parts import beside
from reconciler.audit.integrity.row_checks import checks_without_decision
from reconciler.audit.log.appending import ENTRIES, tree_of
from reconciler.audit.log.filling import Progress, unseen
from reconciler.audit.log.heads import first_leaf, stored_root
from reconciler.audit.log.moments import moments_of
from reconciler.audit.log.reading import (
    evidence_of_nobody,
    keys_not_in_log,
    leaves_without_number,
)
from reconciler.audit.log.recomputing import LONG, MOST_TOLD, Differences, Roots, begun, recomputed
from reconciler.audit.log.tables import LogLeafRow, LogNodeRow, LogStateRow
from reconciler.audit.log.witnesses import Epoch, Log, compared, epochs_in, of_others
from reconciler.audit.recent import new_keys_not_in_log
from reconciler.domain.proofs.checkpoint import Head, origin_of
from reconciler.domain.proofs.merkle import Tree
from reconciler.domain.text import counted


@dataclass(frozen=True, slots=True)
class Asked:
    """What to compare the log with, beside its rows.

    Args:
        heads: kept elsewhere.
        since: a head up to which the log was verified before: rows of its entries are not read again.
        accepted_epoch: see `witnesses.compared`.
    """

    heads: tuple[Head, ...] = ()
    since: Head | None = None
    accepted_epoch: int = 1


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found. `root` (hex) stands for all `size` entries; `differences` is empty where all agree.

    `redacted`: how many fields of evidence were removed on record, which is no difference. `first`: the entry from
    which on rows were read. `agreeing`: how many of the heads are heads of this log.
    """

    size: int
    root: str
    differences: tuple[str, ...]
    redacted: int = 0
    first: int = 0
    epochs: tuple[Epoch, ...] = ()
    agreeing: int = 0


def verify(engine: Engine, progress: Progress = unseen, asked: Asked = Asked()) -> Verified:
    """Recomputes each entry from its row, and the tree from the entries; compares both with what is stored.

    Raises:
        AuditUnavailable: the database cannot be read.
    """
    with audit_errors(engine), one_state(engine) as connection, any_bytes(connection):
        found, roots = Differences(), Roots(asked.heads)
        first = _first_to_read(connection, asked, found)
        if first:
            tree = compare_log(connection, first, found, progress, roots)
            compare_new_rows(connection, found, _moment_of(connection, first - 1))
        else:
            tree = compare_everything(connection, found, progress, roots)
        log = Log(origin_of(first_leaf(connection)), tree.size, roots.found, tuple(epochs_in(connection)))
        heads = [head for head in asked.heads if head.size >= first]
        # What heads say first: it names what no row can tell.
        told = [*compared(heads, log, asked.accepted_epoch), *found.told]
        redacted = connection.scalar(select(func.count()).select_from(RedactionRow.__table__)) or 0
        agreeing = sum(roots.found.get(head.size) == head.root and head.origin == log.origin for head in heads)
        return Verified(tree.size, tree.root().hex(), tuple(told), redacted, first, tuple(log.epochs), agreeing)


def _first_to_read(connection: Connection, asked: Asked, found: Differences) -> int:
    """The entry behind the head that was verified before; 0 where the log does not extend it."""
    since = asked.since
    if since is None:
        return 0
    origin = origin_of(first_leaf(connection))
    if since.origin != origin:
        found.add(of_others([since], origin))
        return 0
    if stored_root(connection, since.size) == since.root:
        return since.size
    found.add(f"the log does not extend the head over {counted(since.size, 'entry', 'entries')} that --since names")
    return 0


def _moment_of(connection: Connection, leaf: int) -> datetime:
    """When the row of an entry was added; long ago where nothing tells."""
    row = LogLeafRow
    query: Any = select(row.leaf, row.entry, row.row_key).where(row.leaf == leaf)
    return moments_of(connection, connection.execute(query).all()).get(leaf, datetime(1970, 1, 1, tzinfo=UTC))


def compare_log(
    connection: Connection, first: int, found: Differences, progress: Progress = unseen, roots: Roots | None = None
) -> Tree:
    """Compares the entries of the log from the first one on with their rows, and with the nodes above them."""
    sizes = list(connection.scalars(select(LogStateRow.size)))
    tree = recomputed(connection, begun(connection, first), (_size_among(sizes), progress), found, roots or Roots())
    if sizes != [tree.size]:
        found.add(f"the log says that it has {_listed(sizes)} entries, and has {tree.size}")
    for leaf in leaves_without_number(connection, MOST_TOLD):
        found.add(f"{leaf.entry} {leaf.row_key}: its entry has a number that no entry has: it was added by another way")
    _find_nodes_beyond(connection, tree.size, found)
    _compare_peaks(connection, tree, found)
    return tree


def compare_everything(
    connection: Connection, found: Differences, progress: Progress = unseen, roots: Roots | None = None
) -> Tree:
    """Compares the whole log, and looks for rows of all of history that it has no entry of."""
    long = _size_among(connection.scalars(select(LogStateRow.size))) >= LONG
    url = connection.engine.url.render_as_string(hide_password=False)
    rest = beside(url, _of_all_rows, MOST_TOLD) if long else None
    tree = compare_log(connection, 0, found, progress, roots)
    for sentence in rest.result() if rest else _of_all_rows(connection, MOST_TOLD):
        found.add(sentence)
    return tree


def compare_new_rows(connection: Connection, found: Differences, since: datetime) -> None:
    """Looks for rows that are not older, and that no entry of the log is about."""
    for row in ENTRIES:
        for key in new_keys_not_in_log(connection, row, since, MOST_TOLD):
            found.add(not_in_log(row.__tablename__, key))


def _of_all_rows(connection: Connection, limit: int) -> list[str]:
    """A sentence for each row, in all of history, that no entry of the log is about; so many of a kind at most."""
    told = [not_in_log(row.__tablename__, key) for row in ENTRIES for key in keys_not_in_log(connection, row, limit)]
    nobody = evidence_of_nobody(connection, limit)
    told += [f"evidence {key}: no row of history rests on it: it was added by another way" for key in nobody]
    told += checks_without_decision(connection, limit)
    if connection.dialect.name == "sqlite":
        # A row that no index has is not found by it, and an index that has none refuses none.
        damage = connection.scalars(text(f"PRAGMA integrity_check({limit})"))
        told += [f"the file is damaged: {one}" for one in damage if one != "ok"]
    return told


def not_in_log(table: str, key: str) -> str:
    return f"{table} {key}: the row is not in the log: it was added by another way"


def _size_among(sizes: Iterable[object]) -> int:
    """How many entries there are, as `log_state` says: for what no answer depends on."""
    return next((size for size in sizes if isinstance(size, int)), 0)


def _listed(sizes: Sequence[object]) -> str:
    """What `log_state` says; it has one row."""
    return " and ".join(map(str, sizes)) or "no number of"


def _find_nodes_beyond(connection: Connection, size: int, found: Differences) -> None:
    """Nodes over entries that the log has not: it was longer, or it would once meet them. Probes of an index."""
    row, highest = LogNodeRow, max(0, size.bit_length() - 1)
    outside = [row.level < 1, row.level > highest]
    for level in range(1, highest + 1):
        # SQLite keeps texts in any column, and orders them behind all numbers.
        outside += [and_(row.level == level, row.position < 0), and_(row.level == level, row.position >= size >> level)]
    for where in outside:
        query = select(row.level, row.position).where(where).order_by(row.level.desc(), row.position.desc()).limit(1)
        for node in connection.execute(query):
            found.add(
                f"node {node.level}/{node.position} of the log stands for entries that it does not have: "
                f"it has {size}, or it had more"
            )


def _compare_peaks(connection: Connection, tree: Tree, found: Differences) -> None:
    """What the next entry would be built on."""
    if not found.told and tree_of(connection, tree.size).root() != tree.root():
        found.add("the stored nodes of the log do not give its root")
