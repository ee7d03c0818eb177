"""Stored evidence as a policy may judge it that was not in force: what was never captured is not taken for absent.

Of what the policy of then asked for, everything is there, and so is its absence. Of the rest there is what came with
the same calls, and had room (`reconciler.domain.evidence.keeping`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import (
    Absent,
    Answer,
    Evidence,
    Fact,
    HistoryFacts,
    HolderFacts,
    LoggedModelFacts,
    ModelFacts,
    Needs,
    RunFacts,
    SignatureFacts,
    TenureFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.withheld import Partial, Withheld, without

NOT_CAPTURED: Final = "was not captured"


def as_captured(evidence: Evidence, then: Needs, now: Needs) -> Evidence:
    """The evidence, in which asking for what was not captured raises `Withheld`, or finds what cannot be read.

    Args:
        then: what the policy asked for by which it was gathered.
        now: what is asked of it.
    """
    answers: dict[str, Answer] = dict(evidence.answers)
    kinds: tuple[tuple[type[Fact], bool], ...] = (
        (RunFacts, now.run),
        (LoggedModelFacts, now.logged_model),
        (ModelFacts, now.registered_model),
        (HolderFacts, now.holder),
        (TenureFacts, bool(now.held)),
        (SignatureFacts, now.signature),
        (HistoryFacts, bool(now.histories)),
    )
    for kind, asked in kinds:
        answer = answers.get(kind.key)
        if asked and (answer is None or (isinstance(answer, Absent) and answer.code == AbsenceCode.NOT_ASKED)):
            answers[kind.key] = Unreadable(f"{kind.key} {NOT_CAPTURED}")
    captured = replace(evidence, answers=MappingProxyType(answers))
    captured = captured.withholding(list(_names(captured, then, now)), NOT_CAPTURED)
    # A check that the policy of then did not have was judged by no code, and is judged by that of today.
    before = {code.check for code in then.codes}
    captured = captured.judged_by([code for code in now.codes if code.check not in before])
    holder = captured.answers.get(HolderFacts.key)
    if isinstance(holder, HolderFacts):
        captured = captured.knowing(_holder(holder, now.metrics - then.metrics))
    run = captured.answers.get(RunFacts.key)
    return captured.knowing(_run(run, then, now)) if isinstance(run, RunFacts) else captured


def _names(evidence: Evidence, then: Needs, now: Needs) -> Iterator[str]:
    """Paths of tags and metrics whose absence says nothing."""
    version, model = evidence.answers.get(VersionFacts.key), evidence.answers.get(ModelFacts.key)
    if isinstance(version, VersionFacts):
        yield from _uncertain(version, "tags", now.tags - then.tags)
    for key in (RunFacts.key, LoggedModelFacts.key):
        fact = evidence.answers.get(key)
        if isinstance(fact, RunFacts | LoggedModelFacts):
            yield from _uncertain(fact, "metrics", now.metrics - then.metrics)
        if isinstance(fact, RunFacts):
            yield from _uncertain(fact, "params", now.params - then.params)
    if isinstance(model, ModelFacts):
        # Only tags that are asked for are read of a model.
        yield from (f"{ModelFacts.key}.tags.{name}" for name in sorted(now.model_tags - then.model_tags))
    if isinstance(history := evidence.answers.get(HistoryFacts.key), HistoryFacts):
        yield from sorted({f"{HistoryFacts.key}.metrics.{name}" for name in _other_steps(history, then, now)})
    if isinstance(evidence.answers.get(TenureFacts.key), TenureFacts):
        yield from (f"{TenureFacts.key}.targets.{target}" for target in sorted(now.held - then.held))


def _other_steps(history: HistoryFacts, then: Needs, now: Needs) -> Iterator[str]:
    """Metrics of which what is asked now is not among what was kept. The best of each is."""
    kept = {name for name, _ in then.histories}
    metrics: Mapping[str, object] = _member(history, "metrics") or {}
    for name, step in now.histories - then.histories:
        if name not in kept or (step is not None and name in set(metrics)):
            yield name


def _uncertain(fact: Any, member: str, names: Collection[str]) -> Iterator[str]:
    there = _member(fact, member)
    if there is None or not _lacks_some(fact, member):
        return
    for name in sorted(names):
        # Of a logged model's metric some readings may be missing.
        if isinstance(fact, LoggedModelFacts) or name not in set(there):
            yield f"{fact.key}.{member}.{name}"


def _member(fact: Fact, member: str) -> Any:
    """None where it was redacted."""
    try:
        return getattr(fact, member)
    except Withheld:
        return None


def _lacks_some(fact: Fact, member: str) -> bool:
    """Whether not all that the registry showed is there: some had no room, or an earlier release kept only some."""
    left_out: Mapping[str, object] | None = _member(fact, "left_out")
    return left_out is None or member in left_out


# --- runs ----------------------------------------------------------------------------------------------------


def _holder(holder: HolderFacts, names: Collection[str]) -> HolderFacts:
    """Of a holder only the metrics were kept that were asked for."""
    left = copy.copy(holder)
    for member in ("run", "logged_model"):
        fact = _member(holder, member)
        if isinstance(fact, RunFacts | LoggedModelFacts):
            paths = [f"{fact.key}.metrics.{name}" for name in sorted(names)]
            object.__setattr__(left, member, without(fact, fact.key, paths, NOT_CAPTURED))
    return left


class _Some(Partial[Any]):
    """Metrics of which there were more: whoever goes through all of them is refused."""

    def items(self) -> Any:
        raise Withheld(self.path, NOT_CAPTURED)


class _Uncaptured:
    """In the place of a value: whoever looks at it is refused."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        raise Withheld(self._path, NOT_CAPTURED)


def _run(run: RunFacts, then: Needs, now: Needs) -> RunFacts:
    left = copy.copy(run)
    metrics = _member(run, "metrics")
    if metrics is not None and not now.metric_globs <= then.metric_globs and _lacks_some(run, "metrics"):
        object.__setattr__(left, "metrics", _some(metrics))
    if now.run_user and not then.run_user and _lacks_some(run, "user") and _member(run, "user") is None:
        object.__setattr__(left, "user", _Uncaptured(f"{RunFacts.key}.user"))
    return left


def _some(metrics: Mapping[str, Any]) -> _Some:
    some = _Some(metrics)
    some.path = f"{RunFacts.key}.metrics"
    if isinstance(metrics, Partial):
        some.withheld, some.globs = metrics.withheld, metrics.globs
    return some
