"""The transition-requests protocol, as Databricks defines it and our MLflow app extends it.

Databricks' lists leave out whatever is empty, and often `id`, `comment` and `from_stage` too; so the raw JSON is read,
and only `to_stage` is relied on.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.domain.decision import COMMENT_BYTES, Decision
from reconciler.domain.evidence import Evidence, Needs
from reconciler.domain.request import NOBODY, Assurance, Request, Requester
from reconciler.domain.scope import Scope
from reconciler.domain.tag_format import decision_tag
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.times import from_millis
from reconciler.domain.verdict import VerdictKind
from reconciler.ports import Found, Listed, Measured, NotFound, Standing, Unavailable
from reconciler.registry.evidence import EvidenceReader
from reconciler.registry.paging import Row, rows_in_pages, rows_of
from reconciler.registry.tag_reading import TagSearch, decision_of, place_of, standing_of
from reconciler.registry.transport import TooLarge, Transport, measured
from reconciler.registry.trials import Trial, Tried, works
from reconciler.registry.trying import Sample, batches_by_tags, evidence_trials, one_version
from reconciler.registry.versions import API, get_version, mlflow_version, version_facts

_CALLS = f"{API}/transition-requests"
_PAGE = 1000
_LONGEST_TOLD = 4000
_PAGES = (10_000, 1000, 50, 1)
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_DONE = {VerdictKind.APPROVE: "APPROVED_REQUEST", VerdictKind.REJECT: "REJECTED_REQUEST"}


class RequestFormat:
    """Reads the requests of one registry from its JSON. `assurance` is that of a requester where none is told."""

    def __init__(self, registry: str, workspace: str, assurance: Assurance) -> None:
        self._registry = registry
        self._workspace = workspace
        self._assurance = assurance

    def read(self, row: Row, model: str, version: str) -> Listed | None:
        """None for what is no request for a target that MLflow knows."""
        target = _target(row.get("to_stage"))
        if target is None:
            return None
        at = row.get("creation_timestamp")
        asked_at = from_millis(at) if isinstance(at, int) else None
        id, name = str(row.get("id") or ""), str(row.get("user_id") or "")
        fingerprint = id or hashlib.sha256(f"{name}\0{at}\0{row.get('comment')}".encode("utf-8", "replace")).hexdigest()
        request = Request(
            self._registry, self._workspace, model, version, target, self._requester(row, name),
            asked_at or _NO_TIME, str(row.get("comment") or ""), id, fingerprint, row.get("is_prompt") is True,
        )  # fmt: skip
        facts = row.get("model_version")
        known = version_facts(facts) if isinstance(facts, dict) else None
        covered = row.get("covered")
        return Listed(request, known, asked_at is not None, covered if isinstance(covered, bool) else None)

    def as_if_asked(self, model: str, version: str, target: Target, now: datetime) -> Request:
        return Request(self._registry, self._workspace, model, version, target, NOBODY, now, "", "", "")

    def _requester(self, row: Row, name: str) -> Requester:
        if not name:
            return NOBODY
        told = row.get("requester_assurance")
        known = told in {str(one) for one in Assurance}
        return Requester(name, Assurance(str(told)) if known else self._assurance)


def _target(text: object) -> Target | None:
    try:
        return Target.parse(text) if isinstance(text, str) else None
    except ValueError:
        return None


class TransitionRequests:
    """What both servers answer alike."""

    def __init__(
        self, uri: str, workspace: str, transport: Transport, tracking: Transport, format: RequestFormat
    ) -> None:
        self.uri = uri
        self.workspace = workspace
        self._transport = transport
        self._tracking = tracking
        self._format = format
        self._reader = EvidenceReader(transport, tracking)

    def begin(self, deadline: timedelta | None) -> None:
        seconds = deadline.total_seconds() if deadline else None
        for transport in {self._transport, self._tracking}:
            transport.begin(seconds)

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        return self._reader.read(wanted, now)

    def stamp(self, request: Request) -> None:
        """A request has its id and time from the registry."""

    def remark(self) -> str | None:
        return None

    def measured(self) -> Measured:
        return measured({self._transport, self._tracking})

    # --- act -------------------------------------------------------------------------------------------------

    def act(self, decision: Decision) -> Standing | None:
        approves = decision.verdict is VerdictKind.APPROVE
        body = self._body(decision, approves)
        reply = self._transport.post(f"{_CALLS}/{'approve' if approves else 'reject'}", body)
        return self._shown_by(reply, decision)

    def _body(self, decision: Decision, approves: bool) -> dict[str, Any]:
        request = decision.request
        body: dict[str, Any] = {
            "name": request.model,
            "version": request.version,
            "stage": str(request.target),
            "comment": decision.sentence(COMMENT_BYTES),
        }
        if approves:
            archived = decision.archive_existing and request.target.may_archive
            body["archive_existing_versions"] = archived
        return body

    def _shown_by(self, reply: object, decision: Decision) -> Standing | None:
        """The reply proves the act where it shows its activity; anything else is read."""
        shown = reply.get("activity") if isinstance(reply, dict) else None
        if not isinstance(shown, dict) or shown.get("activity_type") != _DONE[decision.verdict]:
            return None
        if _target(shown.get("to_stage")) not in {None, decision.request.target}:
            return None
        return Standing(open=False, decision_id=decision.decision_id, tells_who=False)

    # --- for people who ask ----------------------------------------------------------------------------------

    def requests_of(self, model: str, version: str) -> list[Listed]:
        """Raises NotFound where there is no such version."""
        return list(self._read_rows(self._transport, model, version))

    def _read_rows(self, transport: Transport, model: str, version: str) -> Iterator[Listed]:
        answer = transport.get(f"{_CALLS}/list", {"name": model, "version": version})
        for row in rows_of(answer, "requests"):
            listed = self._format.read(row, model, version)
            if listed is not None:
                yield listed

    def find(self, model: str, version: str, target: Target, now: datetime) -> Found:
        """Raises NotFound where there is no such version."""
        # The list first: a version read before it may not show yet what made the request go.
        open_now = self.requests_of(model, version)
        row = get_version(self._transport, model, version)
        facts = version_facts(row)
        for listed in open_now:
            if listed.request.target == target:
                return Found(replace(listed, version=facts), True, *decision_of(row, target))
        asked = Listed(self._format.as_if_asked(model, version, target, now), facts)
        return Found(asked, False, *decision_of(row, target))

    def create(self, model: str, version: str, target: Target, requester: str, comment: str, now: datetime) -> Request:
        """Files a request; who asks is what the registry says, and `requester` where it authenticates nobody.

        Raises:
            Conflict: one is open already; the registry's message names it.
            NotFound: there is no such version.
        """
        body = {"name": model, "version": version, "stage": str(target)}
        # An empty comment is an error to Databricks.
        body |= {"comment": comment} if comment else {}
        body |= self._claimed(requester)
        reply = self._transport.post(f"{_CALLS}/create", body)
        row = reply.get("request") if isinstance(reply, dict) else None
        listed = self._format.read(row, model, version) if isinstance(row, dict) else None
        if listed is None:
            raise Unavailable("the registry took the request and did not show it: list the requests")
        return listed.request

    def _claimed(self, requester: str) -> dict[str, str]:
        return {}

    def withdraw(self, model: str, version: str, target: Target, now: datetime) -> Request:
        """Takes an open request back. Raises NotFound when none is open."""
        found = self.find(model, version, target, now)
        if not found.open:
            raise NotFound(f"no request for {target} is open on version {visible_name(version)}")
        request = found.listed.request
        query = {"name": model, "version": version, "stage": str(target), "creator": request.requester.name}
        self._transport.delete_by_query(f"{_CALLS}/delete", {key: value for key, value in query.items() if value})
        return request

    def version(self) -> str:
        return mlflow_version(self._transport)

    def trials(self, scope: Scope, needs: Needs) -> list[Trial]:
        sample, here = Sample(self._transport), self._transport.base
        first = Trial("requests", here, lambda: self._try_list(scope, sample))
        second = Trial("versions", here, lambda: one_version(sample, self._transport))
        return [first, second, *evidence_trials(self._reader, sample, needs, self._tracking.base)]

    def _try_list(self, scope: Scope, sample: Sample) -> Tried:
        raise NotImplementedError

    # --- permissions -----------------------------------------------------------------------------------------

    def models(self) -> Iterator[Row]:
        """Every registered model that the account sees, with its latest versions."""
        query = {"max_results": _PAGE}
        return rows_in_pages(
            lambda more: self._transport.get(f"{API}/registered-models/search", {**query, **more}), "registered_models"
        )

    def levels(self, covers: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        """The account's `permission_level` on each model that is covered; "" where the registry does not say."""
        for name in (str(row.get("name", "")) for row in self.models()):
            if covers(name):
                yield name, self._level(name)

    def _level(self, model: str) -> str:
        answer = self._transport.get(f"{API}/databricks/registered-models/get", {"name": model})
        shown = answer.get("registered_model_databricks") if isinstance(answer, dict) else None
        return str(shown.get("permission_level") or "") if isinstance(shown, dict) else ""


class AppRegistry(TransitionRequests):
    """An MLflow server with our app: one call lists every open request, and versions show their decisions."""

    protocol = "transition-requests"
    shows_decisions = True

    def __init__(self, uri: str, workspace: str, transport: Transport, tracking: Transport) -> None:
        super().__init__(uri, workspace, transport, tracking, RequestFormat(uri, workspace, Assurance.ASSERTED))
        self._tag_search = TagSearch(transport)

    def open_requests(self, scope: Scope) -> list[Listed]:
        targets = [str(target) for target in sorted(scope.targets)]
        return self._in_order({"target": targets, "expand_model_version": "true", **_governed(scope)})

    def all_open(self, scope: Scope) -> list[Listed]:
        """Whatever its target: what no rule names waits for a person, who must see it."""
        return self._in_order({})

    def _in_order(self, query: Mapping[str, Any]) -> list[Listed]:
        return sorted(self._list(query), key=lambda listed: listed.request.order)

    def _try_list(self, scope: Scope, sample: Sample) -> Tried:
        return works(f"one list of all requests: {len(self.open_requests(scope))} open")

    def trials(self, scope: Scope, needs: Needs) -> list[Trial]:
        return [
            *super().trials(scope, needs),
            Trial("re-reading", self._transport.base, lambda: self._try_batch(scope)),
        ]

    def _try_batch(self, scope: Scope) -> Tried:
        sample, targets = Sample(self._transport), sorted(scope.targets)
        self._list({"model": [place_of(sample.row or {})[0] or "a"], "target": [str(target) for target in targets]})
        return batches_by_tags(self._tag_search, sample, [decision_tag(target) for target in targets])

    def _list(self, query: Mapping[str, Any]) -> list[Listed]:
        """Read to its end, or not at all. Versions may carry tags of any size: pages shrink when one is too large."""
        for size in _PAGES[:-1]:
            try:
                return self._list_in_pages(query, size)
            except TooLarge:
                continue
        return self._list_in_pages(query, _PAGES[-1])

    def _list_in_pages(self, query: Mapping[str, Any], size: int) -> list[Listed]:
        rows = self._pages({**query, "max_results": size})
        return [listed for row in rows if (listed := self._format.read(row, *place_of(row))) is not None]

    def _pages(self, query: Mapping[str, Any]) -> Iterator[Row]:
        return rows_in_pages(lambda more: self._transport.get(f"{_CALLS}/list", {**query, **more}), "requests")

    def _body(self, decision: Decision, approves: bool) -> dict[str, Any]:
        # The app decides about the request that was read, or about none.
        named = {"id": decision.request.id} if decision.request.id else {}
        return super()._body(decision, approves) | named

    def _claimed(self, requester: str) -> dict[str, str]:
        return {"requester": requester} if requester else {}

    def _shown_by(self, reply: object, decision: Decision) -> Standing | None:
        shown = reply.get("model_version") if isinstance(reply, dict) else None
        if super()._shown_by(reply, decision) is None or not isinstance(shown, dict):
            return None
        return standing_of(shown, decision.request.target, open=False)

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """One list for those still open, one search per target for those decided, one call for each of the rest."""
        open_keys = self._open_keys(decisions)
        standings = {one.decision_id: Standing(open=True) for one in decisions if one.request.key in open_keys}
        for target, group in _by_target(one for one in decisions if one.decision_id not in standings).items():
            standings |= self._tag_search.decided(target, group)
            for one in group:
                if one.decision_id not in standings:
                    standings[one.decision_id] = self._standing_of(one)
        return standings

    def _open_keys(self, decisions: Sequence[Decision]) -> set[str]:
        requests = [one.request for one in decisions]
        models = sorted({one.model for one in requests})
        targets = sorted({str(one.target) for one in requests})
        listed = self._list({"model": models, "target": targets})
        # A value that was typed by hand before the server had the app got its id and time from us.
        fingerprints = {one.request.fingerprint for one in listed}
        return {one.request.key for one in listed} | {one.key for one in requests if one.fingerprint in fingerprints}

    def _standing_of(self, decision: Decision) -> Standing:
        request = decision.request
        try:
            row = get_version(self._transport, request.model, request.version)
        except NotFound:
            return Standing(open=False, exists=False)
        return standing_of(row, request.target, open=False)


def _governed(scope: Scope) -> dict[str, str]:
    """What the daemon's policy governs, as JSON, so that the app can tell who asks for anything else at once."""
    if not scope.governed:
        return {}
    parts = [{"models": list(globs), "targets": sorted(map(str, targets))} for globs, targets in scope.parts]
    told = json.dumps(parts, separators=(",", ":"))
    # A query has no room for more; the app then knows nothing, and says nothing.
    return {"governed": told} if len(told) <= _LONGEST_TOLD else {}


def _by_target(decisions: Iterable[Decision]) -> dict[Target, list[Decision]]:
    groups: dict[Target, list[Decision]] = defaultdict(list)
    for one in decisions:
        groups[one.request.target].append(one)
    return groups
