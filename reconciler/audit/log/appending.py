"""The log's write path: every row of history enters the log in the transaction that adds the row.

The log's lock is taken first and held to the end of the transaction, so that entries are numbered in the order in which
they are committed, without a gap. The size and the peaks of the tree are read under that lock, and never remembered:
other daemons and commands write too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, and_, func, insert, literal_column, or_, select, union_all, update

from reconciler.audit.decisions.judgement_tables import ConfirmationRow, EarlierOutcomeRow, LateEffectRow
from reconciler.audit.evidence.storing import Salted, salted
from reconciler.audit.evidence.tables import EvidenceRow, RedactionRow
from reconciler.audit.holding.tables import (
    AcknowledgementRow,
    AttributionRow,
    DriftRow,
    ObservationRow,
    WatchedScopeRow,
)
from reconciler.audit.inserting import insert_many
from reconciler.audit.log.canonical import Columns, Covered, Damaged, bytes_of, decision_bytes, row_bytes
from reconciler.audit.log.tables import LogEpochRow, LogLeafRow, LogNodeRow, LogStateRow
from reconciler.audit.requests.abstention_tables import AbstentionRow
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.running.tables import RunningStateRow
from reconciler.audit.statements import insert_new
from reconciler.audit.tables import (
    Base,
    DecisionCheckRow,
    DecisionRow,
    OutcomeRow,
    PauseEventRow,
    PolicyVersionRow,
)
from reconciler.domain.decision import Leaf
from reconciler.domain.proofs.merkle import Node, Span, Tree, above, leaf_hash, peaks, with_parents
from reconciler.ports.errors import SchemaMismatch

# Between two statements of a transaction that holds the log's lock.
_LONGEST_SILENCE: Final = "30s"

# The tables whose rows are entries, each with the column that names a row. A decision's entry covers its checks and its
# evidence.
ENTRIES: dict[type[Base], str] = {
    PolicyVersionRow: "digest",
    DecisionRow: "decision_id",
    OutcomeRow: "id",
    EarlierOutcomeRow: "id",
    ConfirmationRow: "id",
    LateEffectRow: "id",
    PauseEventRow: "id",
    RunningStateRow: "id",
    AbstentionRow: "id",
    ResolutionRow: "id",
    ObservationRow: "id",
    AttributionRow: "id",
    AcknowledgementRow: "id",
    DriftRow: "id",
    WatchedScopeRow: "id",
    RedactionRow: "id",
    LogEpochRow: "id",
}

# The tables whose rows rest on evidence, each with the column that is its key.
REST_ON_EVIDENCE: dict[type[Base], str] = {DecisionRow: "decision_id", ConfirmationRow: "evidence_key"}


class Entry(NamedTuple):
    """A row of history as it enters the log."""

    table: str
    row_key: str
    content: bytes


class DecisionToAdd(NamedTuple):
    """A decision of now as it is to be stored, with its checks and its evidence."""

    values: Mapping[str, object]
    checks: Sequence[Mapping[str, object]]
    evidence: Salted

    @property
    def decision_id(self) -> str:
        return str(self.values["decision_id"])


class AddedDecision(NamedTuple):
    """A decision as it is stored, and its entry in the log, which is written when the recording is closed."""

    row: Columns
    leaf: Leaf


class Recording:
    """A transaction that adds rows to history. What is added through it is in the log when it is committed."""

    def __init__(self, connection: Connection, size: int) -> None:
        self.connection = connection
        self.size = size
        self._entries: list[Entry] = []

    def add_many(self, row: type[Base], rows: Sequence[Mapping[str, object]]) -> list[Columns]:
        """As `add`, of rows of now that rest on no evidence: it takes as many statements for all of them as for one."""
        if not rows:
            return []
        found = insert_many(self.connection, row, rows, now="at", returning=True)
        # Asked for an order, SQLAlchemy sends SQLite one statement a row.
        return [self._entered(row, added) for added in sorted(found, key=lambda added: int(added.id))]

    def add(self, row: type[Base], values: Mapping[str, object], evidence: str | None = None) -> Columns:
        """Adds a row to a table of `ENTRIES`, and returns it as it is stored.

        Args:
            evidence: what it rests on (JSON), where the table is one of `REST_ON_EVIDENCE`.
        """
        added = self.connection.execute(insert(row).values(values).returning(*row.__table__.columns)).one()
        if evidence is None:
            return self._entered(row, added)
        key = getattr(added, REST_ON_EVIDENCE[row])
        return self._entered(row, added, add_evidence(self.connection, key, evidence))

    def add_if_new(self, row: type[Base], values: Mapping[str, object]) -> Columns | None:
        """As `add`; None, with nothing added, where a unique key of the table has the row already."""
        statement = insert_new(self.connection, row).values(values).returning(*row.__table__.columns)
        added = self.connection.execute(statement).one_or_none()
        return None if added is None else self._entered(row, added)

    def add_decisions(self, decisions: Sequence[DecisionToAdd]) -> dict[str, AddedDecision]:
        """Adds decisions, and returns them by id. Where another decision stands in its place, one is left out.

        It takes as many statements for all of them as for one.
        """
        values = [new.values for new in decisions]
        found = insert_many(self.connection, DecisionRow, values, now="decided_at", only_new=True, returning=True)
        rows: dict[str, Columns] = {row.decision_id: row._asdict() for row in found}
        added = [new for new in decisions if new.decision_id in rows]
        kept = {new.decision_id: new.evidence for new in added}
        checks = self._add_checks([check for new in added for check in new.checks])
        self._add_evidence(kept)
        stored: dict[str, AddedDecision] = {}
        for id in kept:
            entry = entry_of_decision(rows[id], checks[id], kept[id].covered)
            leaf = Leaf(self.size + len(self._entries), leaf_hash(entry.content).hex())
            stored[id] = AddedDecision(rows[id], leaf)
            self._entries.append(entry)
        return stored

    def _add_checks(self, checks: Sequence[Mapping[str, object]]) -> Mapping[str, list[Columns]]:
        added: dict[str, list[Columns]] = defaultdict(list)
        for row in insert_many(self.connection, DecisionCheckRow, checks, returning=True) if checks else []:
            added[row.decision_id].append(row._asdict())
        return added

    def _add_evidence(self, kept: Mapping[str, Salted]) -> None:
        rows = [{"evidence_key": key, **evidence.columns} for key, evidence in kept.items()]
        if rows:
            insert_many(self.connection, EvidenceRow, rows)

    def _entered(self, row: type[Base], added: Row[Any], evidence: Covered | None = None) -> Columns:
        stored = added._asdict()
        self._entries.append(entry_of(row, stored, evidence))
        return stored

    def close(self) -> None:
        """Writes the entries, in the order in which their rows were added."""
        append(self.connection, self.size, self._entries)


def entry_of(row: type[Base], values: Columns, evidence: Covered | None = None) -> Entry:
    """The entry of a row of any table but `decisions`."""
    return Entry(row.__tablename__, str(values[ENTRIES[row]]), row_bytes(row.__tablename__, values, evidence))


def add_evidence(connection: Connection, key: str, evidence: str) -> Covered:
    """Stores evidence (JSON) under a key of its owner's, whose entry has to cover what is returned."""
    kept = salted(evidence)
    connection.execute(insert(EvidenceRow), {"evidence_key": key, **kept.columns})
    return kept.covered


def entry_of_decision(decision: Columns, checks: Iterable[Columns], evidence: Covered) -> Entry:
    """The entry of a decision, which holds its checks without its own id, and what is covered of its evidence."""
    ordered = sorted(checks, key=_position)
    bare = [{name: cell for name, cell in check.items() if name != "decision_id"} for check in ordered]
    return Entry(DecisionRow.__tablename__, decision["decision_id"], decision_bytes(decision, bare, evidence))


def _position(check: Columns) -> int:
    position = check["position"]
    if not isinstance(position, int):
        raise Damaged("holds no number as its position")
    return position


@contextmanager
def recorded(connection: Connection) -> Iterator[Recording]:
    """Takes the log's lock, and writes the entries at the end.

    Raises:
        SchemaMismatch: rows from before the log have not been taken in.
    """
    state = locked(connection)
    if not state.complete:
        raise SchemaMismatch(
            "the log of the audit database is not complete yet: run `mlflow-reconciler db upgrade` to finish"
        )
    recording = Recording(connection, state.size)
    yield recording
    recording.close()


class State(NamedTuple):
    size: int
    complete: bool


def locked(connection: Connection) -> State:
    """Takes the log's lock until the transaction ends. On SQLite every writing transaction has it already.

    PostgreSQL takes it back from a process that is stopped or frozen in the transaction, and that all others wait for.
    The time that this takes is set for this transaction alone, in the same statement.
    """
    query = select(LogStateRow.size, LogStateRow.complete).with_for_update()
    if connection.dialect.name == "postgresql":
        query = query.add_columns(func.set_config("idle_in_transaction_session_timeout", _LONGEST_SILENCE, True))
    row = connection.execute(query).one()
    return State(row.size, row.complete)


def append(connection: Connection, size: int, entries: Sequence[Entry]) -> None:
    """Adds entries to a log of `size`, whose lock is held."""
    if not entries:
        return
    tree = tree_of(connection, size)
    leaves, nodes = [], []
    for entry in entries:
        hash_ = leaf_hash(entry.content)
        leaves.append({"leaf": tree.size, "entry": entry.table, "row_key": entry.row_key, "hash": hash_})
        nodes += [{**node._asdict(), "hash": above} for node, above in tree.add(hash_)]
    insert_many(connection, LogLeafRow, leaves)
    if nodes:
        insert_many(connection, LogNodeRow, nodes)
    connection.execute(update(LogStateRow).values(size=tree.size))


def tree_of(connection: Connection, size: int) -> Tree:
    """The tree over the first `size` entries, from the stored hashes of its peaks."""
    hashes = stored_peaks(connection, size)
    return Tree(size, [hashes[node] for node in peaks(size)])


def stored_peaks(connection: Connection, size: int) -> dict[Node, bytes]:
    """The hashes of the peaks of the tree over the first `size` entries; one that is gone is missing."""
    return hashes_of(connection, peaks(size))


def hashes_of(connection: Connection, nodes: Collection[Node]) -> dict[Node, bytes]:
    """The stored hashes of these nodes, those of leaves among them; one that is gone is missing."""
    node, leaf = LogNodeRow, LogLeafRow
    named = [and_(node.level == one.level, node.position == one.position) for one in nodes if one.level]
    leaves = [one.position for one in nodes if not one.level]
    asked: list[Any] = []
    if named:
        asked.append(select(node.level, node.position, node.hash).where(or_(*named)))
    if leaves:
        asked.append(select(literal_column("0"), leaf.leaf, leaf.hash).where(leaf.leaf.in_(leaves)))
    found = connection.execute(union_all(*asked)) if asked else ()
    return {Node(level, position): bytes_of(hash_) for level, position, hash_ in found}


def proving(connection: Connection, leaves: Mapping[int, bytes], spans: Iterable[Span]) -> dict[Node, bytes]:
    """The hashes of the nodes of these spans. One statement reads them, and nothing that entries at hand make.

    Args:
        leaves: the hashes of the entries, whose proofs are among the spans, by their numbers.

    Raises:
        KeyError: one is gone.
    """
    nodes = {node for span in spans for node in span.nodes()}
    made = above(leaves, nodes)
    at_hand = {Node(0, leaf): hash_ for leaf, hash_ in leaves.items()}
    return with_parents(made, hashes_of(connection, nodes - made) | at_hand)
