"""A verdict made durable, and what became of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.domain.evidence import Evidence
from reconciler.domain.request import Request
from reconciler.domain.text import cut_at_word, visible_name
from reconciler.domain.times import iso
from reconciler.domain.verdict import Verdict, VerdictKind

# Every MLflow store takes a tag of this size; the comment of a transition request may be longer.
TAG_BYTES = 4_900
COMMENT_BYTES = 65_535


class Mode(StrEnum):
    OBSERVE = "observe"  # decide and record, touch nothing
    APPROVE_ONLY = "approve-only"  # a failing request is left for a person
    ENFORCE = "enforce"

    def acts_on(self, verdict: VerdictKind) -> bool:
        if self is Mode.ENFORCE:
            return verdict is not VerdictKind.ABSTAIN
        return self is Mode.APPROVE_ONLY and verdict is VerdictKind.APPROVE


class OutcomeKind(StrEnum):
    APPLIED = "applied"  # the registry shows it
    FAILED = "failed"  # given up after bounded attempts
    SUPERSEDED = "superseded"  # somebody else resolved it first, or the version is gone
    UNATTRIBUTED = "unattributed"  # it is gone, and nothing tells who did it
    OBSERVED = "observed"  # nothing was to be done in this mode


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: OutcomeKind
    detail: str
    at: datetime | None = None  # given by the database


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with all it rests on, ready to be recorded. Never an abstention."""

    request: Request
    verdict: Verdict
    evidence: Evidence
    mode: Mode
    policy_digest: str

    @property
    def acts(self) -> bool:
        return self.mode.acts_on(self.verdict.kind)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the audit database holds and the registry is told. `decided_at` is the database's clock."""

    decision_id: str
    decided_at: datetime
    request: Request
    verdict: VerdictKind
    reason: str
    mode: Mode
    policy_digest: str
    rule: str
    archive_existing: bool

    def sentence(self, limit: int = TAG_BYTES) -> str:
        """What the registry is told: who asked, why, what to do next; at most `limit` UTF-8 bytes."""
        word = "Approved" if self.verdict is VerdictKind.APPROVE else "Rejected"
        asker = visible_name(self.request.requester.name) or "somebody unknown"
        head = f"{word} {iso(self.decided_at)} (decision {self.decision_id}, policy {self.policy_digest[:12]})"
        advice = "" if self.verdict is VerdictKind.APPROVE else " Mend what is named, then ask again."
        return cut_at_word(f"{head}, as {asker} asked: {self.reason}.", limit - len(advice)) + advice


_DECISION_ID = re.compile(r"\(decision ([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}),")


def decision_id_in(sentence: str) -> str | None:
    """The decision that a sentence of ours names, or None."""
    found = _DECISION_ID.search(sentence)
    return found.group(1) if found else None
