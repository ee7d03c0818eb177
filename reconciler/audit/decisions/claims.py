"""Which daemon carries a decision out, until when, and who may conclude it: leases and fences."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    delete,
    exists,
    func,
    join,
    literal,
    select,
    true,
    tuple_,
    update,
)

from reconciler.audit.inserting import insert_many
from reconciler.audit.log.tables import LogLeafRow
from reconciler.audit.statements import Served, decision_of_pending, insert_new, now_after
from reconciler.audit.tables import DecisionRow, OutcomeRow, PendingActRow, UtcMillis, now_in
from reconciler.domain.decision import Decision, Leaf, Mode
from reconciler.domain.request import Request
from reconciler.domain.text import visible
from reconciler.domain.verdict import VerdictKind
from reconciler.ports.audit_values import Pending

_FIRST_FENCE = 1
# Ids of decisions that are looked at in one transaction.
LOOKED_AT_TOGETHER = 20_000


class Reply(Enum):
    """What the registry answered to an act."""

    NOT_ASKED = "no act was tried"
    DEFINITE = "it was refused"
    IN_DOUBT = "the act may still take effect"


class Claims:
    """The claims of one daemon on the decisions of the registry that it serves.

    Args:
        daemon: its name, host:pid.
        lease: how long no other daemon may take what it claimed.
    """

    def __init__(self, daemon: str, served: Served, lease: timedelta) -> None:
        self._daemon = daemon
        self._served = served
        self._lease = lease

    def add(self, connection: Connection, decision_ids: Collection[str]) -> int:
        """Claims decisions in the transaction that records them, and returns the fence."""
        if decision_ids:
            now = now_in(connection)
            leased = {"leased_by": self._daemon, "fence": _FIRST_FENCE, "leased_until": now + self._lease}
            insert_many(connection, PendingActRow, [_not_tried(id, now) | leased for id in decision_ids])
        return _FIRST_FENCE

    @staticmethod
    def any_pending(connection: Connection) -> bool:
        """Whether any decision is pending. As almost always none is, it is asked where no other writer has to wait."""
        return connection.scalar(select(PendingActRow.decision_id).limit(1)) is not None

    def claim(self, connection: Connection, limit: int, exclude: Collection[str], everything: bool) -> list[Pending]:
        """As `ports.audit.Claims.claim`."""
        now = now_in(connection)
        claimable = self._claimable(connection, now, exclude, everything)
        rows = connection.execute(claimable.limit(limit)).all()
        fences = self._take(connection, [row.decision_id for row in rows], now)
        leaves = leaves_of(connection, fences)
        return [
            _pending(row, fences[row.decision_id], leaves.get(row.decision_id))
            for row in rows
            if row.decision_id in fences
        ]

    def _claimable(
        self, connection: Connection, now: datetime, exclude: Collection[str], everything: bool
    ) -> Select[Any]:
        claim = PendingActRow
        wanted = _PENDING.where(self._may_take(connection, now), self._served.among(DecisionRow))
        if not everything:
            wanted = wanted.where(claim.next_attempt_at <= now)
        return wanted.where(DecisionRow.decision_id.not_in(list(exclude))) if exclude else wanted

    def _may_take(self, connection: Connection, now: datetime) -> ColumnElement[bool]:
        claim = PendingActRow
        if connection.dialect.name == "sqlite":
            # This process alone serves the file: an earlier holder of the lease is gone.
            return true()
        return claim.leased_until.is_(None) | (claim.leased_until <= now) | (claim.leased_by == self._daemon)

    def _take(self, connection: Connection, decision_ids: Sequence[str], now: datetime) -> dict[str, int]:
        """Leases those that no other daemon is taking at this moment; returns their fences by decision id."""
        claim = PendingActRow
        free = select(claim.decision_id).where(claim.decision_id.in_(decision_ids), self._may_take(connection, now))
        taken = (
            update(claim)
            .where(claim.decision_id.in_(free.with_for_update(skip_locked=True)))
            .values(leased_by=self._daemon, fence=claim.fence + 1, leased_until=now + self._lease)
            .returning(claim.decision_id, claim.fence)
        )
        return {row.decision_id: row.fence for row in connection.execute(taken)}

    def lost(self, connection: Connection, after: str) -> tuple[list[str], str | None]:
        """The ids of acting decisions without an outcome or a claim: their working state was lost.

        Looks at the next `LOOKED_AT_TOGETHER` decisions in the order of their ids. This reads history, so a cycle does
        not do it.

        Args:
            after: the last id that was looked at; "" to begin.

        Returns: the ids found, and the last id that was looked at, or None at the end.
        """
        ids = DecisionRow.decision_id
        last: str | None = connection.scalar(
            select(ids).where(ids > after).order_by(ids).offset(LOOKED_AT_TOGETHER - 1).limit(1)
        )
        # Each part is answered by an index alone; few rows, if any, are left to be read.
        among = [
            select(column).where(column > after, true() if last is None else column <= last)
            for column in (ids, OutcomeRow.decision_id, PendingActRow.decision_id)
        ]
        left = list(connection.scalars(among[0].except_(*among[1:])))
        mine = select(ids).where(ids.in_(left), DecisionRow.acts, self._served.among(DecisionRow))
        return list(connection.scalars(mine)) if left else [], last

    def restore(self, connection: Connection, decision_ids: Collection[str]) -> None:
        """Makes these decisions claimable again."""
        now = now_in(connection)
        for decision_id in decision_ids:
            # Whether an act was under way is lost too.
            in_doubt = {"answer_by": now + self._lease}
            connection.execute(insert_new(connection, PendingActRow).values(_not_tried(decision_id, now) | in_doubt))

    def renew(self, connection: Connection, pending: Pending) -> bool:
        """Renews the lease before an act, which ends before the lease does. False: another daemon holds it."""
        until = now_after(self._lease)
        renewed = update(PendingActRow).where(_is_claimed_as(pending)).values(leased_until=until, answer_by=until)
        return connection.execute(renewed).rowcount == 1

    def has_older(self, connection: Connection, decision: Decision) -> bool:
        """Whether an older decision that contends with this one is pending, whoever has claimed it.

        Orders by `decisions.id`: the reading starts from what is pending, however long history is.
        """
        mine = DecisionRow.__table__.alias("mine")
        my_id = select(mine.c.id).where(mine.c.decision_id == decision.decision_id).scalar_subquery()
        request = decision.request
        older = _PENDING.where(
            self._served.among(DecisionRow),
            # The empty text keeps the index on models, through which all of a model's history would be read, from use.
            DecisionRow.model.op("||")("") == request.model,
            DecisionRow.target == str(request.target),
            DecisionRow.id + 0 < my_id,
        )
        rows = connection.execute(older).all()
        return any(decision.contends_with(_pending(row, row.fence).decision) for row in rows)

    def release(self, connection: Connection, pending: Pending, detail: str, retry_in: timedelta, reply: Reply) -> None:
        """Sets it aside for `retry_in`, then free for any daemon. An act that was tried is counted."""
        row, message, now = PendingActRow, visible(detail), now_in(connection)
        released = {
            "attempts": row.attempts + int(reply is not Reply.NOT_ASKED),
            # What an earlier act left in doubt stays so.
            "answer_by": pending.answer_by if reply is Reply.DEFINITE else row.answer_by,
            "next_attempt_at": now + retry_in,
            "failures": case((row.last_detail == message, row.failures + 1), else_=1),
            "failing_since": func.coalesce(row.failing_since, literal(now, UtcMillis())),
            "last_detail": message,
            "leased_by": None,
            "leased_until": None,
        }
        connection.execute(update(row).where(_is_claimed_as(pending)).values(released))

    def end(self, connection: Connection, pending: Sequence[Pending]) -> set[str]:
        """Removes claims: nothing is left to do. Returns their decisions' ids, without what another daemon holds."""
        claim = PendingActRow
        claimed = [(one.decision.decision_id, one.fence) for one in pending]
        among = tuple_(claim.decision_id, claim.fence).in_(claimed)
        return set(connection.scalars(delete(claim).where(among).returning(claim.decision_id)))


def _not_tried(decision_id: str, now: datetime) -> dict[str, object]:
    return {"decision_id": decision_id, "attempts": 0, "next_attempt_at": now, "last_detail": ""}


def _is_claimed_as(pending: Pending) -> ColumnElement[bool]:
    """Matches only the last fence: a daemon that slept longer than its lease finds no row."""
    return (PendingActRow.decision_id == pending.decision.decision_id) & (PendingActRow.fence == pending.fence)


def leaves_of(connection: Connection, decision_ids: Collection[str]) -> dict[str, Leaf]:
    """Where these decisions stand in the log; one whose entry is gone is missing."""
    if not decision_ids:
        # Even a plan for the statement costs a block of each index that it might use, in each idle cycle.
        return {}
    leaf = LogLeafRow
    mine = (leaf.entry == DecisionRow.__tablename__) & leaf.row_key.in_(list(decision_ids))
    found = connection.execute(select(leaf.row_key, leaf.leaf, leaf.hash).where(mine))
    return {key: Leaf(number, bytes(hash_).hex()) for key, number, hash_ in found}


_PENDING: Select[Any] = (
    select(DecisionRow.__table__, PendingActRow.attempts, PendingActRow.fence, PendingActRow.failures)
    .add_columns(PendingActRow.answer_by)
    .select_from(join(PendingActRow.__table__, DecisionRow.__table__, decision_of_pending()))
    .where(DecisionRow.acts, ~exists().where(OutcomeRow.decision_id == DecisionRow.decision_id))
    # The sum keeps a planner from walking all decisions in the order of their ids until it has found enough.
    .order_by(DecisionRow.id + 0)
)


def _pending(row: Row[Any], fence: int, leaf: Leaf | None = None) -> Pending:
    return Pending(decision_in(row, leaf), row.attempts or 0, fence, row.failures or 0, row.answer_by)


def decision_in(row: Row[Any], leaf: Leaf | None) -> Decision:
    """The decision in a row of its table; `leaf`: where it stands in the log."""
    return Decision(
        decision_id=row.decision_id,
        decided_at=row.decided_at,
        request=Request.from_data(json.loads(row.request)),
        verdict=VerdictKind(row.verdict),
        reason=row.reason,
        mode=Mode(row.mode),
        policy_digest=row.policy_digest,
        rule=row.rule,
        archive_existing=row.archive_existing,
        engine=row.engine,
        judgement=row.judgement,
        replaces=row.replaces,
        leaf=leaf,
    )
