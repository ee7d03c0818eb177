"""The transition-requests protocol, as far as Databricks and our MLflow app answer alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from reconciler.domain.decision import COMMENT_BYTES, Decision
from reconciler.domain.evidence.evidence import Needs
from reconciler.domain.holding.looks import Look
from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.domain.verdict import VerdictKind
from reconciler.ports import Found, Listed, Standing, Told, Unavailable
from reconciler.registry.looking import look_at
from reconciler.registry.paging import Row, rows_in_pages, rows_of
from reconciler.registry.request_format import RequestFormat, target_in
from reconciler.registry.server import ServerRegistry
from reconciler.registry.tag_protection import TagProtection
from reconciler.registry.tag_reading import decision_of
from reconciler.registry.transport import Transport
from reconciler.registry.trials import Trial, TrialResult
from reconciler.registry.trying import Sample, evidence_trials, one_version
from reconciler.registry.versions import API, get_version, name_of, version_facts

CALLS = f"{API}/transition-requests"
_PAGE = 1000
_DONE = {VerdictKind.APPROVE: "APPROVED_REQUEST", VerdictKind.REJECT: "REJECTED_REQUEST"}


class TransitionRequestsRegistry(ServerRegistry):
    """The calls that both servers answer alike."""

    def __init__(
        self, uri: str, workspace: str, transport: Transport, tracking: Transport, format: RequestFormat
    ) -> None:
        super().__init__(uri, workspace, transport, tracking)
        self._format = format

    def look_at(self, places: Sequence[Place]) -> Look:
        return look_at(self._transport, places)

    def point_out(self, model: str, version: str, tag: str, said: str) -> None:
        """Does nothing: requests are no tags here."""

    def stamp(self, request: Request) -> None:
        """Does nothing: a request has its id and time from the registry."""

    # --- act -------------------------------------------------------------------------------------------------

    def act(self, decision: Decision) -> Standing | None:
        approves = decision.verdict is VerdictKind.APPROVE
        body = self._body(decision, approves)
        reply = self._transport.post(f"{CALLS}/{'approve' if approves else 'reject'}", body)
        return self._standing_in(reply, decision)

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

    def _standing_in(self, reply: object, decision: Decision) -> Standing | None:
        """The standing if the reply shows the activity, which proves the act; else None: it must be read."""
        activity = reply.get("activity") if isinstance(reply, dict) else None
        if not isinstance(activity, dict) or activity.get("activity_type") != _DONE[decision.verdict]:
            return None
        if target_in(activity.get("to_stage")) not in {None, decision.request.target}:
            return None
        return Standing(open=False, decision_ids=(decision.decision_id,), tells_who=False)

    def standing_elsewhere(self, decision: Decision, created: int) -> Standing | None:
        """Nothing: the registry shows decisions on no version, or its history knows them by their ids."""
        return None

    def told(self, targets: Iterable[Target]) -> Iterator[Told]:
        return iter(())

    # --- for people ------------------------------------------------------------------------------------------

    def requests_of(self, model: str, version: str) -> list[Listed]:
        """Raises NotFound if there is no such version."""
        return list(self._read_rows(self._transport, model, version))

    def _read_rows(self, transport: Transport, model: str, version: str) -> Iterator[Listed]:
        for row in rows_of(self._answer_about(transport, model, version), "requests"):
            listed = self._format.read(row, model, version)
            if listed is not None:
                yield listed

    def _answer_about(self, transport: Transport, model: str, version: str) -> Any:
        return transport.get(f"{CALLS}/list", {"name": model, "version": version})

    def find(self, model: str, version: str, target: Target, now: datetime) -> Found:
        """Raises NotFound if there is no such version."""
        # The list first: a version read before it may not yet show why the request is gone.
        open_now = self.requests_of(model, version)
        row = get_version(self._transport, model, version)
        facts = version_facts(row)
        for listed in open_now:
            if listed.request.target == target:
                return Found(replace(listed, version=facts), True, *decision_of(row, target))
        listed = Listed(self._format.unfiled(row, target, now), facts)
        return Found(listed, False, *decision_of(row, target))

    def create(self, model: str, version: str, target: Target, requester: str, comment: str, now: datetime) -> Request:
        """File a request. The registry names the requester; `requester` is used if it does not authenticate.

        Raises:
            Conflict: a request is already open; the registry's message names it.
            NotFound: there is no such version.
        """
        body = {"name": model, "version": version, "stage": str(target)}
        # Databricks refuses an empty comment.
        body |= {"comment": comment} if comment else {}
        body |= self._claimed(requester)
        reply = self._transport.post(f"{CALLS}/create", body)
        row = reply.get("request") if isinstance(reply, dict) else None
        listed = self._format.read(row, model, version) if isinstance(row, dict) else None
        if listed is None:
            raise Unavailable("the registry accepted the request but did not return it: list the requests")
        return listed.request

    def _claimed(self, requester: str) -> dict[str, str]:
        return {}

    def withdraw(self, model: str, version: str, target: Target, now: datetime) -> Request:
        """Withdraw an open request. Raises NotFound if none is open."""
        request = self._open_on(model, version, target, now)
        query = {"name": model, "version": version, "stage": str(target), "creator": request.requester.name}
        self._transport.delete_by_query(f"{CALLS}/delete", {key: value for key, value in query.items() if value})
        return request

    def trials(self, scope: Scope, needs: Needs) -> list[Trial]:
        sample, here = Sample(self._transport), self._transport.base
        first = Trial("requests", here, lambda: self._try_list(scope, sample))
        second = Trial("versions", here, lambda: one_version(sample, self._transport))
        return [first, second, *evidence_trials(self._reader, self.held_now, sample, needs, self._tracking.base)]

    @abstractmethod
    def _try_list(self, scope: Scope, sample: Sample) -> TrialResult:
        """Lists requests as a cycle does, and gives the sample a version where that shows one."""

    # --- permissions -----------------------------------------------------------------------------------------

    def models(self) -> Iterator[Row]:
        """Every registered model that the account can see, with its latest versions."""
        query = {"max_results": _PAGE}
        return rows_in_pages(
            lambda more: self._transport.get(f"{API}/registered-models/search", {**query, **more}), "registered_models"
        )

    def levels(self, covers: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        """The account's `permission_level` on each covered model; "" if the registry does not report it."""
        for name in map(name_of, self.models()):
            if covers(name):
                yield name, self._level(name)

    def tag_protection(self) -> TagProtection | None:
        return None

    def _level(self, model: str) -> str:
        answer = self._transport.get(f"{API}/databricks/registered-models/get", {"name": model})
        row = answer.get("registered_model_databricks") if isinstance(answer, dict) else None
        return str(row.get("permission_level") or "") if isinstance(row, dict) else ""
