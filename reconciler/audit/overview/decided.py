"""Decisions of a period: how many by day, what failed, how near metrics came to their bounds, how long they took."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, String, case, desc, func, literal, select, type_coerce

from reconciler.audit.reader import REGISTER
from reconciler.audit.reporting import Reading, columns_of
from reconciler.audit.reports.decisions import Decided
from reconciler.audit.streaming import typed
from reconciler.audit.tables import DecisionCheckRow, DecisionRow
from reconciler.audit.views import TIMES
from reconciler.domain.decision import conditional

# A value is a near miss, or passed narrowly, within this share of its bound.
NEAR: Final = 0.02
# Metrics are shown of so many of the newest decisions.
MEASURED: Final = 600
_SHOWN: Final = 6
_BOUND: Final = re.compile(r"(at least|at most) (\S+)|between (\S+) and (\S+)")
# Classes of how long a request waited: its name, below what, and how many seconds that is.
WAITS: Final = (
    ("under 1 min", "1 min", 60), ("1–5 min", "5 min", 300), ("5–15 min", "15 min", 900),
    ("15 min – 1 h", "1 h", 3_600), ("1–4 h", "4 h", 14_400), ("4 h – 1 day", "1 day", 86_400),
    ("1 day – 1 week", "1 week", 604_800),
)  # fmt: skip
LONGER: Final = "1 week or more"


# --- by day ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnDay:
    """How many decisions a day of UTC had, of one verdict; `would …` where the mode did not act."""

    day: date
    verdict: str
    mode: str
    decisions: int


def by_day(reading: Reading) -> list[OnDay]:
    row, day = DecisionRow, _day(reading, DecisionRow.decided_at).label("day")
    columns: list[Any] = [day, row.verdict, row.acts, row.mode]
    query: Any = select(*columns, func.count().label("many")).where(*reading.about(row.__table__, "decided_at"))
    found = reading.connection.execute(query.group_by(*columns).order_by(day, row.verdict, row.mode))
    return [OnDay(date.fromisoformat(one.day), conditional(one.verdict, one.acts), one.mode, one.many) for one in found]


def _day(reading: Reading, moment: Any) -> ColumnElement[str]:
    if reading.connection.dialect.name == "sqlite":
        return func.substr(type_coerce(moment, String), 1, 10)
    return func.to_char(func.timezone("UTC", moment), "YYYY-MM-DD")


# --- what failed -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failing:
    check: str
    model: str
    decisions: int


def failing(reading: Reading, most: int = 200) -> list[Failing]:
    """Which checks failed for which models, the most frequent pairs."""
    check, row, many = DecisionCheckRow, DecisionRow, func.count(DecisionCheckRow.decision_id.distinct())
    query: Any = (
        select(check.check_name.label("check"), row.model, many.label("decisions"))
        .select_from(check.__table__.join(row.__table__, row.decision_id == check.decision_id))
        .where(check.result == "failed", check.role.is_(None), *reading.about(row.__table__, "decided_at"))
        .group_by(check.check_name, row.model)
    )
    return list(typed(Failing, reading.rows(query.order_by(desc(many), check.check_name, row.model).limit(most))))


# --- metrics and their bounds ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dot:
    """A value that a metric had. `near`: it passed, or failed, within `NEAR` of the bound."""

    decision_id: str
    decided_at: datetime
    model: str
    version: str
    value: float
    passed: bool
    near: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """The values of a check. `bounds`: the lowest that passes, and the highest."""

    check: str
    expected: str
    bounds: tuple[float | None, float | None]
    dots: list[Dot] = field(default_factory=list)


def measured(reading: Reading) -> list[Measured]:
    """Of the newest decisions, the metrics that most of them were judged by."""
    check, row = DecisionCheckRow, DecisionRow
    about = reading.about(row.__table__, "decided_at")
    names = ("decision_id", "decided_at", "model", "version")
    newest: Any = select(*(row.__table__.c[name] for name in names)).where(*about)
    last = newest.order_by(row.decided_at.desc()).limit(MEASURED).subquery()
    columns = (check.check_name, check.expected, check.observed_number, check.result)
    query = (
        select(*last.c, *columns)
        .join(check.__table__, check.decision_id == last.c.decision_id)
        .where(check.observed_number.is_not(None), check.role.is_(None))
        .order_by(last.c.decided_at, last.c.decision_id)
    )
    found: dict[tuple[str, str], Measured] = {}
    for one in reading.rows(query):
        bounds = bounds_in(one.expected)
        if bounds is not None:
            key = one.check_name, one.expected
            found.setdefault(key, Measured(*key, bounds)).dots.append(_dot(one, bounds))
    return sorted(found.values(), key=lambda metric: (-len(metric.dots), metric.check, metric.expected))[:_SHOWN]


def bounds_in(expected: str) -> tuple[float | None, float | None] | None:
    """The bounds that a metric's check says in words; None where it says none."""
    words = _BOUND.match(expected)
    if words is None:
        return None
    how, bound, low, high = words.groups()
    try:
        if how is None:
            return float(low), float(high)
        return (float(bound), None) if how == "at least" else (None, float(bound))
    except ValueError:
        return None


def _dot(row: Any, bounds: tuple[float | None, float | None]) -> Dot:
    value = float(row.observed_number)
    near = any(bound is not None and abs(value - bound) <= NEAR * abs(bound) for bound in bounds)
    return Dot(row.decision_id, row.decided_at, row.model, row.version, value, row.result == "passed", near)


# --- from request to decision ----------------------------------------------------------------------------------


def waits(reading: Reading) -> dict[str, int]:
    """How many requests were decided after how long; one that was typed counts from when it was first seen."""
    seconds = TIMES.c.seconds
    kind = case(*((seconds < most, literal(name)) for name, _, most in WAITS), else_=literal(LONGER)).label("kind")
    query = select(kind, func.count()).where(*reading.about(TIMES, "decided_at")).group_by(kind)
    return dict.fromkeys([*(name for name, _, _ in WAITS), LONGER], 0) | reading.counted(query)


# --- rows ------------------------------------------------------------------------------------------------------


def newest(reading: Reading, most: int) -> list[Decided]:
    """The register's newest rows."""
    query = columns_of(Decided, REGISTER).where(*reading.about(REGISTER, "decided_at"))
    return list(typed(Decided, reading.rows(query.order_by(REGISTER.c.decided_at.desc()).limit(most))))


def verdicts(reading: Reading) -> Mapping[str, int]:
    """How many decisions had which verdict; `would …` where the mode did not act."""
    sums: Counter[str] = Counter()
    for one in by_day(reading):
        sums[one.verdict] += one.decisions
    return sums
