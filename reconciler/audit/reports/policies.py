"""Which policy was in force when, what changed between two, and how many decisions each made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import func, select

from reconciler.audit.reporting import Answer, Reading, Report, Section, columns_of, overlapping
from reconciler.audit.streaming import typed
from reconciler.audit.tables import DecisionRow, PolicyVersionRow
from reconciler.audit.views import POLICY_PERIODS
from reconciler.domain.policy import Policy
from reconciler.domain.text import counted
from reconciler.policy.diff import differences
from reconciler.policy.file import parse_policy
from reconciler.policy.problems import PolicyError


@dataclass(frozen=True, slots=True)
class Period:
    """A daemon had this policy in force, in one mode."""

    registry: str
    workspace: str
    daemon: str
    mode: str
    policy_digest: str
    policy_file: str
    loaded_by: str
    began_at: datetime
    ended_at: datetime | None
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between a policy and the one that it took the place of, a sentence a row."""

    registry: str
    workspace: str
    at: datetime
    old_digest: str
    new_digest: str
    difference: str


@dataclass(frozen=True, slots=True)
class Under:
    """How many decisions of the period rest on a policy."""

    policy_digest: str
    decisions: int
    approve: int
    reject: int
    first_used_at: datetime


class Swap(NamedTuple):
    registry: str
    workspace: str
    at: datetime
    old: str
    new: str


def _periods(reading: Reading) -> Iterator[Period]:
    period = POLICY_PERIODS.c
    query = columns_of(Period, POLICY_PERIODS).where(*overlapping(reading, period.began_at, period.last_seen_at))
    return typed(Period, reading.rows(query.order_by(period.registry, period.workspace, period.began_at)))


def _swaps(reading: Reading) -> Iterator[Swap]:
    """Replicas load the same policy one after the other: that is one change.

    What was in force last is asked of all that is older, too: a daemon may have ended before the period, with the
    policy that another one begins it without.
    """
    period, current = POLICY_PERIODS.c, dict[tuple[str, str], str]()
    query = select(period.registry, period.workspace, period.began_at, period.policy_digest)
    query = query.where(period.began_at < reading.until)
    for row in reading.rows(query.order_by(period.began_at, period.daemon)):
        place, digest = (row.registry, row.workspace), row.policy_digest
        before = current.get(place, digest)
        if before != digest and (reading.since is None or row.began_at >= reading.since):
            yield Swap(*place, row.began_at, before, digest)
        current[place] = digest


def _changes(reading: Reading, swaps: list[Swap]) -> Iterator[Change]:
    for swap in swaps:
        for sentence in _differences(*(policy_of(reading, digest) for digest in (swap.old, swap.new))):
            yield Change(*swap, sentence)


def _differences(old: Policy | None, new: Policy | None) -> list[str]:
    if old is None or new is None:
        return ["not compared: this release cannot read the text of one of them, or it was changed"]
    return list(differences(old, new)) or ["both mean the same"]


def policy_of(reading: Reading, digest: str) -> Policy | None:
    """A policy from its stored text; None where this release cannot read it, or where it is not the text it was."""
    text = reading.connection.scalar(select(PolicyVersionRow.text).where(PolicyVersionRow.digest == digest))
    if not isinstance(text, str) or sha256(text.encode("utf-8", "surrogatepass")).hexdigest() != digest:
        return None
    try:
        return parse_policy(text, digest[:12], reading.kinds, stored=True).policy
    except PolicyError:
        return None


def _under(reading: Reading) -> Iterator[Under]:
    decision, version = DecisionRow, PolicyVersionRow
    approved = func.count().filter(decision.verdict == "approve")
    columns = (
        decision.policy_digest,
        func.count().label("decisions"),
        approved.label("approve"),
        (func.count() - approved).label("reject"),
        version.first_used_at,
    )
    query: Any = (
        select(*columns)
        .select_from(decision.__table__.join(version.__table__, version.digest == decision.policy_digest))
        .where(*reading.about(decision.__table__, "decided_at"))
        .group_by(decision.policy_digest, version.first_used_at)
    )
    return typed(Under, reading.rows(query.order_by(version.first_used_at, decision.policy_digest)))


def _answer(reading: Reading) -> Answer:
    swaps, under = list(_swaps(reading)), list(_under(reading))
    digests = {period.policy_digest for period in _periods(reading)}
    counts = {
        "policies": len(digests),
        "changes": len(swaps),
        "decisions": sum(one.decisions for one in under),
        "by_policy": {one.policy_digest: one.decisions for one in under},
    }
    told = [counted(len(digests), "policy", "policies"), counted(len(swaps), "change")]
    return Answer(
        f"{told[0]} in force, {told[1]}; {counted(counts['decisions'], 'decision')}",  # type: ignore[arg-type]
        counts,
        [
            Section(
                "periods", Period, ("policy_digest", "mode", "began_at", "ended_at", "loaded_by"), _periods(reading)
            ),
            Section("changes", Change, ("at", "old_digest", "new_digest", "difference"), _changes(reading, swaps)),
            Section("under", Under, ("policy_digest", "decisions", "approve", "reject"), under),
        ],
    )


REPORT = Report(
    "policies",
    "which policy was in force when, what changed, decisions under each",
    _answer,
    ("periods", "changes", "under"),
)
