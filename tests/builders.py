"""Values that many tests need, made with what each test cares about."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from reconciler.domain.evidence import (
    FACTS,
    Absent,
    Answer,
    Evidence,
    Fact,
    LoggedModelFacts,
    RunFacts,
    Unreadable,
    VersionFacts,
)

NO_LOGGED_MODEL = Absent("no_logged_model", "none")


def evidence_of(
    now: datetime,
    version: VersionFacts | Absent | Unreadable,
    run: RunFacts | Absent | Unreadable,
    logged_model: LoggedModelFacts | Absent | Unreadable = NO_LOGGED_MODEL,
) -> Evidence:
    return Evidence.of(now, {VersionFacts: version, RunFacts: run, LoggedModelFacts: logged_model})


def with_answer(evidence: Evidence, kind: type[Fact], answer: Answer) -> Evidence:
    """The same evidence with another answer for that kind of fact."""
    return Evidence.of(evidence.read_at, {one: evidence.fact(one) for one in FACTS} | {kind: answer})


def with_changed(evidence: Evidence, kind: type[VersionFacts | RunFacts], **changes: object) -> Evidence:
    """The same evidence with other values in its fact of that kind."""
    fact = evidence.fact(kind)
    assert isinstance(fact, kind)
    return with_answer(evidence, kind, replace(fact, **changes))  # type: ignore[arg-type]
