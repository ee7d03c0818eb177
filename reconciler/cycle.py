"""One pass: settle what the last one left, list, judge, record, act, confirm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from reconciler.domain.codes import ReasonCode
from reconciler.domain.decision import Decision, Judged, Mode, Outcome, OutcomeKind, conditional, effect_of
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.text import visible_name
from reconciler.domain.times import duration_text
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.domain.weight import NORMAL, Weight, of_failure
from reconciler.failpoints import failpoint
from reconciler.judging import JUDGED_TOGETHER, judge_batch
from reconciler.ports import (
    AuditLog,
    CycleNote,
    FirstSeen,
    GoAhead,
    Listed,
    Pending,
    Registry,
    RegistryError,
    Standing,
    Stuck,
    Unavailable,
    Waiting,
)

_T = TypeVar("_T")

# How many are read again, acted on and confirmed together: fewer is a narrower window, more is fewer calls.
_ACTED_ON_TOGETHER = 10
_MAX_ATTEMPTS = 8
_FIRST_RETRY = timedelta(seconds=30)
_LONGEST_RETRY = timedelta(hours=1)
_LONGEST_WHILE_UNAVAILABLE = timedelta(minutes=2)
# So many that cannot be read one after another: the rest is not asked for in this cycle.
_UNREACHABLE = 2


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    policy: Policy
    digest: str
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person follows: kind is decided, abstained or outcome."""

    kind: str
    request: Request
    text: str
    decision_id: str | None = None
    verdict: str | None = None
    weight: Weight = NORMAL


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An act that was tried: what its reply showed, or how it failed. Not `sent`: the cycle is stopping."""

    pending: Pending
    sent: bool = False
    shown: Standing | None = None
    error: RegistryError | None = None

    @property
    def decision(self) -> Decision:
        return self.pending.decision


@dataclass(slots=True)
class CycleSummary:
    """What a cycle did. `unavailable` says what could not be reached; `in_error` counts requests left in error.

    `open` counts what was listed; `resolved` has the keys of those that are not open any more.
    """

    mode: Mode
    open: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    abstentions: Counter[str] = field(default_factory=Counter)
    in_error: int = 0
    in_doubt: int = 0
    unavailable: str | None = None
    stopped: bool = False
    remark: str | None = None
    paused: str | None = None
    oldest: timedelta = timedelta()
    calls: int = 0
    skew: timedelta | None = None
    duration: timedelta = timedelta()
    stuck: list[Stuck] = field(default_factory=list)
    resolved: set[str] = field(default_factory=set)

    @property
    def ok(self) -> bool:
        return self.unavailable is None and not self.in_error

    @property
    def changed_nothing(self) -> bool:
        """Nothing was decided, done or in trouble: an operator has read it all in an earlier cycle's sentence."""
        return self.ok and not (self.verdicts or self.outcomes or self.in_doubt or self.stopped)

    @property
    def sentence(self) -> str:
        if self.unavailable is not None and not self.verdicts:
            return self.facts
        return f"{self.facts}; mode {self.mode}, {duration_text(round_to_millis(self.duration))}"

    @property
    def facts(self) -> str:
        """The sentence without what differs from one cycle to the next."""
        if self.unavailable is not None and not self.verdicts:
            return f"nothing decided: {self.unavailable}" + (f"; {len(self.stuck)} stuck" if self.stuck else "")
        parts = [f"{self.open} open"]
        parts += [f"{count} {word}" for word, count in sorted((self.verdicts + self.outcomes).items())]
        parts += [f"{count} left alone ({code})" for code, count in sorted(self.abstentions.items())]
        parts += [f"{self.in_doubt} to be confirmed by the next cycle"] if self.in_doubt else []
        parts += [f"{self.in_error} in error"] if self.in_error else []
        parts += [f"{len(self.stuck)} stuck (see `mlflow-reconciler status`)"] if self.stuck else []
        parts += ["stopped early"] if self.stopped else []
        parts += [f"acts are paused: {self.paused}"] if self.paused is not None else []
        parts += [self.remark] if self.remark is not None else []
        parts += [self.unavailable] if self.unavailable is not None else []
        return ", ".join(parts)


def round_to_millis(duration: timedelta) -> timedelta:
    return timedelta(milliseconds=round(duration.total_seconds() * 1000))


def retry_after(attempts: int) -> timedelta:
    """30 s, 1 min, 2 min … at most an hour."""
    return min(_FIRST_RETRY * float(2 ** min(attempts, 12)), _LONGEST_RETRY)


class Cycle:
    """Passes over the ports. Make one for the life of the process; `run` is one pass.

    Raises from `run`: AuditUnavailable, with nothing done that is not recorded.
    """

    def __init__(
        self,
        registry: Registry,
        audit: AuditLog,
        *,
        stop: Callable[[], bool] = lambda: False,
        on_event: Callable[[Event], None] = lambda event: None,
        deadline: timedelta | None = None,
        everything_is_due: bool = False,
    ) -> None:
        self._registry = registry
        self._audit = audit
        self._stop = stop
        self._on_event = on_event
        self._deadline = deadline
        self._everything_is_due = everything_is_due

    def run(self, in_force: PolicyInForce, mode: Mode, problem: str | None = None) -> CycleSummary:
        """One pass. One bad request delays only itself; an unreachable registry ends the pass.

        `problem`: what stands beside the sentence in `status`, such as a reload that was refused.
        """
        started = monotonic()
        summary = CycleSummary(mode)
        self._registry.begin(self._deadline)
        summary.paused = self._audit.paused()
        if summary.paused is not None:
            # Listing and judging go on; what is decided is decided anew when acts are allowed again.
            summary.mode = mode = Mode.OBSERVE
        self._audit.keep_policy(in_force.digest, in_force.text)
        failpoint("policy kept")
        try:
            self._settle(summary)
            self._decide(in_force, mode, summary)
        except RegistryError as error:
            summary.unavailable = str(error)
        summary.stuck = self._audit.stuck()
        summary.duration = timedelta(seconds=monotonic() - started)
        measured = self._registry.measured()
        summary.calls, summary.skew = measured.calls, measured.skew
        failpoint("cycle to be noted")
        duration, skew = summary.duration, summary.skew
        self._audit.note_cycle(CycleNote(summary.sentence, summary.ok, mode, in_force.digest, duration, skew, problem))
        return summary

    # --- settle ----------------------------------------------------------------------------------------------

    def _settle(self, summary: CycleSummary) -> None:
        """Carries out what the last pass left, or a daemon that is gone."""
        handled: set[str] = set()
        while not self._stopping(summary):
            claimed = self._audit.claim(_ACTED_ON_TOGETHER, handled, self._everything_is_due)
            if not claimed:
                return
            failpoint("claimed")
            handled |= {one.decision.decision_id for one in claimed}
            self._carry_out(claimed, summary)

    # --- list, judge, record ---------------------------------------------------------------------------------

    def _decide(self, in_force: PolicyInForce, mode: Mode, summary: CycleSummary) -> None:
        listed = self._list(in_force.policy)
        failpoint("listed")
        summary.open = len(listed)
        summary.remark = self._registry.remark()
        summary.oldest = self._age_of_the_oldest(listed)
        undecided = self._undecided(listed, mode)
        waiting: list[Waiting] = []
        for batch in batches(self._our_turn(self._due(undecided)), JUDGED_TOGETHER):
            if self._stopping(summary):
                break
            # Others may have decided some of them while the last batch was carried out.
            still = self._undecided(batch, mode) if len(undecided) > JUDGED_TOGETHER else batch
            decided = [one for one in self._judge(still, in_force, mode, waiting, summary) if one]
            failpoint("recorded")
            self._carry_out(decided, summary, fresh=True)
        self._keep_picture(listed, waiting, mode, summary)

    def _list(self, policy: Policy) -> list[Listed]:
        listed = self._registry.open_requests(policy.scope())
        typed = [one.request for one in listed if not one.stamped]
        first = self._audit.first_seen(typed) if typed else {}
        return [one if one.stamped else _seen(one, first[one.request.key]) for one in listed]

    def _age_of_the_oldest(self, listed: Sequence[Listed]) -> timedelta:
        if not listed:
            return timedelta()
        return max(self._audit.now() - min(one.request.requested_at for one in listed), timedelta())

    def _undecided(self, listed: Sequence[Listed], mode: Mode) -> list[Listed]:
        settled = self._audit.settled([one.request.key for one in listed], mode) if listed else set()
        return sorted((one for one in listed if one.request.key not in settled), key=lambda one: one.request.order)

    def _due(self, listed: Sequence[Listed]) -> list[Listed]:
        if self._everything_is_due or not listed:
            return list(listed)
        aside = self._audit.set_aside([one.request.key for one in listed])
        return [one for one in listed if one.request.key not in aside]

    def _our_turn(self, listed: Sequence[Listed]) -> list[Listed]:
        """The same requests, each daemon beginning elsewhere, so that several do not gather the same evidence."""
        if len(listed) <= JUDGED_TOGETHER:
            return list(listed)
        index, count = self._audit.share()
        first = len(listed) * index // count
        return [*listed[first:], *listed[:first]]

    def _judge(
        self,
        batch: Sequence[Listed],
        in_force: PolicyInForce,
        mode: Mode,
        waiting: list[Waiting],
        summary: CycleSummary,
    ) -> Iterator[Pending | None]:
        for judgement in judge_batch(self._registry, in_force.policy, batch, self._audit.now()):
            request, verdict = judgement.listed.request, judgement.verdict
            if verdict.kind is VerdictKind.ABSTAIN:
                waiting.append(self._abstained(request, verdict, summary))
            else:
                yield self._record(Judged(request, verdict, judgement.evidence, mode, in_force.digest), summary)

    def _abstained(self, request: Request, verdict: Verdict, summary: CycleSummary) -> Waiting:
        summary.abstentions[verdict.reason_code] += 1
        unreadable = verdict.reason_code == ReasonCode.UNREADABLE
        summary.in_error += unreadable
        said = conditional(verdict.kind, summary.mode is not Mode.OBSERVE)
        self._tell("abstained", request, f"{said} ({verdict.reason_code}): {verdict.reason}", weight=Weight.EXPECTED)
        return Waiting(request, verdict.reason_code, verdict.reason, _FIRST_RETRY if unreadable else None, unreadable)

    def _record(self, judged: Judged, summary: CycleSummary) -> Pending | None:
        recorded = self._audit.record(judged)
        if recorded is None:
            return None
        failpoint("decision committed")
        decision = recorded.decision
        summary.verdicts[past_tense(decision.verdict, judged.acts)] += 1
        said = conditional(decision.verdict, judged.acts)
        self._tell("decided", judged.request, f"{said}: {decision.reason}", decision)
        return Pending(decision, 0, recorded.fence) if recorded.fence is not None else None

    def _keep_picture(
        self, listed: Sequence[Listed], waiting: Sequence[Waiting], mode: Mode, summary: CycleSummary
    ) -> None:
        if not listed and not self._had_open:
            return
        # Whoever types the words of a resolved request again asks anew: nothing of the old one may be found then.
        still_open = [one.request for one in listed if one.request.key not in summary.resolved]
        self._had_open = bool(still_open)
        self._audit.reconcile_open(still_open, waiting)
        if mode is not Mode.OBSERVE:
            self._stamp(listed, {one.request.key for one in waiting}, summary)

    # The first pass always writes the picture: what an earlier process left may be out of date.
    _had_open = True

    def _stamp(self, listed: Sequence[Listed], waiting: set[str], summary: CycleSummary) -> None:
        """Gives what was typed by hand, and stays open, its id and time in the registry too."""
        for one in listed:
            if one.stamped or one.request.key not in waiting:
                continue
            try:
                self._registry.stamp(one.request)
            except RegistryError:
                # It keeps its id in the database; the stamp is tried again by the next cycle.
                summary.in_error += 1

    # --- act, confirm ----------------------------------------------------------------------------------------

    def _carry_out(self, pending: Sequence[Pending], summary: CycleSummary, *, fresh: bool = False) -> None:
        """Read how they stand, act on those still open, conclude from what the registry shows.

        `fresh`: decided in this cycle, so that none of them was acted on before.
        """
        for batch in batches(pending, _ACTED_ON_TOGETHER):
            standings = self._read_again(batch, summary)
            failpoint("read again")
            read = [one for one in batch if one.decision.decision_id in standings]
            still_open = [one for one in read if not self._concluded(one, standings, summary, not fresh)]
            # A decision of a stricter mode is left as it is while the mode does not allow the act.
            allowed = [one for one in still_open if summary.mode.acts_on(one.decision.verdict)]
            self._confirm([self._act(one, summary) for one in self._one_a_place(allowed)], summary)

    def _read_again(self, batch: Sequence[Pending], summary: CycleSummary) -> dict[str, Standing]:
        """How they stand now: together, or each by itself where that fails, so that one cannot stop the others."""
        if len(batch) > 1:
            try:
                return self._registry.standings([one.decision for one in batch])
            except RegistryError:
                pass
        standings: dict[str, Standing] = {}
        unreachable = 0
        for one in batch:
            try:
                standings |= self._registry.standings([one.decision])
                unreachable = 0
            except RegistryError as error:
                self._not_read(one, error, summary)
                unreachable = unreachable + 1 if isinstance(error, Unavailable) else 0
            if unreachable == _UNREACHABLE:
                break
        return standings

    def _not_read(self, pending: Pending, error: RegistryError, summary: CycleSummary) -> None:
        summary.in_error += 1
        retry_in = retry_after(pending.failures)
        if isinstance(error, Unavailable):
            # When the registry is back, what it kept waiting does not wait much longer.
            retry_in = min(retry_in, _LONGEST_WHILE_UNAVAILABLE)
        self._audit.not_read(pending, str(error), retry_in)
        failpoint("not read")
        text = f"not acted on, since it could not be read again: {error}"
        weight = of_failure(pending.failures, told_by_the_cycle=isinstance(error, Unavailable))
        self._tell("outcome", pending.decision.request, text, pending.decision, weight)

    def _one_a_place(self, pending: Sequence[Pending]) -> list[Pending]:
        """One act resolves every request for the same version and target; what it left is read by the next cycle."""
        return list({one.decision.request.place: one for one in reversed(pending)}.values())[::-1]

    def _act(self, pending: Pending, summary: CycleSummary) -> _Attempt:
        # Whoever was stopped for longer than his lease finds here that another goes on with it.
        if self._stopping(summary) or self._audit.go_ahead(pending) is not GoAhead.YES:
            return _Attempt(pending)
        failpoint("about to act")
        try:
            shown = self._registry.act(pending.decision)
        except RegistryError as error:
            return _Attempt(pending, sent=True, error=error)
        failpoint("acted")
        return _Attempt(pending, sent=True, shown=shown)

    def _confirm(self, attempts: Sequence[_Attempt], summary: CycleSummary) -> None:
        """What the replies do not show is read; an error tells nothing about what happened."""
        sent = [one for one in attempts if one.sent]
        standings = {one.decision.decision_id: one.shown for one in sent if one.shown is not None}
        unknown = [one.decision for one in sent if one.shown is None]
        try:
            standings |= self._registry.standings(unknown) if unknown else {}
        except RegistryError as error:
            summary.unavailable = str(error)
        failpoint("confirmed")
        for one in sent:
            if one.decision.decision_id not in standings:
                self._in_doubt(one, summary)
            elif not self._concluded(one.pending, standings, summary, may_have_acted=True):
                self._not_done(one, summary)

    def _in_doubt(self, attempt: _Attempt, summary: CycleSummary) -> None:
        """The registry could not be read: it may have happened, and the next cycle finds out."""
        if attempt.error is None:
            summary.in_doubt += 1
        else:
            self._again(attempt, str(attempt.error), summary)

    def _not_done(self, attempt: _Attempt, summary: CycleSummary) -> None:
        """The registry was read, and still shows the request."""
        said = str(attempt.error or "the registry took the act, and still shows the request")
        attempts = attempt.pending.attempts + 1
        if attempts < _MAX_ATTEMPTS:
            self._again(attempt, said, summary)
        else:
            summary.in_error += 1
            self._conclude(attempt.pending, OutcomeKind.FAILED, f"given up after {attempts} attempts: {said}", summary)

    def _again(self, attempt: _Attempt, said: str, summary: CycleSummary) -> None:
        summary.in_error += 1
        self._audit.attempted(attempt.pending, said, retry_after(attempt.pending.attempts))
        failpoint("attempt counted")
        self._tell("outcome", attempt.decision.request, f"not confirmed: {said}", attempt.decision,
                   of_failure(attempt.pending.failures))  # fmt: skip

    def _concluded(
        self, pending: Pending, standings: Mapping[str, Standing], summary: CycleSummary, may_have_acted: bool
    ) -> bool:
        standing = standings[pending.decision.decision_id]
        if standing.open:
            return False
        kind, detail = conclusion(pending.decision, standing, may_have_acted)
        self._conclude(pending, kind, detail, summary)
        return True

    def _conclude(self, pending: Pending, kind: OutcomeKind, detail: str, summary: CycleSummary) -> None:
        if not self._audit.conclude(pending, Outcome(kind, detail)):
            return
        failpoint("concluded")
        summary.outcomes[str(kind)] += 1
        decision, weight = pending.decision, Weight.STUCK if kind is OutcomeKind.FAILED else NORMAL
        if kind is not OutcomeKind.FAILED:
            summary.resolved.add(decision.request.key)
        effect = effect_of(decision.verdict, kind)
        self._tell("outcome", decision.request, f"{kind}{f' ({effect})' if effect else ''}: {detail}", decision, weight)

    # --- telling ---------------------------------------------------------------------------------------------

    def _stopping(self, summary: CycleSummary) -> bool:
        summary.stopped = summary.stopped or self._stop()
        return summary.stopped

    def _tell(
        self, kind: str, request: Request, text: str, decision: Decision | None = None, weight: Weight = NORMAL
    ) -> None:
        self._on_event(event(kind, request, text, decision, weight))


_PAST_TENSE = {VerdictKind.APPROVE: "approved", VerdictKind.REJECT: "rejected"}
NOT_ACTED_ON = "would be "


def past_tense(verdict: VerdictKind, acts: bool) -> str:
    """`approved`, or `would be approved` where nothing is done about it."""
    return _PAST_TENSE[verdict] if acts else NOT_ACTED_ON + _PAST_TENSE[verdict]


def _seen(listed: Listed, first: FirstSeen) -> Listed:
    return replace(listed, request=listed.request.seen_first(first.id, first.at))


def event(kind: str, request: Request, text: str, decision: Decision | None = None, weight: Weight = NORMAL) -> Event:
    place = f"{visible_name(request.model)} version {visible_name(request.version)} to {request.target}"
    id, verdict = (decision.decision_id, str(decision.verdict)) if decision else (None, None)
    return Event(kind, request, f"{place}: {text}", id, verdict, weight)


def conclusion(decision: Decision, standing: Standing, may_have_acted: bool) -> tuple[OutcomeKind, str]:
    """What became of a decision whose request is no longer open, told from what the registry shows."""
    if not standing.exists:
        return OutcomeKind.SUPERSEDED, "the version or its model was deleted meanwhile"
    if standing.decision_id == decision.decision_id:
        return OutcomeKind.APPLIED, "the registry shows this decision"
    if may_have_acted and not standing.tells_who:
        return OutcomeKind.UNATTRIBUTED, "the request is gone, and nothing tells whether by this decision"
    if decision.verdict is VerdictKind.APPROVE and standing.holds:
        return OutcomeKind.UNATTRIBUTED, "the version holds the target, and nothing tells who put it there"
    return OutcomeKind.SUPERSEDED, "the request was withdrawn, changed or resolved by somebody else"


def batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    batch: list[_T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
