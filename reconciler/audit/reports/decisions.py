"""The register: every decision of the period, by verdict, mode and effect, and why versions failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, desc, func, select

from reconciler.audit.reader import REGISTER
from reconciler.audit.reporting import Answer, Reading, Report, Section, columns_of
from reconciler.audit.streaming import typed
from reconciler.audit.tables import DecisionCheckRow, DecisionRow
from reconciler.domain.decision import OutcomeKind, conditional
from reconciler.domain.text import counted
from reconciler.domain.verdict import VerdictKind

# Of a decision without an outcome; of one whose effect nothing tells.
PENDING, NOT_KNOWN = "pending", "not known"


@dataclass(frozen=True, slots=True)
class Decided:
    """A row of `decision_register`."""

    decision_id: str
    decided_at: datetime
    registry: str
    workspace: str
    model: str
    version: str
    target: str
    requester: str
    requester_assurance: str
    requested_at: datetime
    comment: str
    verdict: str
    reason_code: str
    reason: str
    mode: str
    policy_digest: str
    rule: str
    outcome: str | None
    outcome_at: datetime | None
    outcome_detail: str | None
    effect: str | None
    decider: str
    judgement: int
    replaces: str | None


@dataclass(frozen=True, slots=True)
class Crossed:
    """How many decisions had this verdict, in this mode, with this effect."""

    verdict: str
    mode: str
    outcome: str
    effect: str
    decisions: int


@dataclass(frozen=True, slots=True)
class FailedCheck:
    rule: str
    check: str
    code: str
    count: int


@dataclass(frozen=True, slots=True)
class OfModel:
    model: str
    approve: int
    reject: int


@dataclass(frozen=True, slots=True)
class Pending:
    decision_id: str
    decided_at: datetime
    model: str
    version: str
    target: str


Groups = Sequence[tuple[Mapping[str, str], int]]
_GROUPED = ("verdict", "mode", "outcome", "effect", "target", "policy_digest")


def _groups(reading: Reading) -> Groups:
    """How many decisions agree in all of these; the other totals are sums of them."""
    row = REGISTER.c
    names = {
        **{name: row[name] for name in _GROUPED},
        "outcome": func.coalesce(row.outcome, PENDING),
        "effect": func.coalesce(row.effect, case((row.outcome.is_(None), PENDING), else_=NOT_KNOWN)),
    }
    columns = [names[name].label(name) for name in _GROUPED]
    query: Any = select(*columns, func.count().label("many")).where(*reading.about(REGISTER, "decided_at"))
    rows = reading.connection.execute(query.group_by(*columns))
    return [({name: str(found[name]) for name in _GROUPED}, found["many"]) for found in rows.mappings()]


def _sums(groups: Groups, *names: str) -> dict[tuple[str, ...], int]:
    sums: Counter[tuple[str, ...]] = Counter()
    for group, many in groups:
        sums[tuple(group[name] for name in names)] += many
    return dict(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0])))


def _by(groups: Groups, name: str) -> dict[str, int]:
    return {text: many for (text,), many in _sums(groups, name).items()}


def _counts(groups: Groups) -> dict[str, Any]:
    return {
        "decisions": sum(many for _, many in groups),
        **{f"by_{name}": _by(groups, name) for name in ("verdict", "mode", "outcome", "effect", "target")},
        "policies": _by(groups, "policy_digest"),
    }


def _models(reading: Reading) -> Iterator[OfModel]:
    row = DecisionRow
    approved = func.count(case((row.verdict == VerdictKind.APPROVE, 1)))
    query: Any = select(row.model, approved.label("approve"), (func.count() - approved).label("reject"))
    about = reading.about(row.__table__, "decided_at")
    return typed(OfModel, reading.rows(query.where(*about).group_by(row.model).order_by(row.model)))


def _failed_checks(reading: Reading) -> Iterator[FailedCheck]:
    check, row, many = DecisionCheckRow, DecisionRow, func.count().label("count")
    columns = check.rule, check.check_name.label("check"), check.code
    query: Any = (
        select(*columns, many)
        .select_from(check.__table__.join(row.__table__, row.decision_id == check.decision_id))
        # Of what was approved nothing that decides has failed, so none of its checks need be read.
        .where(row.verdict != VerdictKind.APPROVE, *reading.about(row.__table__, "decided_at"))
        .where(check.result == "failed", check.role.is_(None))
        .group_by(check.rule, check.check_name, check.code)
    )
    return typed(FailedCheck, reading.rows(query.order_by(desc(many), check.rule, check.check_name, check.code)))


def _register(reading: Reading, kind: type[Any], *only: Any) -> Iterator[Any]:
    query = columns_of(kind, REGISTER).where(*reading.about(REGISTER, "decided_at"), *only)
    return typed(kind, reading.rows(query.order_by(REGISTER.c.decided_at.desc(), REGISTER.c.decision_id)))


def _opinion(groups: Groups, counts: Mapping[str, Any]) -> str:
    verdicts: Counter[str] = Counter()
    for (verdict, outcome), many in _sums(groups, "verdict", "outcome").items():
        verdicts[conditional(verdict, outcome != OutcomeKind.OBSERVED)] += many
    told = ", ".join(f"{many} {verdict}" for verdict, many in verdicts.most_common())
    effects = ", ".join(f"{many} {effect}" for effect, many in counts["by_effect"].items())
    return f"{counted(counts['decisions'], 'decision')}" + (f": {told}; effects: {effects}" if groups else "")


def _answer(reading: Reading) -> Answer:
    groups = _groups(reading)
    counts = _counts(groups)
    by_all = _sums(groups, "verdict", "mode", "outcome", "effect").items()
    crossed = [Crossed(verdict, mode, outcome, effect, many) for (verdict, mode, outcome, effect), many in by_all]
    return Answer(
        _opinion(groups, counts),
        counts,
        [
            Section("register", Decided, ("decided_at", "verdict", "model"), _register(reading, Decided)),
            Section("crossed", Crossed, ("verdict", "mode", "outcome", "effect", "decisions"), crossed),
            Section("failed_checks", FailedCheck, ("count", "check", "code", "rule"), _failed_checks(reading)),
            Section("by_model", OfModel, ("model", "approve", "reject"), _models(reading)),
            Section(
                "pending",
                Pending,
                ("decided_at", "decision_id", "model", "version", "target"),
                _register(reading, Pending, REGISTER.c.outcome.is_(None)) if counts["by_outcome"].get(PENDING) else (),
            ),
        ],
    )


REPORT = Report(
    "decisions",
    "every decision, by verdict, mode and effect; why versions failed",
    _answer,
    ("register", "crossed", "failed_checks", "by_model", "pending"),
)
