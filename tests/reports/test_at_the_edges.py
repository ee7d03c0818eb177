"""Periods whose edges lie where something begins, ends or goes on: each row is written here, so the truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Engine

from reconciler.audit import schema
from reconciler.audit.database import Access, make_engine, one_state, opened
from reconciler.audit.reporting import Answer, Asked, Reading
from reconciler.audit.reports import reports
from reconciler.audit.running.tables import RunningStateRow
from reconciler.audit.tables import Base, PauseEventRow, PolicyVersionRow
from tests.builders import accuracy_policy

OLD, NEW = accuracy_policy(0.90), accuracy_policy(0.95)
FORGED = "f" * 64
QUARTER = ("2026-07-01", "2026-10-01")
NEXT = ("2026-10-01", "2026-11-01")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@dataclass
class Record:
    """A database whose rows are written one by one."""

    engine: Engine

    def add(self, row: type[Base], **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(row.__table__.insert().values(**values))

    def runs(self, daemon: str, since: str, state: str = "running", policy: str = digest(OLD)) -> None:
        self.add(
            RunningStateRow, at=at(since), since=at(since), registry="R", workspace="", daemon=daemon, state=state,
            mode="enforce", policy_digest=policy, policy_file="policy.yaml", loaded_by="ada@host",
            interval_ms=60_000, product_version="0.1.0", detail="",
        )  # fmt: skip

    def answer(self, name: str, since: str | None, until: str | None) -> tuple[Answer, dict[str, list[Any]]]:
        asked = Asked(since and at(since), until and at(until))
        with opened(self.engine.url.render_as_string(False), Access.READ) as engine, one_state(engine) as connection:
            found = reports()[name].answer(Reading(connection, asked))
            return found, {section.name: list(section.rows) for section in found.sections}


@pytest.fixture
def record(audit_url: str) -> Iterator[Record]:
    schema.upgrade(audit_url)
    engine = make_engine(audit_url)
    record = Record(engine)
    for text in (OLD, NEW):
        record.add(PolicyVersionRow, digest=digest(text), text=text, first_used_at=at("2026-06-01"))
    yield record
    engine.dispose()


# --- periods of which nothing is on record -------------------------------------------------------------------


def test_of_a_period_without_a_moment_on_record_nothing_was_observed(record: Record) -> None:
    record.runs("d1", "2026-06-01")
    for name in ("completeness", "operated"):
        for since, until in ((None, "2026-05-01"), ("2999-01-01", "2999-02-01")):
            answer, _ = record.answer(name, since, until)
            assert "the control observed 0 % of the period" in answer.opinion
            assert any("nothing is on record of the period" in sentence for sentence in answer.qualifications)


# --- policies that change at the edge ------------------------------------------------------------------------


def test_a_policy_that_changes_as_the_period_begins_is_a_change_of_that_period_alone(record: Record) -> None:
    record.runs("d1", "2026-06-01")
    record.runs("d1", "2026-10-01", policy=digest(NEW))
    assert record.answer("policies", *QUARTER)[0].counts["changes"] == 0
    answer, rows = record.answer("policies", *NEXT)
    assert answer.counts["changes"] == 1
    assert [(one.at, one.old_digest, one.new_digest) for one in rows["changes"]] == [
        (at("2026-10-01"), digest(OLD), digest(NEW))
    ]


def test_a_policy_that_changes_while_no_daemon_runs_is_a_change_of_the_period_that_has_the_next_one(
    record: Record,
) -> None:
    record.runs("d1", "2026-06-01")
    record.runs("d1", "2026-09-30T23:50", "ended")
    record.runs("d2", "2026-10-01T00:10", policy=digest(NEW))
    assert record.answer("policies", *QUARTER)[0].counts["changes"] == 0
    assert record.answer("policies", *NEXT)[0].counts["changes"] == 1


def test_a_change_before_the_period_is_not_told_again_because_a_replica_had_not_followed_yet(record: Record) -> None:
    record.runs("d1", "2026-06-01")
    record.runs("d2", "2026-06-20", policy=digest(NEW))
    record.runs("d1", "2026-07-05", policy=digest(NEW))
    assert record.answer("policies", "2026-06-01", "2026-07-01")[0].counts["changes"] == 1
    assert record.answer("policies", *QUARTER)[0].counts["changes"] == 0


def test_a_text_that_was_changed_behind_the_log_is_not_compared(record: Record) -> None:
    record.add(PolicyVersionRow, digest=FORGED, text=NEW, first_used_at=at("2026-06-01"))
    record.runs("d1", "2026-06-01")
    record.runs("d1", "2026-08-01", policy=FORGED)
    _, rows = record.answer("policies", *QUARTER)
    [change] = rows["changes"]
    assert change.difference.startswith("not compared")
    assert "it was changed" in change.difference


# --- pauses over midnight ------------------------------------------------------------------------------------


PAUSES: list[tuple[str | None, str, list[str]]] = [
    ("2026-09-01", "2026-09-01T00:30", ["pause"]),
    ("2026-09-01", "2026-09-02", ["pause", "resume"]),
    ("2026-08-31", "2026-09-01", ["pause"]),
    ("2026-09-01T01:01", "2026-09-02", []),
    (None, "2026-08-31T23:00", []),
]


def test_a_pause_counts_in_every_period_that_it_reaches_into(record: Record) -> None:
    record.runs("d1", "2026-06-01")
    for action, moment in (("pause", "2026-08-31T23:00"), ("resume", "2026-09-01T01:00")):
        record.add(PauseEventRow, at=at(moment), action=action, reason="a freeze", person="mia")
    for since, until, shown in PAUSES:
        answer, rows = record.answer("operated", since, until)
        assert [event.action for event in rows["pauses"]] == shown, (since, until)
        assert answer.counts["pauses"] == shown.count("pause")
