"""The transition-requests protocol, as far as Databricks and our MLflow app answer it alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from reconciler.domain.decision import COMMENT_BYTES, Decision
from reconciler.domain.evidence import Evidence, Needs
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.verdict import VerdictKind
from reconciler.ports import Found, Listed, Meter, NotFound, Standing, Unavailable
from reconciler.registry.evidence import EvidenceReader
from reconciler.registry.paging import Row, rows_in_pages, rows_of
from reconciler.registry.request_format import RequestFormat, target_in
from reconciler.registry.tag_reading import decision_of
from reconciler.registry.transport import Transport, begin_all
from reconciler.registry.trials import Trial, Tried
from reconciler.registry.trying import Sample, evidence_trials, one_version
from reconciler.registry.versions import API, get_version, mlflow_version, version_facts

CALLS = f"{API}/transition-requests"
_PAGE = 1000
_DONE = {VerdictKind.APPROVE: "APPROVED_REQUEST", VerdictKind.REJECT: "REJECTED_REQUEST"}


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

    def begin(self, deadline: timedelta | None) -> Meter:
        return begin_all({self._transport, self._tracking}, deadline)

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        return self._reader.read(wanted, now)

    def stamp(self, request: Request) -> None:
        """A request has its id and time from the registry."""

    # --- act -------------------------------------------------------------------------------------------------

    def act(self, decision: Decision) -> Standing | None:
        approves = decision.verdict is VerdictKind.APPROVE
        body = self._body(decision, approves)
        reply = self._transport.post(f"{CALLS}/{'approve' if approves else 'reject'}", body)
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
        if target_in(shown.get("to_stage")) not in {None, decision.request.target}:
            return None
        return Standing(open=False, decision_id=decision.decision_id, tells_who=False)

    # --- for people who ask ----------------------------------------------------------------------------------

    def requests_of(self, model: str, version: str) -> list[Listed]:
        """Raises NotFound where there is no such version."""
        return list(self._read_rows(self._transport, model, version))

    def _read_rows(self, transport: Transport, model: str, version: str) -> Iterator[Listed]:
        answer = transport.get(f"{CALLS}/list", {"name": model, "version": version})
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
        reply = self._transport.post(f"{CALLS}/create", body)
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
        self._transport.delete_by_query(f"{CALLS}/delete", {key: value for key, value in query.items() if value})
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
