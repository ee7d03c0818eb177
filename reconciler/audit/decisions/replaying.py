"""Stored decisions judged by another policy, in parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from reconciler.audit.decisions.reperforming import STUMBLES, VERIFY, NotJudged, Policies, given
from reconciler.audit.decisions.stored import Part, StoredDecision, read_part
from reconciler.audit.in_parts import results_of
from reconciler.domain.policy import Policy
from reconciler.domain.text import visible
from reconciler.policy.file import parse_policy
from reconciler.policy.plugins import NO_PLUGINS, Plugins
from reconciler.policy.replay import Change, Judging, Replayed, needs_of, replayed


@dataclass(frozen=True, slots=True)
class ReplayedDecision:
    """A decision that would differ, or of which that cannot be told."""

    decision_id: str
    decided_at: str
    model: str
    version: str
    target: str
    recorded: str
    would: Replayed


@dataclass(frozen=True, slots=True)
class OfPart:
    """`count`: how many decisions by what would come of them; `told`: those that would not stay the same."""

    count: Counter[str]
    told: tuple[ReplayedDecision, ...]


@dataclass
class Replay:
    """Judges the decisions of a part by a policy, of which it is given the text with all its files."""

    text: str
    policies: Policies = field(default_factory=Policies)
    _new: Policy | None = None

    def __call__(self, connection: Connection, part: Part) -> OfPart:
        if self._new is None:
            self._new = parse_policy(self.text, "the policy", self.policies.kinds).policy
        count: Counter[str] = Counter()
        told = []
        for one in read_part(connection, part):
            would = _replayed(connection, one, self.policies, self._new)
            count[str(would.change)] += 1
            if would.cause is not None:
                count[f"by {would.cause}"] += 1
            if would.change is not Change.SAME:
                told.append(_told(one, would))
        return OfPart(count, tuple(told))


def _replayed(connection: Connection, one: StoredDecision, policies: Policies, new: Policy) -> Replayed:
    try:
        then = policies.of(connection, one.policy_digest)
        request, evidence = given(one, lambda request: needs_of(then, new, request))
        return replayed(Judging(one.recorded, request, evidence, then), new)
    except NotJudged as reason:
        return Replayed(Change.UNKNOWN, why=reason.found.why)
    except STUMBLES:
        return Replayed(Change.UNKNOWN, why=f"its evidence cannot be judged: {VERIFY}")


def _told(one: StoredDecision, would: Replayed) -> ReplayedDecision:
    id, at, model, version, target, verdict = (
        visible(str(name))
        for name in (one.decision_id, one.decided_at, one.model, one.version, one.target, one.recorded.verdict)
    )
    return ReplayedDecision(id, at, model, version, target, verdict, would)


def replay(url: str, text: str, parts: Sequence[Part], plugins: Plugins = NO_PLUGINS) -> Iterator[OfPart]:
    """The decisions of each part, judged by the policy of this text, in their order.

    Raises:
        AuditUnavailable: the database cannot be read.
    """
    return results_of(url, Replay(text, Policies(plugins)), parts)
