"""Rows of history against what they say of themselves: policies, verdicts, and rows that belong together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Row, select, type_coerce

from reconciler.audit.decisions.judgement_tables import ConfirmationRow, EarlierOutcomeRow, LateEffectRow
from reconciler.audit.log.reading import cell_of
from reconciler.audit.statements import chunks
from reconciler.audit.tables import DecisionCheckRow, DecisionRow, OutcomeRow, PolicyVersionRow
from reconciler.domain.agreement import as_judged
from reconciler.domain.engines.evaluate import COMBINED

# A policy has up to 4 MiB.
_POLICIES_TOGETHER = 8
# The tables whose rows belong to a decision, each by its `id`.
_OF_A_DECISION: Sequence[type[OutcomeRow | EarlierOutcomeRow | ConfirmationRow | LateEffectRow]] = (
    OutcomeRow,
    EarlierOutcomeRow,
    ConfirmationRow,
    LateEffectRow,
)

Keys = Mapping[str, Collection[str]]


class RowChecks:
    """Checks rows of which it is told the keys, by table. It remembers which policies it has read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._policies: set[str] = set()

    def check(self, keys: Keys) -> Iterator[str]:
        """A sentence for each row that is not what it says."""
        decisions = self._decisions(keys.get(DecisionRow.__tablename__, ()))
        named = {row.policy_digest for row in decisions} | set(keys.get(PolicyVersionRow.__tablename__, ()))
        # What is no text names no policy; that it was changed is told by the log.
        digests = {digest for digest in named if isinstance(digest, str)}
        yield from self._wrong_policies(digests - self._policies)
        self._policies |= digests
        checks = self._checks([row.decision_id for row in decisions])
        for row in decisions:
            yield from _wrong_verdict(row, checks[row.decision_id])
        for table in _OF_A_DECISION:
            yield from self._without_decision(table, keys.get(table.__tablename__, ()))

    def _decisions(self, ids: Collection[str]) -> list[Row[Any]]:
        row = DecisionRow
        columns: Any = select(row.decision_id, row.verdict, row.reason_code, row.engine, row.policy_digest)
        columns = columns.add_columns(type_coerce(row.acts, Integer).label("acts"))
        return [
            found
            for some in chunks(ids)
            for found in self._connection.execute(columns.where(row.decision_id.in_(some)))
        ]

    def _checks(self, ids: Collection[str]) -> dict[str, list[Row[Any]]]:
        row = DecisionCheckRow
        columns: Any = select(row.decision_id, row.position, row.result, row.code, row.role)
        columns = columns.order_by(row.decision_id, row.position)
        found: dict[str, list[Row[Any]]] = defaultdict(list)
        for some in chunks(ids):
            for check in self._connection.execute(columns.where(row.decision_id.in_(some))):
                found[check.decision_id].append(check)
        return found

    def _wrong_policies(self, digests: Collection[str]) -> Iterator[str]:
        ordered = sorted(digests)
        for start in range(0, len(ordered), _POLICIES_TOGETHER):
            wanted = ordered[start : start + _POLICIES_TOGETHER]
            row = PolicyVersionRow
            query = select(row.digest, row.text).where(row.digest.in_(wanted))
            texts = {found.digest: found.text for found in self._connection.execute(query)}
            for digest in wanted:
                if digest not in texts:
                    yield f"policy_versions {digest}: the policy is missing"
                elif _digest_of(texts[digest]) != digest:
                    yield f"policy_versions {digest}: the policy was changed, its text has another digest"

    def _without_decision(self, table: type[Any], keys: Collection[str]) -> Iterator[str]:
        for some in chunks(keys):
            query = (
                select(table.id, table.decision_id)
                .outerjoin(DecisionRow.__table__, DecisionRow.decision_id == table.decision_id)
                .where(table.id.in_([cell_of(table, key) for key in some]), DecisionRow.id.is_(None))
            )
            for found in self._connection.execute(query.order_by(table.id)):
                yield f"{table.__tablename__} {found.id}: its decision {found.decision_id} is missing"


def _digest_of(policy: object) -> str | None:
    return hashlib.sha256(policy.encode()).hexdigest() if isinstance(policy, str) else None


# --- verdicts ------------------------------------------------------------------------------------------------


def _wrong_verdict(row: Row[Any], checks: Sequence[Row[Any]]) -> Iterator[str]:
    name = f"decisions {row.decision_id}"
    # SQLite keeps any value, and each condition reads it in a way of its own.
    if row.acts not in (0, 1):
        yield f"{name}: acts is neither true nor false"
    if not checks:
        yield f"{name}: it has no checks"
        return
    missing = next((at for at, check in enumerate(checks) if check.position != at), None)
    if missing is not None:
        yield f"{name}: its check {missing} is missing"
        return
    recorded = [as_judged(check.result, check.code, check.role) for check in checks]
    combined = COMBINED.get(row.engine)
    if None in recorded:
        yield f"{name}: a check of it has a result or a role that no check has"
    elif combined is None:
        yield f"{name}: no engine has the number {row.engine}"
    else:
        kind, code = combined([check for check in recorded if check is not None])
        if (row.verdict, row.reason_code) != (kind, code):
            yield f"{name}: its verdict is {row.verdict} ({row.reason_code}), and its checks give {kind} ({code})"


# --- all of history ------------------------------------------------------------------------------------------


def checks_without_decision(connection: Connection, limit: int) -> Iterator[str]:
    """A sentence for each decision that is not there, and of which checks are."""
    id = DecisionCheckRow.decision_id
    known = select(DecisionRow.decision_id).where(DecisionRow.decision_id == id)
    for named in connection.scalars(select(id).where(~known.exists()).distinct().limit(limit)):
        yield f"decision_checks of {named}: their decision is missing"
