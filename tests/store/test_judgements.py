"""Decisions that follow one another: on SQLite and on PostgreSQL, whoever writes at once."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from reconciler.audit.database import make_engine
from reconciler.audit.reader import DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.decision import Mode
from reconciler.ports import AuditUnavailable
from tests.store.test_store import REGISTRY, Audit, audit, claimed

__all__ = ["audit"]  # a fixture


def test_replicas_that_judge_again_at_once_leave_one_row(audit: Audit) -> None:
    assert audit.log.record(audit.judged(mode=Mode.OBSERVE))
    again = replace(audit.judged(mode=Mode.ENFORCE), judgement=2)
    logs = [SqlAuditLog(make_engine(audit.url), f"test:{number}", REGISTRY) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        recorded = list(threads.map(lambda log: log.record(again), logs))
    assert [len(one) for one in recorded if one] == [1]
    assert len(audit.reader.decisions(DecisionFilter())) == 2


def test_a_decision_has_one_successor(audit: Audit) -> None:
    audit.log.record(audit.judged())
    [pending] = claimed(audit.log)
    successor = replace(audit.judged(accuracy="0.1"), judgement=2, replaces=pending.decision.decision_id)
    lapsed = audit.log.lapse(pending, "judged again", successor)
    assert lapsed is not None
    assert lapsed.successor is not None
    assert audit.log.lapse(pending, "judged again", successor) is None
    assert not audit.log.record(replace(successor, judgement=3))
    last = audit.log.last_decisions([pending.decision.request.key])[pending.decision.request.key]
    assert (last.decision_id, last.judgement, last.outcome) == (lapsed.successor.decision.decision_id, 2, None)
    assert last.replaces == pending.decision.decision_id


def test_a_lapse_whose_successor_cannot_be_written_is_no_lapse(audit: Audit) -> None:
    audit.log.record(audit.judged())
    [pending] = claimed(audit.log)
    orphan = replace(audit.judged(accuracy="0.1"), judgement=2, replaces="no such decision")
    with pytest.raises(AuditUnavailable):
        audit.log.lapse(pending, "judged again", orphan)
    [row] = audit.reader.decisions(DecisionFilter())
    assert row["outcome"] is None
    assert len(claimed(audit.log)) == 1


@pytest.mark.parametrize("column", ["decision_id", "replaces", "judgement", "first acting"])
def test_on_sqlite_insert_or_replace_finds_no_decision_by_any_of_its_keys(audit: Audit, column: str) -> None:
    if audit.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has no such statement")
    audit.log.record(audit.judged())
    [pending] = claimed(audit.log)
    successor = replace(audit.judged(accuracy="0.1"), judgement=2, replaces=pending.decision.decision_id)
    audit.log.lapse(pending, "judged again", successor)
    database = audit.engine.url.database
    with closing(sqlite3.connect(database)) as owner:
        owner.row_factory = sqlite3.Row
        before = [tuple(row) for row in owner.execute("SELECT * FROM decisions ORDER BY id")]
        row = dict(owner.execute("SELECT * FROM decisions ORDER BY id").fetchall()[1])
        row |= {"id": 99, "decision_id": "forged", "request_key": "other", "judgement": 9}
        if column == "decision_id":
            row |= {"decision_id": successor.replaces, "replaces": None}
        elif column == "judgement":
            row |= {"request_key": successor.request.key, "judgement": 2, "replaces": None, "acts": 0}
        elif column == "first acting":
            row |= {"request_key": successor.request.key, "replaces": None}
        places = ", ".join(f":{name}" for name in row)
        with suppress(sqlite3.IntegrityError):
            owner.execute(f"INSERT OR REPLACE INTO decisions ({', '.join(row)}) VALUES ({places})", row)
        assert [tuple(row) for row in owner.execute("SELECT * FROM decisions ORDER BY id")] == before
