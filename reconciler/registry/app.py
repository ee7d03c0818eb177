"""An MLflow server with our app: the transition-requests protocol plus a list of every open request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from reconciler.domain.decision import Decision
from reconciler.domain.evidence.evidence import Evidence, Needs
from reconciler.domain.holding.looks import Look, Wanted
from reconciler.domain.request import Assurance, Request
from reconciler.domain.scope import Part, Scope
from reconciler.domain.tag_format import decision_tag
from reconciler.domain.target import Target
from reconciler.domain.verdict import VerdictKind
from reconciler.ports import History, Listed, Listing, Standing, Told
from reconciler.registry.app_history import history_in
from reconciler.registry.app_holders import AppHolders
from reconciler.registry.app_models import AppModels
from reconciler.registry.errors import TooLarge
from reconciler.registry.looking import LOOK_FOR, Looking
from reconciler.registry.paging import Row, rows_in_pages, rows_of
from reconciler.registry.request_format import RequestFormat, in_order
from reconciler.registry.tag_protection import KnownProtection, TagProtection, protection_in
from reconciler.registry.tag_reading import (
    TagSearch,
    by_target,
    standing_by_itself,
    standing_of,
    told_by_tags,
)
from reconciler.registry.transition_requests import CALLS, TransitionRequestsRegistry
from reconciler.registry.transport import Transport
from reconciler.registry.trials import Trial, TrialResult, works
from reconciler.registry.trying import Sample, batches_by_tags
from reconciler.registry.versions import name_of, quotable, version_in

_LONGEST_GOVERNED = 4000
_DONE = {VerdictKind.APPROVE: "approved", VerdictKind.REJECT: "rejected"}
_NO_DECISION = "00000000-0000-0000-0000-000000000000"
_PAGES = (10_000, 1000, 50, 1)
_WITH_PROTECTION = {"protected_tags": "true"}
# What comes once comes with the first page.
_ONCE = frozenset({"holders", "holders_of_prompts", *_WITH_PROTECTION})


class AppRegistry(TransitionRequestsRegistry):
    """One call lists every open request, and versions show their decisions."""

    protocol = "transition-requests"
    shows_decisions = True
    hides_people = False

    def __init__(
        self, uri: str, workspace: str, transport: Transport, tracking: Transport, look_for: timedelta = LOOK_FOR
    ) -> None:
        """`look_for`: as `Looking.budget`, for the list of models, and an older app that answers without holders."""
        super().__init__(uri, workspace, transport, tracking, RequestFormat(uri, workspace, Assurance.ASSERTED))
        self._tag_search = TagSearch(transport, told_first=False)
        self._decided: dict[str, Row] | None = None
        self._history: History | None = None
        self._keeps_history = True
        self._holders = AppHolders()
        self._models = AppModels(transport, look_for)
        self._protection = KnownProtection(self.tag_protection)
        self._looking = Looking(transport, look_for)

    @property
    def keeps_history(self) -> bool:
        """An older app keeps none, which its first answer shows."""
        return self._keeps_history

    def open_requests(self, scope: Scope, history_after: int = 0, *, with_holders: bool = False) -> Listing:
        looked_at = scope.looked_at if with_holders else scope
        targets = [str(target) for target in sorted(looked_at.targets)]
        query = {
            "target": targets,
            "expand_model_version": "true",
            "history_after": history_after,
            **_WITH_PROTECTION,
            **governed_statement(scope),
        }
        known = self._holders.known(scope) if with_holders else {}
        listed = in_order(self._list({**query, **known}))
        # The app lists requests for all that it is asked to show the holders of.
        return Listing([one for one in listed if one.request.target in scope.targets], history=self._history)

    def look(self, wanted: Wanted) -> Look:
        """What the list has shown; an older app shows no holders there, and they are looked for."""
        if self._holders.are_not_told:
            return self._looking.look(wanted)
        return self._models.added_to(self._holders.look(self._models.narrowed(wanted)), wanted)

    def all_open(self, scope: Scope) -> list[Listed]:
        """Every open request, whatever its target: a person must see those that no rule names."""
        return in_order(self._list({}))

    def holders(self, scope: Scope) -> Look:
        """As of any server: what the list shows is told in parts, from one look to the next."""
        return self._looking.look(Wanted(scope, afresh=True, at_once=True))

    def tag_protection(self) -> TagProtection | None:
        return protection_in(self._transport.get(f"{CALLS}/list", {**_WITH_PROTECTION, "max_results": 1}))

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        return dict(self._protection.told_in(super().evidence(wanted, now), wanted))

    def _answer_about(self, transport: Transport, model: str, version: str) -> Any:
        answer = transport.get(f"{CALLS}/list", {"name": model, "version": version, **_WITH_PROTECTION})
        self._protection.take(answer)
        return answer

    def _try_list(self, scope: Scope, sample: Sample) -> TrialResult:
        return works(f"one list of all requests: {len(self.open_requests(scope, with_holders=True).requests)} open")

    def trials(self, scope: Scope, needs: Needs) -> list[Trial]:
        return [
            *super().trials(scope, needs),
            Trial("re-reading", self._transport.base, lambda: self._try_batch(scope)),
            Trial("models", self._transport.base, lambda: self._models.try_call(scope)),
        ]

    def _try_batch(self, scope: Scope) -> TrialResult:
        sample, targets = Sample(self._transport), sorted(scope.targets)
        models = [name_of(sample.row or {}) or "a"]
        self._list({"model": models, "target": [str(target) for target in targets], "decision": [_NO_DECISION]})
        return batches_by_tags(self._tag_search, sample, [decision_tag(target) for target in targets])

    def _list(self, query: Mapping[str, Any]) -> list[Listed]:
        """The whole list, or an error. Versions may carry tags of any size, so pages shrink when one is too large."""
        for size in _PAGES[:-1]:
            try:
                return self._list_in_pages(query, size)
            except TooLarge:
                continue
        return self._list_in_pages(query, _PAGES[-1])

    def _list_in_pages(self, query: Mapping[str, Any], size: int) -> list[Listed]:
        rows = self._pages({**query, "max_results": size})
        return [listed for row in rows if (listed := self._format.read(row, *version_in(row))) is not None]

    def _pages(self, query: Mapping[str, Any]) -> Iterator[Row]:
        def page(more: Mapping[str, str]) -> Any:
            asked = {name: value for name, value in query.items() if name not in _ONCE or not more}
            answer = self._transport.get(f"{CALLS}/list", {**asked, **more})
            self._decided = _by_decision(answer)
            if "holders" in asked:
                self._holders.take(answer)
            if _WITH_PROTECTION.keys() <= asked.keys():
                self._protection.take(answer)
            if "history_after" in query and not more:
                self._history = history_in(answer)
                self._keeps_history = self._history is not None
            return answer

        return rows_in_pages(page, "requests")

    def _body(self, decision: Decision, approves: bool) -> dict[str, Any]:
        # The app decides the request that was read, or none.
        request_id = {"id": decision.request.id} if decision.request.id else {}
        return super()._body(decision, approves) | request_id

    def _claimed(self, requester: str) -> dict[str, str]:
        return {"requester": requester} if requester else {}

    def _standing_in(self, reply: object, decision: Decision) -> Standing | None:
        version = reply.get("model_version") if isinstance(reply, dict) else None
        if super()._standing_in(reply, decision) is None or not isinstance(version, dict):
            return None
        return standing_of(version, decision.request.target, open=False, told_first=False)

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """One list finds those still open, and those that the history of the app knows.

        Those that it does not know may be older than the history: one search per target finds them on their versions.
        An app without a history answers for the others version by version.
        """
        now = self._now(decisions)
        standings = {decision.decision_id: now.standing(decision) for decision in decisions if now.knows(decision)}
        rest = [decision for decision in decisions if decision.decision_id not in standings]
        for target, group in by_target(rest).items():
            standings |= self._tag_search.decided(target, group)
            for decision in group:
                if decision.decision_id not in standings:
                    standings[decision.decision_id] = self._not_shown(decision, now)
        return standings

    def standing(self, decision: Decision) -> Standing:
        return self.standings([decision])[decision.decision_id]

    def standing_of(self, request: Request) -> Standing:
        return standing_by_itself(self._transport, request, lambda _: False, told_first=False)

    def told(self, targets: Iterable[Target]) -> Iterator[Told]:
        """The decision tags, and all of the app's history, which keeps every decision."""
        wanted, after = frozenset(targets), 0
        yield from told_by_tags(self._transport, wanted)
        while True:
            history = self.open_requests(Scope.of_all_models(wanted), after).history
            if history is None or history.read_to <= after:
                return
            for entry in history.entries:
                if entry.decision_id is not None:
                    yield Told(entry.model, entry.version, entry.target, entry.comment)
            after = history.read_to

    def _not_shown(self, decision: Decision, now: _Now) -> Standing:
        if now.history is not None and self._tag_search.takes_names and quotable(decision.request.model):
            return Standing(open=False)
        return standing_by_itself(self._transport, decision.request, lambda _: False, told_first=False)

    def _now(self, decisions: Sequence[Decision]) -> _Now:
        requests = [decision.request for decision in decisions]
        query = {
            "model": sorted({request.model for request in requests}),
            "target": sorted({str(request.target) for request in requests}),
            "decision": [decision.decision_id for decision in decisions],
        }
        listed = self._list(query)
        # A value typed by hand before the server had the app got its id and time from us.
        fingerprints = {entry.request.fingerprint for entry in listed}
        known = {request.key for request in requests if request.fingerprint in fingerprints}
        return _Now({entry.request.key for entry in listed} | known, self._decided)


@dataclass(frozen=True, slots=True)
class _Now:
    """The keys of open requests, and the rows of the app's history by decision; None: this app keeps no history."""

    open_keys: Set[str]
    history: Mapping[str, Row] | None

    def knows(self, decision: Decision) -> bool:
        return decision.request.key in self.open_keys or self._shows(decision)

    def standing(self, decision: Decision) -> Standing:
        ids = (decision.decision_id,) if self._shows(decision) else ()
        return Standing(open=decision.request.key in self.open_keys, decision_ids=ids)

    def _shows(self, decision: Decision) -> bool:
        row = (self.history or {}).get(decision.decision_id)
        if row is None:
            return False
        # Whoever may decide may write any id into a comment: it counts for its own place, target and verdict only.
        shown = (*version_in(row), row.get("to_stage"), row.get("what"))
        return shown == (*decision.request.place.model_version, str(decision.request.target), _DONE[decision.verdict])


def _by_decision(answer: Any) -> dict[str, Row] | None:
    if not isinstance(answer, dict) or "decided" not in answer:
        return None
    return {str(row.get("decision_id")): row for row in rows_of(answer, "decided")}


def governed_statement(scope: Scope) -> dict[str, str]:
    """What the daemon's policy governs, as JSON, so that the app can at once warn who requests anything else."""
    if not scope.governed:
        return {}
    text = json.dumps([_stated(part) for part in scope.parts], separators=(",", ":"))
    # A query has no room for more; the app then knows nothing and warns nobody.
    return {"governed": text} if len(text) <= _LONGEST_GOVERNED else {}


def _stated(part: Part) -> dict[str, object]:
    """A part of what is governed, as the app reads it. An app that knows of no prompts takes theirs for no model's."""
    names = part.names
    stated: dict[str, object] = {"models": [] if part.of_prompts else list(names.globs)}
    stated["targets"] = sorted(map(str, part.targets))
    more = {"prompts": names.globs if part.of_prompts else (), "exclude": names.exclude, "within": names.within}
    return stated | {key: value for key, value in more.items() if value}
