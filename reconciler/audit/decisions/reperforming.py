"""Stored decisions judged again: from their stored evidence, by the policy that was in force and by their own engine.

Whether rows are those that were written is for `audit verify` to say. This says whether a decision follows from what
was recorded with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Connection, select

from reconciler.audit.decisions.stored import Part, StoredDecision, read_part
from reconciler.audit.evidence.reading import evidence_for
from reconciler.audit.in_parts import results_of
from reconciler.audit.log.canonical import Damaged
from reconciler.audit.rows import RequestColumns
from reconciler.audit.tables import PolicyVersionRow
from reconciler.domain.agreement import Agreement, Discrepancy, by_recorded_checks, compared, overall
from reconciler.domain.checks.kinds import Kinds
from reconciler.domain.evidence.evidence import Evidence, Needs
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.text import visible
from reconciler.judging import UnknownEngine, judge_again
from reconciler.policy.file import PolicyError, parse_policy
from reconciler.policy.plugins import NO_PLUGINS, Plugins

VERIFY = "see `mlflow-reconciler audit verify`"
# What evidence that somebody changed can make a check stumble over.
STUMBLES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)
_POLICIES_KEPT = 100


@dataclass(frozen=True, slots=True)
class Reperformed:
    """A decision that did not come out as it was recorded, or not all of which could be told."""

    decision_id: str
    decided_at: str
    model: str
    version: str
    target: str
    found: tuple[Discrepancy, ...]

    @property
    def agreement(self) -> Agreement:
        return overall(self.found)


@dataclass(frozen=True, slots=True)
class OfPart:
    """`judged`: how many decisions; `told`: those of them that do not agree."""

    judged: int
    told: tuple[Reperformed, ...]


class NotJudged(Exception):
    """A decision cannot be judged again; `found` says why."""

    def __init__(self, found: Discrepancy) -> None:
        super().__init__(found.why)
        self.found = found


def unknown(what: str, why: str) -> NotJudged:
    return NotJudged(Discrepancy(Agreement.UNKNOWN, what, why=why))


# --- policies ------------------------------------------------------------------------------------------------


@dataclass
class Policies:
    """The policies that were in force, by the digest of their text. It remembers those that it has read."""

    plugins: Plugins = NO_PLUGINS
    _known: dict[str, Policy | NotJudged] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> Kinds:
        """In each process anew: its checks of plugins have a process there, and name the code that they have there."""
        return self.plugins.kinds()

    def of(self, connection: Connection, digest: str) -> Policy:
        """Raises NotJudged where its text is not what it was, or cannot be read."""
        if digest not in self._known:
            if len(self._known) >= _POLICIES_KEPT:
                self._known.clear()
            self._known[digest] = _policy(connection, digest, self.kinds)
        known = self._known[digest]
        if isinstance(known, NotJudged):
            raise known
        return known


def _policy(connection: Connection, digest: str, kinds: Kinds) -> Policy | NotJudged:
    text = connection.scalar(select(PolicyVersionRow.text).where(PolicyVersionRow.digest == digest))
    if text is None:
        return NotJudged(Discrepancy(Agreement.DIFFERS, "policy", "", digest, "", f"the policy is missing: {VERIFY}"))
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    if (other := hashlib.sha256(raw).hexdigest()) != digest:
        changed = f"the text of the policy was changed: {VERIFY}"
        return NotJudged(Discrepancy(Agreement.DIFFERS, "policy", "", digest, other, changed))
    try:
        return parse_policy(text, f"policy {digest[:12]}", kinds, stored=True).policy
    except PolicyError as error:
        return unknown("policy", f"this release cannot read the policy: {visible(str(error).splitlines()[0], 300)}")
    except STUMBLES:
        return unknown("policy", "this release cannot read the policy")


# --- decisions -----------------------------------------------------------------------------------------------


def given(stored: StoredDecision, needs: Callable[[Request], Needs]) -> tuple[Request, Evidence]:
    """What a decision was judged on, as far as these needs go. Raises NotJudged."""
    try:
        request = stored.request()
    except Damaged as damage:
        raise unknown("request", f"its request {damage}: {VERIFY}") from None
    if stored.evidence is None:
        raise unknown("evidence", f"its evidence is missing: {VERIFY}")
    try:
        return request, evidence_for(stored.evidence, needs(request))
    except Damaged as damage:
        raise unknown("evidence", f"its evidence {damage}: {VERIFY}") from None
    except ValueError as error:
        raise unknown("evidence", visible(str(error), 300)) from None


def discrepancies(connection: Connection, stored: StoredDecision, policies: Policies) -> list[Discrepancy]:
    """What of a decision does not come out as it was recorded; nothing where all of it does."""
    recorded = stored.recorded
    try:
        policy = policies.of(connection, stored.policy_digest)
        request, evidence = given(stored, policy.needs)
        again = judge_again(recorded.engine, policy, request, evidence)
    except NotJudged as reason:
        return [reason.found, *by_recorded_checks(recorded)]
    except UnknownEngine as error:
        return [unknown("engine", str(error)).found]
    except STUMBLES:
        return [unknown("evidence", f"its evidence cannot be judged: {VERIFY}").found, *by_recorded_checks(recorded)]
    return [*_of_request(stored, request), *compared(recorded, again)]


def _of_request(stored: StoredDecision, request: Request) -> Iterator[Discrepancy]:
    """What the columns say of the request, of which the JSON was judged."""
    columns = RequestColumns.of(request)
    for name in ("model", "version", "target", "requester"):
        shown, judged = getattr(stored, name), getattr(columns, name)
        if shown != judged:
            yield Discrepancy(Agreement.DIFFERS, name, "", visible(str(shown)), judged, "the request that was judged")


@dataclass
class Reperform:
    """Judges the decisions of a part again."""

    policies: Policies = field(default_factory=Policies)

    def __call__(self, connection: Connection, part: Part) -> OfPart:
        decisions = read_part(connection, part)
        told = ((one, discrepancies(connection, one, self.policies)) for one in decisions)
        return OfPart(len(decisions), tuple(_reperformed(one, found) for one, found in told if found))


def _reperformed(one: StoredDecision, found: Sequence[Discrepancy]) -> Reperformed:
    id, at, model, version, target = (
        visible(str(name)) for name in (one.decision_id, one.decided_at, one.model, one.version, one.target)
    )
    return Reperformed(id, at, model, version, target, tuple(found))


def reperform(url: str, parts: Sequence[Part], plugins: Plugins = NO_PLUGINS) -> Iterator[OfPart]:
    """Each part judged again, in their order.

    Args:
        plugins: their checks, of which no other can be judged again.

    Raises:
        AuditUnavailable: the database cannot be read.
    """
    return results_of(url, Reperform(Policies(plugins)), parts)
