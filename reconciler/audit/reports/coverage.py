"""What no rule covers, which rules cover nothing, and which requests are open for how long."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, exists, func, literal, select, union

from reconciler.audit.holding.tables import ObservationRow
from reconciler.audit.reporting import Answer, Reading, Report, Section, columns_of
from reconciler.audit.reports.policies import policy_of
from reconciler.audit.requests.abstention_tables import AbstentionRow
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.statements import Served
from reconciler.audit.streaming import typed
from reconciler.audit.tables import DecisionCheckRow, DecisionRow, OpenRequestRow
from reconciler.audit.views import POLICY_PERIODS, WAITING
from reconciler.domain.codes import ReasonCode
from reconciler.domain.policy import Policy
from reconciler.domain.policy import Rule as PolicyRule
from reconciler.domain.text import counted

_AGES: Final = {
    "under an hour": timedelta(hours=1),
    "under a day": timedelta(days=1),
    "under a week": timedelta(days=7),
}
_OLDER: Final = "a week or more"


@dataclass(frozen=True, slots=True)
class Ungoverned:
    """A model that is on record, and that no rule of the policy in force names."""

    registry: str
    workspace: str
    model: str
    refused_requests: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the policy in force; `models`: how many on record it names, `decisions`: of the period."""

    registry: str
    workspace: str
    policy_digest: str
    rule: str
    models: int
    decisions: int


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """As of the last cycle."""

    registry: str
    workspace: str
    model: str
    version: str
    target: str
    requester: str
    requested_at: datetime | None
    first_seen_at: datetime
    waiting_code: str | None
    waiting_detail: str | None


# --- rules and models ----------------------------------------------------------------------------------------


def _policies(reading: Reading) -> Iterator[tuple[Served, str, Policy]]:
    """The policy that was in force last in the period, of each registry."""
    period = POLICY_PERIODS.c
    for served in reading.registries:
        here = period.registry == served.registry, period.workspace == served.workspace
        query = select(period.policy_digest).where(*here, period.began_at < reading.until)
        digest = reading.connection.scalar(query.order_by(period.began_at.desc()).limit(1))
        if digest is not None and (policy := policy_of(reading, digest)) is not None:
            yield served, digest, policy


def _models(
    reading: Reading, served: Served, rules: Sequence[PolicyRule], *, asked_for: bool
) -> Mapping[str, Set[str]]:
    """Every model of a registry that anything on record is about, or those that are asked for.

    With the targets, where a rule for prompts asks for them. Without, it costs what there are models, however long
    history is.
    """
    with_targets = any(rule.kind != "model" for rule in rules)
    queries, rows = [], list[Any]([DecisionRow, ObservationRow, AbstentionRow, ResolutionRow])
    for row in rows:
        here = [served.among(row), *(reading.among(row.__table__) if asked_for else [])]
        is_found_by_model = row is not AbstentionRow and not with_targets
        queries.append(_each_model(row, here) if is_found_by_model else select(row.model, row.target).where(*here))
    targets: dict[str, set[str]] = defaultdict(set)
    for found in reading.rows(union(*queries).order_by("model")):
        targets[found.model].add(found.target)
    return targets


def _each_model(row: Any, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The models of a table that has an index of them: each is looked for behind the one before."""
    table = row.__table__
    other = table.alias()
    names: Any = select(func.min(other.c.model).label("model")).cte(f"models_of_{table.name}", recursive=True)
    behind = table.alias()
    following = select(func.min(behind.c.model)).where(behind.c.model > names.c.model).scalar_subquery()
    names = names.union_all(select(following).where(names.c.model.is_not(None)))
    is_here = exists().where(table.c.model == names.c.model, *conditions)
    return select(names.c.model, literal("").label("target")).where(is_here)


def _rules(reading: Reading, policy: Policy) -> list[PolicyRule]:
    """Those about the target that is asked for."""
    target = reading.asked.target
    return [rule for rule in policy.rules if target in {None, *rule.targets}]


def _names(rule: PolicyRule, model: str, targets: Set[str]) -> bool:
    """Whether a rule is for it. The record does not say what is a prompt: one is where a rule for prompts has it."""
    return rule.names.match(model) and (rule.kind == "model" or not targets.isdisjoint(map(str, rule.targets)))


def _matched(rules: Sequence[PolicyRule], models: Mapping[str, Set[str]]) -> tuple[Counter[str], list[str]]:
    """How many of these models each rule names, and those that none does."""
    matched: Counter[str] = Counter()
    without = []
    for model, targets in models.items():
        names = [rule.name for rule in rules if _names(rule, model, targets)]
        matched.update(names)
        if not names:
            without.append(model)
    return matched, without


def _refused(reading: Reading) -> dict[tuple[str, str, str], int]:
    """How many requests waited in vain, since no rule is for them, by model."""
    row = WAITING.c
    place = row.registry, row.workspace, row.model
    waited = WAITING.c.code == ReasonCode.NO_POLICY, *reading.about(WAITING, "began_at")
    query = select(*place, func.count(row.request_key.distinct())).where(*waited).group_by(*place)
    return {(found[0], found[1], found[2]): found[3] for found in reading.connection.execute(query)}


def _decisions(reading: Reading, served: Served) -> dict[str, int]:
    """How many decisions of the period a rule of this name had a part in."""
    check, row = DecisionCheckRow, DecisionRow
    query: Any = (
        select(check.rule, func.count(check.decision_id.distinct()))
        .select_from(check.__table__.join(row.__table__, row.decision_id == check.decision_id))
        .where(served.among(row), *reading.about(row.__table__, "decided_at"))
        .group_by(check.rule)
    )
    return dict(tuple(found) for found in reading.connection.execute(query))


def _judged(reading: Reading) -> tuple[list[Ungoverned], list[Rule]]:
    """A rule that names no model that is asked for is left out, unless it names none on record at all."""
    ungoverned, rules = [], []
    refused = defaultdict(int, _refused(reading))
    for served, digest, policy in _policies(reading):
        place, among = (served.registry, served.workspace), _rules(reading, policy)
        matched, without = _matched(among, _models(reading, served, among, asked_for=True))
        busy = _matched(among, _models(reading, served, among, asked_for=False))[0] if _narrowed(reading) else matched
        decisions = _decisions(reading, served)
        ungoverned += [Ungoverned(*place, model, refused[(*place, model)]) for model in without]
        rules += [
            Rule(*place, digest, rule.name, matched[rule.name], decisions.get(rule.name, 0))
            for rule in among
            if matched[rule.name] or not busy[rule.name]
        ]
    return ungoverned, sorted(rules, key=lambda rule: (rule.models, rule.decisions, rule.rule))


def _narrowed(reading: Reading) -> bool:
    return reading.asked.model is not None or reading.asked.target is not None


# --- open requests -------------------------------------------------------------------------------------------


def _open(reading: Reading) -> Iterator[OpenRequest]:
    table = OpenRequestRow.__table__
    query = columns_of(OpenRequest, table).where(*reading.among(table))
    return typed(OpenRequest, reading.rows(query.order_by(table.c.first_seen_at, table.c.place)))


def _by_age(reading: Reading) -> dict[str, int]:
    row = OpenRequestRow
    age = case(*((row.first_seen_at > reading.now - limit, name) for name, limit in _AGES.items()), else_=_OLDER)
    query: Any = select(age, func.count()).where(*reading.among(row.__table__)).group_by(age)
    return dict.fromkeys([*_AGES, _OLDER], 0) | reading.counted(query)


def _answer(reading: Reading) -> Answer:
    ungoverned, rules = _judged(reading)
    idle = [rule for rule in rules if not rule.models]
    by_age = _by_age(reading)
    open_now = sum(by_age.values())
    old = f", {by_age[_OLDER]} of them for {_OLDER}" if by_age[_OLDER] else ""
    return Answer(
        f"{counted(len(ungoverned), 'model')} on record without a rule; {counted(len(idle), 'rule')} of {len(rules)} "
        f"for no model on record; {counted(open_now, 'open request')}{old}",
        {
            "models_without_a_rule": len(ungoverned),
            "rules": len(rules),
            "rules_without_a_model": len(idle),
            "open": open_now,
            "by_age": by_age,
        },
        [
            Section("models", Ungoverned, ("model", "refused_requests"), ungoverned),
            Section("rules", Rule, ("rule", "models", "decisions", "policy_digest"), rules),
            Section(
                "open", OpenRequest, ("model", "version", "target", "first_seen_at", "waiting_code"), _open(reading)
            ),
        ],
        list(_limits(reading)),
    )


def _limits(reading: Reading) -> Iterator[str]:
    yield "nothing is on record about a model that was never requested and never held a governed target"
    if _narrowed(reading):
        yield "rules for other models on record, or for other targets alone, are left out"


REPORT = Report(
    "coverage",
    "models without a rule, rules without a model, open requests by age",
    _answer,
    ("models", "rules", "open"),
)
