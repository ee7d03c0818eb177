"""What a report is: a question, put to one state of the audit database, and its answer.

Each report is a module of `reconciler.audit.reports`; this is what they share.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, Table, false, func, or_, select, union

from reconciler import __version__
from reconciler.audit.log.heads import head_now
from reconciler.audit.running.tables import RunningStateRow
from reconciler.audit.statements import Served, matching
from reconciler.audit.streaming import Rows
from reconciler.audit.tables import DaemonRow, now_in
from reconciler.domain.checks.kinds import Kinds
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.policy.plugins import NO_PLUGINS, Plugins


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is asked for. `since` is included, `until` is not; `model` may hold `*`.

    Args:
        at: the moment, of a report about one.
        longer_than: which gaps of the control are named.
    """

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    target: Target | None = None
    at: datetime | None = None
    longer_than: timedelta = timedelta(minutes=5)


class Reading:
    """One state of the database, and what is asked of it.

    Args:
        connection: in a transaction that sees no rows added meanwhile.
        plugins: whose checks the policies that were in force may require.
    """

    def __init__(self, connection: Connection, asked: Asked, plugins: Plugins = NO_PLUGINS) -> None:
        self.connection = connection
        self.asked = asked
        self._plugins = plugins
        self.now = now_in(connection)
        self.since = asked.since
        # Of what is yet to come nothing is on record.
        self.until = min(asked.until or self.now, self.now)
        self._only: str | None = None

    def of_model(self, model: str) -> Reading:
        """The same, of one model alone, whose name is what it is: a `*` in it matches a `*`."""
        narrowed = copy.copy(self)
        narrowed._only = model
        return narrowed

    def at(self, moment: datetime) -> Reading:
        """The same, asked about a moment."""
        return self.asking(replace(self.asked, at=moment))

    def asking(self, asked: Asked) -> Reading:
        """The same state of the database, asked for something else about the same period."""
        other = copy.copy(self)
        other.asked = asked
        return other

    def rows(self, query: Any) -> Rows:
        """Read as they are used: there may be more of them than fit into memory."""
        return Rows(self.connection, query)

    def counted(self, query: Any) -> dict[str, int]:
        """Of rows of a text and a count: by text, the most frequent first."""
        found = [(str(text), int(count)) for text, count in self.connection.execute(query)]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))

    def within(self, column: Any) -> list[ColumnElement[bool]]:
        """That a moment lies in the period."""
        conditions = [column < self.until] if self.asked.until is not None else []
        return conditions if self.since is None else [*conditions, column >= self.since]

    def among(self, table: FromClause) -> list[ColumnElement[bool]]:
        """That a row is about the models and the target that are asked for."""
        conditions: list[ColumnElement[bool]] = []
        if self.asked.model is not None:
            conditions.append(matching(self.connection.dialect.name, table.c.model, visible_name(self.asked.model)))
        if self.asked.target is not None:
            conditions.append(table.c.target == str(self.asked.target))
        if self._only is not None:
            conditions.append(table.c.model == self._only)
        return conditions

    def about(self, table: FromClause, moment: str) -> list[ColumnElement[bool]]:
        return [*self.among(table), *self.within(table.c[moment])]

    @cached_property
    def kinds(self) -> Kinds:
        """Raises PluginError."""
        return self._plugins.kinds()

    @cached_property
    def registries(self) -> list[Served]:
        """Those that a daemon of this database ever worked for."""
        named = (select(row.registry, row.workspace) for row in (RunningStateRow, DaemonRow))
        found = sorted(tuple(row) for row in self.connection.execute(union(*named)))
        return [Served(*row) for row in found if row[0]]


# --- answers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section:
    """Rows of one kind.

    Args:
        row: their class, a dataclass: its fields are the columns for machines.
        columns: those that a table for people has.
        rows: read as they are used, so that they can be gone through once.
    """

    name: str
    row: type[Any]
    columns: Sequence[str]
    rows: Iterable[Any]

    @property
    def fields(self) -> list[str]:
        return [field.name for field in fields(self.row)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a report found.

    Args:
        opinion: the answer in one line.
        counts: what its rows sum up to, counted by the database.
        sections: the main one first.
        qualifications: what keeps the opinion from being a plain one.
    """

    opinion: str
    counts: Mapping[str, Any]
    sections: Sequence[Section]
    qualifications: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A report, as `audit report` lists it.

    Args:
        sections: the names of the lists that its answer has, the main one first.
        of_a_moment: it is asked for a moment, and not for a period.
    """

    name: str
    question: str
    answer: Callable[[Reading], Answer]
    sections: Sequence[str]
    of_a_moment: bool = False


def columns_of(kind: type[Any], table: Table, **others: ColumnElement[Any]) -> Select[Any]:
    """A query for the fields of a row: columns of the table, and what is given for the others."""
    names = [field.name for field in fields(kind)]
    return select(*(others[name].label(name) if name in others else table.c[name] for name in names))


def touching(reading: Reading, table: Table) -> list[ColumnElement[bool]]:
    """The tenures that held, or as far as their bounds tell may have held, at some time of the period."""
    begun = func.coalesce(table.c.last_seen_without, table.c.first_seen_with)
    return [*reading.among(table), *overlapping(reading, begun, table.c.first_seen_without)]


def overlapping(reading: Reading, began: Any, ended: Any) -> list[ColumnElement[bool]]:
    """What began before the period ends, and has not ended before it begins; no end: it goes on.

    Of a period that is yet to come nothing is on record, what goes on now included.
    """
    if reading.since is None:
        return [began < reading.until]
    if reading.since > reading.until:
        return [false()]
    return [began < reading.until, or_(ended.is_(None), ended > reading.since)]


# --- what stands above each report ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Matter:
    """Of what a report is: which database, as of when, made by which release.

    Args:
        since: None: from the beginning of the record.
        log: origin, size, root and epoch of the log; None where it has no entry.
    """

    report: str
    question: str
    made_at: datetime
    product_version: str
    registries: Sequence[str]
    database: str
    log: Mapping[str, Any] | None
    since: datetime | None
    until: datetime | None
    at: datetime | None
    model: str | None
    target: str | None


def matter_of(report: Report, reading: Reading) -> Matter:
    asked, connection = reading.asked, reading.connection
    moment = (asked.at or reading.now) if report.of_a_moment else None
    # A period that is yet to come ends where it was asked to, and not before it begins.
    until = (asked.since and asked.since >= reading.until and asked.until) or reading.until
    return Matter(
        report=report.name,
        question=report.question,
        made_at=reading.now,
        product_version=__version__,
        registries=[shown(served) for served in reading.registries],
        database=connection.engine.url.render_as_string(hide_password=True),
        log=_log(connection),
        since=None if report.of_a_moment else reading.since,
        until=None if report.of_a_moment else until,
        at=moment,
        model=asked.model,
        target=None if asked.target is None else str(asked.target),
    )


def shown(served: Served) -> str:
    """A registry, and its workspace where there is one."""
    return f"{served.registry} {served.workspace}".rstrip()


def _log(connection: Connection) -> dict[str, Any] | None:
    head = head_now(connection)
    if head is None:
        return None
    root = base64.b64encode(head.root).decode()
    return {"origin": head.origin, "size": head.size, "root": root, "epoch": head.epoch}
