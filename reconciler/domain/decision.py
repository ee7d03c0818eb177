"""A verdict made durable, and what became of it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from reconciler.domain.engines.current import ENGINE
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.request import Request
from reconciler.domain.text import command_line, cut_at_word
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
    SUPERSEDED = "superseded"  # someone else resolved it first, or the version is gone
    UNATTRIBUTED = "unattributed"  # it is gone, and the registry does not show who resolved it
    LAPSED = "lapsed"  # not carried out in time, and judged otherwise since
    OBSERVED = "observed"  # this mode does not act on it

    @property
    def leaves_open(self) -> bool:
        """Whether a decision that was to be acted on ends so with its request still open."""
        return self in {OutcomeKind.FAILED, OutcomeKind.LAPSED}


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: OutcomeKind
    detail: str
    at: datetime | None = None  # given by the database


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with all it rests on, ready to be recorded. Never an abstention.

    `judgement` counts the decisions about the request; `replaces` is the id of the one that this one succeeds.
    """

    request: Request
    verdict: Verdict
    evidence: Evidence
    mode: Mode
    policy_digest: str
    engine: int = ENGINE
    judgement: int = 1
    replaces: str | None = None

    @property
    def acts(self) -> bool:
        return self.mode.acts_on(self.verdict.kind)


class Leaf(NamedTuple):
    """Where a decision stands in the log: the number of its entry, and the hash (hex) of it."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the audit database holds and the registry is told. `decided_at` is the database's clock.

    `engine` is the number of the engine that judged it, which also judges it again. `judgement` counts the decisions
    about the request; `replaces` is the one that it succeeds. `leaf` makes the registry a witness for the log.
    """

    decision_id: str
    decided_at: datetime
    request: Request
    verdict: VerdictKind
    reason: str
    mode: Mode
    policy_digest: str
    rule: str
    archive_existing: bool
    engine: int = ENGINE
    judgement: int = 1
    replaces: str | None = None
    leaf: Leaf | None = None

    @property
    def acts(self) -> bool:
        return self.mode.acts_on(self.verdict)

    def contends_with(self, other: Decision) -> bool:
        """Whether the order of the two acts decides what the registry shows in the end."""
        mine, its = self.request, other.request
        if mine.place.model_target != its.place.model_target:
            return False
        if mine.version == its.version:
            return True
        # One version at a time holds an alias, and a stage whose holders are archived.
        takes = not mine.target.is_stage or self.archive_existing or other.archive_existing
        return takes and self.verdict is other.verdict is VerdictKind.APPROVE

    def sentence(self, limit: int = TAG_BYTES) -> str:
        """What the registry is told: what and why, then what to do next, ids last; at most `limit` UTF-8 bytes."""
        request = self.request
        asker = request.requester.known_as
        ids = f"(decision {self.decision_id}, policy {self.policy_digest[:12]})"
        entry = f", log entry {self.leaf.number} sha256:{self.leaf.hash}" if self.leaf is not None else ""
        rest = f" Decided {iso(self.decided_at)}, requested by {asker}{entry} {ids}"
        if self.verdict is not VerdictKind.APPROVE:
            command = command_line("request create", request.model, request.version, str(request.target))
            rest = f" Fix the failed checks, then request the transition again: {command}.{rest}"
        word = "Approved" if self.verdict is VerdictKind.APPROVE else "Rejected"
        place = f"{request.place.version_text} for {request.target}"
        return cut_at_word(f"{word} {place}: {self.reason}.", limit - len(rest.encode("utf-8", "replace"))) + rest


DECISION_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_IDS_LAST = re.compile(rf"\(decision ({DECISION_ID}), policy [0-9a-f]*\)")
# The first release wrote the ids before the reason.
_IDS_FIRST = re.compile(rf"(?:Approved|Rejected) \S+ \(decision ({DECISION_ID}),")
_ENTRY = re.compile(r", log entry ([0-9]{1,18}) sha256:([0-9a-f]{64}) \Z", re.ASCII)
# The app appends the account that decided to the daemon's sentence.
_NOTED_BEHIND = re.compile(r"(?: \(By .*\.\))?", re.DOTALL)


def in_file_names(decision_id: str) -> str:
    """A decision's id as a part of a file's name.

    Whoever holds the daemon's role can log any id: of one that is no UUID as ours are, it is the id's SHA-256. So none
    leads out of a folder, and no two are one file, on file systems without regard to case either.
    """
    if re.fullmatch(DECISION_ID, decision_id):
        return decision_id
    return f"sha256-{hashlib.sha256(decision_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def decision_id_in(sentence: str) -> str | None:
    """The decision that a sentence of ours names, or None. Ids in text of strangers, which it quotes, do not count."""
    last = _ids_of(sentence)
    first = last or _IDS_FIRST.match(sentence)
    return first.group(1) if first else None


def is_ids_first(sentence: str) -> bool:
    """Whether a sentence has its ids before the reason, as the first release wrote them."""
    return _ids_of(sentence) is None and _IDS_FIRST.match(sentence) is not None


def leaf_in(sentence: str) -> Leaf | None:
    """The entry of the log that a sentence of ours names beside its decision, or None."""
    ids = _ids_of(sentence)
    found = _ENTRY.search(sentence, 0, ids.start()) if ids else None
    return Leaf(int(found.group(1)), found.group(2)) if found else None


def _ids_of(sentence: str) -> re.Match[str] | None:
    ids = list(_IDS_LAST.finditer(sentence))
    return ids[-1] if ids and _NOTED_BEHIND.fullmatch(sentence, ids[-1].end()) else None


def conditional(verdict: VerdictKind | str, acts: bool) -> str:
    """`approve`, or `would approve` where it is not acted on."""
    return str(verdict) if acts else f"would {verdict}"


_ASK = "nothing is moved; ask its operator for mode enforce, or a person to decide"


def left_undone(mode: Mode, verdict: VerdictKind | None, *, is_set: bool = True) -> str:
    """Says that the daemon does not act in this mode, and what the requester can do; "" where it acts.

    Args:
        verdict: None where it is not known.
        is_set: the mode was configured here; else the daemon may have another.
    """
    if mode is Mode.OBSERVE and is_set:
        return f"the daemon only observes (mode observe): {_ASK}"
    if mode is Mode.OBSERVE:
        return "the daemon's mode is not known here: if it only observes (mode observe), nothing is moved"
    if mode is Mode.APPROVE_ONLY and verdict is VerdictKind.REJECT:
        return "the daemon only approves (mode approve-only): a request that fails is left for a person to decide"
    return ""


class Effect(StrEnum):
    """What a decision did to the registry."""

    MOVED = "moved"
    REFUSED = "refused"
    NOTHING = "nothing"


_EFFECTS = {VerdictKind.APPROVE: Effect.MOVED, VerdictKind.REJECT: Effect.REFUSED}
_WITHOUT_EFFECT = {OutcomeKind.OBSERVED, OutcomeKind.SUPERSEDED, OutcomeKind.LAPSED}


def effect_of(verdict: VerdictKind, outcome: OutcomeKind) -> Effect | None:
    """None where it is not known: the acts of a decision that failed or is unattributed may have happened."""
    if outcome is OutcomeKind.APPLIED:
        return _EFFECTS[verdict]
    return Effect.NOTHING if outcome in _WITHOUT_EFFECT else None
