"""Values that many tests need, made with what each test cares about."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from reconciler.domain.evidence.evidence import (
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
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.target import Target

# The registry of requests that are on no server.
REGISTRY = "http://registry.test"


def accuracy_policy(least: float | str = 0.9, *, targets: str = "Production", keys: str = "") -> str:
    """A policy of one rule for all models. `keys`: more lines of the rule, such as `archive_existing: true`."""
    more = f"    {keys}\n" if keys else ""
    check = f"    require: [{{metric: validation_accuracy, min: {least}}}]\n"
    return f"version: 1\nrules:\n  - name: accuracy\n    targets: [{targets}]\n{more}{check}"


def comparing_policy(keys: str = "if_no_holder: pass", *, targets: str = "Production") -> str:
    """A policy of one rule for all models: no worse than what holds the target."""
    check = f"compare: validation_accuracy, min_absolute_change: 0.0, greater_is_better: true, {keys}"
    return f"version: 1\nrules:\n  - name: better\n    targets: [{targets}]\n    require: [{{{check}}}]\n"


def a_request(model: str, asked_at: datetime, *, version: str = "1", target: str = "Production") -> Request:
    """One that ada says she made."""
    asker = Requester("ada", Assurance.ASSERTED)
    goal = Target.parse(target)
    return Request(REGISTRY, "", model, version, goal, asker, asked_at, "please", f"id-{model}", f"fp-{model}")


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
