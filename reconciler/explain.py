"""What would be decided now. Nothing is recorded, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from time import monotonic
from typing import Protocol

from reconciler.cycle import CycleSummary, Event, PolicyInForce
from reconciler.cycle.batches import batches
from reconciler.cycle.happening import Happening, event, of_unread, past_tense
from reconciler.cycle.summary import summary_of
from reconciler.domain.codes import ReasonCode
from reconciler.domain.decision import Mode, left_undone
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.evidence.facts import LoggedModelFacts, RunFacts
from reconciler.domain.metric_codes import MetricCode
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import command_line, visible_name
from reconciler.domain.verdict import CheckResult, Verdict, VerdictKind
from reconciler.judging import JUDGED_TOGETHER, judge_batch
from reconciler.ports import Found, Listed, Registry, RegistryError
from reconciler.ports.observations import Arrivals

# Names of metrics that are shown where one is missing.
_NAMES = 8


class Asking(Registry, Protocol):
    """A registry in which one version can be looked up."""

    def find(self, model: str, version: str, target: Target, now: datetime) -> Found: ...


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a version would be approved for a target if it were judged at `at`, on what the registry shows `now`.

    `asker`: who would ask, as the server would vouch for it; "" where nobody is named, or a request is open.
    """

    model: str
    version: str
    target: Target
    at: datetime
    now: datetime
    asker: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`open_request` is False where none was filed; `request` is then what it would be.

    `holds`: the version already holds the target. `mode`: what the daemon may do; `mode_is_set`: it was configured.
    """

    request: Request
    verdict: Verdict
    evidence: Evidence
    open_request: bool
    holds: bool = False
    mode: Mode = Mode.ENFORCE
    mode_is_set: bool = True

    @property
    def left_undone(self) -> str:
        """Says that the verdict is not acted on, and what to do; "" where it is, or where nothing needs a request."""
        if self.verdict.kind is VerdictKind.ABSTAIN or (self.holds and not self.open_request):
            return ""
        return left_undone(self.mode, self.verdict.kind, is_set=self.mode_is_set)

    def logged_there(self, check: CheckResult) -> Sequence[str]:
        """Metrics that were logged where one is missing, the likeliest first: its name may have been misspelt."""
        if check.code != MetricCode.METRIC_MISSING:
            return ()
        run, model = self.evidence.fact(RunFacts), self.evidence.fact(LoggedModelFacts)
        logged: Mapping[str, object] = {}
        if isinstance(run, RunFacts) and check.source == f"run {run.run_id}":
            logged = run.metrics
        elif isinstance(model, LoggedModelFacts) and check.source == f"logged model {model.model_id}":
            logged = {name: readings for name, readings in model.metrics.items() if readings}
        near = get_close_matches(check.check.removeprefix("metric "), logged, n=_NAMES)
        return [visible_name(name) for name in dict.fromkeys([*near, *sorted(logged)])][:_NAMES]

    @property
    def next_step(self) -> str:
        """What to do now, with the exact command where there is one."""
        if self.verdict.kind is VerdictKind.ABSTAIN:
            return _AFTER_ABSTENTION.get(self.verdict.reason_code, _LOOK_AGAIN).format(explain=self._command("explain"))
        if self.verdict.kind is VerdictKind.REJECT:
            return self._after_rejection()
        if self.open_request:
            action = "decides it" if self.mode.acts_on(self.verdict.kind) else "records that it would approve it"
            return f"a request is open: the daemon {action} in its next cycle"
        if self.holds:
            return "there is nothing to request"
        return f"request it: {self._command('request create')}"

    def _after_rejection(self) -> str:
        if self.open_request:
            withdraw = self._command("request withdraw")
            return f"fix the failed checks before the open request is decided, or withdraw it: {withdraw}"
        return f"fix the failed checks, then look again: {self._command('explain')}"

    def _command(self, command: str) -> str:
        return command_line(command, self.request.model, self.request.version, str(self.request.target))


_LOOK_AGAIN = "look again later: {explain}"
_AFTER_ABSTENTION = {
    ReasonCode.NO_POLICY: "no daemon decides such a request: ask the policy's owner for a rule, or a person to decide",
    ReasonCode.OUTSIDE_WINDOW: "an open request is decided when the window opens; see {explain}",
    ReasonCode.HELD_TOO_SHORT: "an open request is decided once the time is over; see {explain}",
    ReasonCode.NOT_OBSERVED: "make sure that a daemon with this policy runs, then look again: {explain}",
    ReasonCode.ONLY_ADVISORY: "the policy only observes such a request: a person must decide",
    ReasonCode.CONFLICTING_RULES: "no daemon decides such a request: ask the policy's owner to fix the rules",
    ReasonCode.WAITING: "a missing value may still arrive; look again later: {explain}",
    ReasonCode.MISSING: "log what is missing, then look again: {explain}; until then, a person must decide",
    ReasonCode.WITHHELD: "no daemon decides such a request: ask its operator to fix the policy or evidence.exclude",
    ReasonCode.UNDETERMINED: "no daemon decides such a request: a person must, or its operator must change the policy",
    ReasonCode.UNREADABLE: "what could not be read is named above; try again: {explain}",
}


def explain(
    registry: Asking,
    in_force: PolicyInForce,
    question: Question,
    mode: Mode,
    record: Arrivals | None,
    *,
    mode_is_set: bool,
) -> Explanation:
    """Judges as a cycle would at the time of the question. `record`: as of `judge_batch`.

    Raises:
        NotFound: there is no such version.
        Unavailable, Refused: the registry could not be queried.
    """
    found = registry.find(question.model, question.version, question.target, question.now)
    listed = _as_seen_at(found.listed, question.at)
    if question.asker and not found.open:
        asker = Requester(question.asker, Assurance.AUTHENTICATED)
        listed = replace(listed, request=replace(listed.request, requester=asker))
    [judged] = judge_batch(registry, in_force.policy, [listed], question.now, question.at, record)
    return Explanation(listed.request, judged.verdict, judged.evidence, found.open, found.holds, mode, mode_is_set)


def preview(
    registry: Registry,
    in_force: PolicyInForce,
    mode: Mode,
    now: datetime,
    on_event: Callable[[Event], None],
    record: Arrivals | None = None,
) -> CycleSummary:
    """What a cycle would decide at `now` about every open request. `record`: as of `judge_batch`."""
    started = monotonic()
    listed: Sequence[Listed] = ()
    happened: list[Happening] = []
    try:
        listing = registry.open_requests(scope := in_force.policy.scope())
        listed, happened = listing.requests, of_unread(listing.unread, scope)
        for batch in batches([_as_seen_at(entry, now) for entry in listed], JUDGED_TOGETHER):
            for judgement in judge_batch(registry, in_force.policy, batch, now, record=record):
                on_event(_foreseen(judgement.listed.request, judgement.verdict))
                happened.append(_counts(judgement.verdict))
    except RegistryError as error:
        happened.append(Happening(unavailable=str(error)))
    duration = timedelta(seconds=monotonic() - started)
    return replace(summary_of(mode, happened), open=len(listed), duration=duration)


def _foreseen(request: Request, verdict: Verdict) -> Event:
    if verdict.kind is VerdictKind.ABSTAIN:
        return event("abstained", request, f"would abstain ({verdict.reason_code}): {verdict.reason}")
    return event("decided", request, f"would {verdict.kind}: {verdict.reason}")


def _counts(verdict: Verdict) -> Happening:
    if verdict.kind is VerdictKind.ABSTAIN:
        return Happening(abstained=verdict.reason_code, in_error=verdict.reason_code == ReasonCode.UNREADABLE)
    return Happening(verdict=past_tense(verdict.kind, acts=False))


def _as_seen_at(listed: Listed, now: datetime) -> Listed:
    if listed.stamped:
        return listed
    return replace(listed, request=listed.request.seen_first(listed.request.id, now))
