"""The tags protocol: a request is a tag on the model version. Works with any MLflow server from 2.10 on."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.domain.decision import Decision
from reconciler.domain.evidence.evidence import Needs
from reconciler.domain.holding.looks import Look, Wanted
from reconciler.domain.place import Place
from reconciler.domain.request import NOBODY, Assurance, Request, Requester
from reconciler.domain.scope import Scope
from reconciler.domain.tag_format import decision_tag, read_request, request_tag, request_value
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.told import told_with_earlier
from reconciler.domain.verdict import VerdictKind
from reconciler.failpoints import failpoint
from reconciler.ports import (
    Conflict,
    Found,
    Invalid,
    Listed,
    Listing,
    NotFound,
    RegistryError,
    Standing,
    Told,
    Unavailable,
    Unread,
)  # fmt: skip
from reconciler.registry import tag_reading
from reconciler.registry.looking import LOOK_FOR, Looking
from reconciler.registry.paging import Row
from reconciler.registry.reaching import Unreached
from reconciler.registry.request_format import in_order
from reconciler.registry.server import ServerRegistry
from reconciler.registry.tag_reading import TagSearch, by_target, decision_of, rows_with, standing_of
from reconciler.registry.transport import Transport
from reconciler.registry.trials import Trial, TrialResult, untried, works
from reconciler.registry.trying import Sample, batches_by_tags, evidence_trials, known_workspaces, one_version
from reconciler.registry.versions import (
    API,
    get_version,
    shows_prompt,
    tags_of,
    version_facts,
    version_in,
)

# As the releases of MLflow say it.
_TOO_LONG = re.compile("maximum length|length limit|too long")


class TagsRegistry(ServerRegistry):
    """`Registry` over tags."""

    protocol = "tags"
    shows_decisions = True
    keeps_history = False
    hides_people = False

    def __init__(
        self, uri: str, workspace: str, transport: Transport, tracking: Transport, look_for: timedelta = LOOK_FOR
    ) -> None:
        """`look_for`: as `Looking.budget`."""
        super().__init__(uri, workspace, transport, tracking)
        self._tag_search = TagSearch(transport, told_first=True)
        self._looking = Looking(transport, look_for)

    # --- request ---------------------------------------------------------------------------------------------

    def open_requests(self, scope: Scope, history_after: int = 0, *, with_holders: bool = False) -> Listing:
        """A search that fails keeps no other target waiting, unless the server gives no answer at all."""
        found, unread = list[Listed](), list[Unread]()
        for target in sorted(scope.targets):
            try:
                found += self._open_for(target, scope)
            except Unreached:
                raise
            except RegistryError as error:
                unread.append(Unread(target, str(error)))
        return Listing(in_order(found), unread=unread)

    def all_open(self, scope: Scope) -> list[Listed]:
        return in_order(listed for target in scope.targets for listed in self._open_for(target, scope))

    def holders(self, scope: Scope) -> Look:
        return self._looking.look(Wanted(scope, afresh=True, at_once=True))

    def _open_for(self, target: Target, scope: Scope) -> list[Listed]:
        rows = rows_with(self._transport, request_tag(target), target, scope)
        return [self._listed(row, target) for row in rows]

    def _listed(self, row: Row, target: Target) -> Listed:
        value = tags_of(row).get(request_tag(target), "")
        request, stamped = read_request(self.uri, self.workspace, *version_in(row), target, value)
        return Listed(replace(request, is_prompt=shows_prompt(row)), version_facts(row), stamped)

    # --- observe ---------------------------------------------------------------------------------------------

    def look(self, wanted: Wanted) -> Look:
        return self._looking.look(wanted)

    def look_at(self, places: Sequence[Place]) -> Look:
        return self._looking.look_at(places)

    def point_out(self, model: str, version: str, tag: str, said: str) -> None:
        self._set_tag(model, version, tag, said)

    # --- act -------------------------------------------------------------------------------------------------

    def stamp(self, request: Request) -> None:
        if self._is_open(request):
            self._set_tag(*request.place.model_version, request_tag(request.target), request_value(request))

    def act(self, decision: Decision) -> Standing | None:
        """Tell first, so that no move is ever without an id beside it; then move; remove the request last.

        An interrupted act can be repeated after any write. A request that is no longer open is left alone.
        """
        request, target = decision.request, decision.request.target
        row = get_version(self._transport, request.model, request.version)
        if not self._shows(row, request):
            return standing_of(row, target, open=False, told_first=True)
        shown = tags_of(row).get(decision_tag(target), "")
        self._set_tag(*request.place.model_version, decision_tag(target), told_with_earlier(decision, shown))
        failpoint("told")
        if decision.verdict is VerdictKind.APPROVE:
            self._move(request, decision.archive_existing)
            failpoint("moved")
        self._delete_tag(request)
        return None

    def _move(self, request: Request, archive_existing: bool) -> None:
        where = {"name": request.model, "version": request.version}
        if not request.target.is_stage:
            self._transport.post(f"{API}/registered-models/alias", {**where, "alias": request.target.name})
            return
        body = {**where, "stage": request.target.name, "archive_existing_versions": archive_existing}
        moved = self._transport.post(f"{API}/model-versions/transition-stage", body)
        stage = (moved.get("model_version") or {}).get("current_stage") if isinstance(moved, dict) else None
        if stage != request.target.name:
            raise Unavailable(f"the registry accepted the transition but shows stage {visible_name(str(stage))}")

    def _set_tag(self, model: str, version: str, key: str, value: str) -> None:
        body = {"name": model, "version": version, "key": key, "value": value}
        self._transport.post(f"{API}/model-versions/set-tag", body)

    def _delete_tag(self, request: Request) -> None:
        body = {"name": request.model, "version": request.version, "key": request_tag(request.target)}
        self._transport.delete(f"{API}/model-versions/delete-tag", body)

    # --- confirm ---------------------------------------------------------------------------------------------

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """One search per target finds those still open, one more those decided, and one call each of the rest.

        On a server that accepts no list of names there are no searches, only one call for each.
        """
        standings: dict[str, Standing] = {}
        for target, group in by_target(decisions).items():
            standings |= self._open_of(target, group)
            rest = [decision for decision in group if decision.decision_id not in standings]
            standings |= self._tag_search.decided(target, rest)
            for decision in rest:
                if decision.decision_id not in standings:
                    standings[decision.decision_id] = self.standing(decision)
        return standings

    def _open_of(self, target: Target, decisions: Sequence[Decision]) -> dict[str, Standing]:
        rows = self._tag_search.rows(request_tag(target), decisions)
        return {
            decision.decision_id: Standing(open=True)
            for decision in decisions
            if (row := rows.get(decision.request.place.model_version)) and self._shows(row, decision.request)
        }

    def standing(self, decision: Decision) -> Standing:
        return self.standing_of(decision.request)

    def standing_of(self, request: Request) -> Standing:
        is_open: Callable[[Row], bool] = lambda row: self._shows(row, request)  # noqa: E731
        return tag_reading.standing_by_itself(self._transport, request, is_open, told_first=True)

    def standing_elsewhere(self, decision: Decision, created: int) -> Standing | None:
        return tag_reading.standing_elsewhere(self._transport, decision, created)

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

    def trials(self, scope: Scope, needs: Needs) -> list[Trial]:
        """Every kind of call that a cycle makes and that changes nothing."""
        sample, targets = Sample(self._transport), sorted(scope.targets)
        keys = [key for target in targets for key in (request_tag(target), decision_tag(target))]
        here, there = self._transport.base, self._tracking.base
        return [
            Trial("requests", here, lambda: self._try_list(scope, sample)),
            Trial("versions", here, lambda: one_version(sample, self._transport)),
            Trial("re-reading", here, lambda: batches_by_tags(self._tag_search, sample, keys)),
            *evidence_trials(self._reader, self.held_now, sample, needs, there),
            Trial("holders", here, lambda: self._looking.try_calls(scope)),
            Trial("workspace", here, lambda: known_workspaces(self._transport)),
        ]

    def _try_list(self, scope: Scope, sample: Sample) -> TrialResult:
        if not scope.targets:
            return untried("nothing to search for: no policy says which targets are governed")
        targets = sorted(scope.targets)
        rows = [row for target in targets for row in rows_with(self._transport, request_tag(target), target, scope)]
        sample.found(rows)
        return works(f"searched for {', '.join(map(str, targets))}: {len(rows)} open")

    def levels(self, covers: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        """Nothing: a plain MLflow server does not report permissions."""
        return iter(())

    def tag_protection(self) -> None:
        """Nothing: whoever may edit a model there changes its tags."""

    def told(self, targets: Iterable[Target]) -> Iterator[Told]:
        return tag_reading.told_by_tags(self._transport, frozenset(targets))

    # --- for people ------------------------------------------------------------------------------------------

    def find(self, model: str, version: str, target: Target, now: datetime) -> Found:
        """Raises NotFound if there is no such version."""
        row = get_version(self._transport, model, version)
        state = decision_of(row, target)
        if request_tag(target) in tags_of(row):
            return Found(self._listed(row, target), True, *state)
        place, is_prompt = Place(model, version, target), shows_prompt(row)
        unfiled = Request.as_if(self.uri, self.workspace, place, now, is_prompt=is_prompt)
        return Found(Listed(unfiled, version_facts(row)), False, *state)

    def create(self, model: str, version: str, target: Target, requester: str, comment: str, now: datetime) -> Request:
        """File a request.

        Raises:
            Conflict: a request is already open; the message names it.
            NotFound: there is no such version.
        """
        found = self.find(model, version, target, now)
        if found.open:
            who = found.listed.request.requester.known_as
            raise Conflict(f"a request for {target} by {who} is already open: withdraw it first")
        filed_by = Requester(requester, Assurance.ASSERTED) if requester else NOBODY
        request = replace(found.listed.request, requester=filed_by, comment=comment, id=str(uuid.uuid4()))
        try:
            self._set_tag(*request.place.model_version, request_tag(target), request_value(request))
        except Invalid as error:
            if _TOO_LONG.search(str(error)):
                raise Invalid(f"the comment is too long for this server: {error}") from None
            raise
        return request

    def withdraw(self, model: str, version: str, target: Target, now: datetime) -> Request:
        """Withdraw an open request. Raises NotFound if none is open."""
        request = self._open_on(model, version, target, now)
        self._delete_tag(request)
        return request
