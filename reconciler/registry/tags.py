"""The tags protocol: a request is a tag on the model version, on any MLflow server of version 3 or later."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.domain.decision import Decision, decision_id_in
from reconciler.domain.evidence import Evidence, Needs
from reconciler.domain.request import NOBODY, Assurance, Request, Requester
from reconciler.domain.tag_format import decision_tag, read_request, request_tag, request_value
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.verdict import VerdictKind
from reconciler.ports import Conflict, Listed, NotFound, Standing, Unavailable
from reconciler.registry.evidence import EvidenceReader
from reconciler.registry.transport import Transport
from reconciler.registry.versions import (
    API,
    Row,
    get_version,
    quotable,
    search_versions,
    tags_of,
    version_facts,
)

Place = tuple[str, str]


class TagsRegistry:
    """`Registry` over tags. `uri` carries no credentials; `workspace` is "" where the server has none."""

    def __init__(self, uri: str, workspace: str, transport: Transport, tracking: Transport) -> None:
        self.uri = uri
        self.workspace = workspace
        self._transport = transport
        self._tracking = tracking
        self._reader = EvidenceReader(transport, tracking)

    def begin(self, deadline: timedelta | None) -> None:
        seconds = deadline.total_seconds() if deadline else None
        for transport in {self._transport, self._tracking}:
            transport.begin(seconds)

    # --- request ---------------------------------------------------------------------------------------------

    def open_requests(self, targets: Collection[Target]) -> list[Listed]:
        found = [self._listed(row, target) for target in sorted(targets) for row in self._rows_with(target)]
        return sorted(found, key=lambda listed: listed.request.order)

    def _rows_with(self, target: Target) -> list[Row]:
        return search_versions(self._transport, f"tags.`{request_tag(target)}` LIKE '%'")

    def _listed(self, row: Row, target: Target) -> Listed:
        value = tags_of(row).get(request_tag(target), "")
        model, version = place_of(row)
        request, stamped = read_request(self.uri, self.workspace, model, version, target, value)
        return Listed(request, version_facts(row), stamped)

    # --- evidence --------------------------------------------------------------------------------------------

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        return self._reader.read(wanted, now)

    # --- act -------------------------------------------------------------------------------------------------

    def stamp(self, request: Request) -> None:
        if self._is_open(request):
            self._set_tag(request, request_tag(request.target), request_value(request))

    def act(self, decision: Decision) -> None:
        """Move, say why, and take the request away last, so that what is cut short can be done again."""
        request = decision.request
        if decision.verdict is VerdictKind.APPROVE:
            self._move(request, decision.archive_existing)
        self._set_tag(request, decision_tag(request.target), decision.sentence)
        self._delete_tag(request)

    def _move(self, request: Request, archive_existing: bool) -> None:
        where = {"name": request.model, "version": request.version}
        if not request.target.is_stage:
            self._transport.post(f"{API}/registered-models/alias", {**where, "alias": request.target.name})
            return
        body = {**where, "stage": request.target.name, "archive_existing_versions": archive_existing}
        moved = self._transport.post(f"{API}/model-versions/transition-stage", body)
        shown = (moved.get("model_version") or {}).get("current_stage") if isinstance(moved, dict) else None
        if shown != request.target.name:
            raise Unavailable(f"the registry took the transition but shows stage {visible_name(str(shown))}")

    def _set_tag(self, request: Request, key: str, value: str) -> None:
        body = {"name": request.model, "version": request.version, "key": key, "value": value}
        self._transport.post(f"{API}/model-versions/set-tag", body)

    def _delete_tag(self, request: Request) -> None:
        body = {"name": request.model, "version": request.version, "key": request_tag(request.target)}
        self._transport.delete(f"{API}/model-versions/delete-tag", body)

    # --- confirm ---------------------------------------------------------------------------------------------

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """One search per target for those still open, one more for those decided, one call for each of the rest."""
        by_target: dict[Target, list[Decision]] = defaultdict(list)
        for decision in decisions:
            by_target[decision.request.target].append(decision)
        standings: dict[str, Standing] = {}
        for target, group in by_target.items():
            standings |= self._open_of(target, group)
            standings |= self._decided_of(target, [one for one in group if one.decision_id not in standings])
            for decision in group:
                if decision.decision_id not in standings:
                    standings[decision.decision_id] = self._standing_of(decision)
        return standings

    def _open_of(self, target: Target, decisions: Sequence[Decision]) -> dict[str, Standing]:
        rows = self._rows_by_place(request_tag(target), decisions)
        still = [one for one in decisions if (row := rows.get(place(one.request))) and self._shows(row, one.request)]
        return {one.decision_id: Standing(open=True) for one in still}

    def _decided_of(self, target: Target, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """Only those whose version names this very decision; of the others nothing can be said yet."""
        rows = self._rows_by_place(decision_tag(target), decisions)
        standings = {}
        for one in decisions:
            row = rows.get(place(one.request))
            if row and _decision_shown(row, target) == one.decision_id:
                standings[one.decision_id] = Standing(open=False, decision_id=one.decision_id)
        return standings

    def _rows_by_place(self, key: str, decisions: Iterable[Decision]) -> dict[Place, Row]:
        names = sorted({one.request.model for one in decisions if quotable(one.request.model)})
        if not names:
            return {}
        listed = ", ".join(f"'{name}'" for name in names)
        rows = search_versions(self._transport, f"name IN ({listed}) AND tags.`{key}` LIKE '%'")
        return {place_of(row): row for row in rows}

    def _standing_of(self, decision: Decision) -> Standing:
        request = decision.request
        try:
            row = get_version(self._transport, request.model, request.version)
        except NotFound:
            return Standing(open=False, exists=False)
        return Standing(
            open=self._shows(row, request),
            holds=_holds(row, request.target),
            decision_id=_decision_shown(row, request.target),
        )

    def _shows(self, row: Row, request: Request) -> bool:
        """Whether the row holds this very request: the same text, or the same id, requester and time."""
        if request_tag(request.target) not in tags_of(row):
            return False
        found = self._listed(row, request.target).request
        return found.fingerprint == request.fingerprint or found.key == request.key

    def _is_open(self, request: Request) -> bool:
        try:
            return self._shows(get_version(self._transport, request.model, request.version), request)
        except NotFound:
            return False

    def probe(self) -> None:
        """Reads a little of what a cycle reads. Raises RegistryError where that is not allowed or not possible."""
        self._transport.get(f"{API}/model-versions/search", {"max_results": 1})
        self._tracking.search(f"{API}/experiments/search", {"max_results": 1})

    # --- for people who ask ----------------------------------------------------------------------------------

    def find(self, model: str, version: str, target: Target, now: datetime) -> Listed:
        """The open request for this version and target, or one as it would be if somebody asked now.

        Raises:
            NotFound: there is no such version.
        """
        row = get_version(self._transport, model, version)
        if request_tag(target) in tags_of(row):
            return self._listed(row, target)
        request = Request(self.uri, self.workspace, model, version, target, NOBODY, now, "", "", "")
        return Listed(request, version_facts(row), stamped=True)

    def create(self, model: str, version: str, target: Target, requester: str, comment: str, now: datetime) -> Request:
        """Files a request.

        Raises:
            Conflict: one is open already; the message names it.
            NotFound: there is no such version.
        """
        found = self.find(model, version, target, now)
        if found.request.id:
            who = visible_name(found.request.requester.name) or "somebody unknown"
            raise Conflict(f"a request for {target} is open already, by {who}: withdraw it first")
        asked_by = Requester(requester, Assurance.ASSERTED) if requester else NOBODY
        request = replace(found.request, requester=asked_by, comment=comment, id=str(uuid.uuid4()))
        self._set_tag(request, request_tag(target), request_value(request))
        return request

    def withdraw(self, model: str, version: str, target: Target, now: datetime) -> Request:
        """Takes an open request back. Raises NotFound when none is open."""
        found = self.find(model, version, target, now)
        if not found.request.id:
            raise NotFound(f"no request for {target} is open on version {visible_name(version)}")
        self._delete_tag(found.request)
        return found.request


def place(request: Request) -> Place:
    return request.model, request.version


def place_of(row: Row) -> Place:
    return str(row.get("name", "")), str(row.get("version", ""))


def _decision_shown(row: Row, target: Target) -> str | None:
    return decision_id_in(tags_of(row).get(decision_tag(target), ""))


def _holds(row: Row, target: Target) -> bool:
    if target.is_stage:
        return row.get("current_stage") == target.name
    return target.name in (row.get("aliases") or [])
