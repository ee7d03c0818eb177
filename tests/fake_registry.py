"""A registry in memory that can refuse, lie, die, and contains people."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from reconciler.domain.decision import Decision
from reconciler.domain.evidence.evidence import Evidence, Needs, Reading, RunFacts, Unreadable, VersionFacts
from reconciler.domain.holding.baselines import HeldNow, Holding
from reconciler.domain.holding.looks import Kind, Look, Round, SeenModel, SeenVersion, Wanted
from reconciler.domain.place import ModelTarget
from reconciler.domain.place import Place as LookedAt
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.domain.verdict import VerdictKind
from reconciler.ports import (
    History,
    HoldersNow,
    Listed,
    Listing,
    Measured,
    Meter,
    NotFound,
    RegistryError,
    Resolved,
    Standing,
    Unread,
)
from tests.builders import evidence_of

START = datetime(2026, 1, 1, tzinfo=UTC)
Place = tuple[str, str, Target]


@dataclass
class FakeRegistry:
    """What the registry holds, what it was told (`writes`), and what happens before its k-th operation.

    `before[k]` runs before operation k (counted from 1): a person steps in, or an error is raised. `after[k]` runs
    when the operation has taken effect: an error raised there is a reply that got lost.
    """

    uri: str = "http://registry.test"
    workspace: str = ""
    accuracy: dict[tuple[str, str], str] = field(default_factory=dict)
    requests: dict[Place, Request] = field(default_factory=dict)
    holders: dict[tuple[str, Target], str] = field(default_factory=dict)
    shown: dict[Place, tuple[str, ...]] = field(default_factory=dict)
    ever_shown: set[str] = field(default_factory=set)
    writes: list[tuple[str, str]] = field(default_factory=list)
    before: dict[int, Callable[[], None]] = field(default_factory=dict)
    after: dict[int, Callable[[], None]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    unlisted: dict[str, str] = field(default_factory=dict)
    stages: dict[tuple[str, str], str] = field(default_factory=dict)
    on_evidence: Callable[[Sequence[tuple[Listed, Needs]]], None] = lambda wanted: None
    keeps_history: bool = False
    hides_people: bool = False
    shows_decisions: bool = True
    # When versions were created, and their models; 1 where nothing is said.
    created: dict[tuple[str, str], int] = field(default_factory=dict)
    # When the versions of a model last changed, if they did since.
    changed: dict[str, int] = field(default_factory=dict)
    # Models that the account may not read: as some servers do, it says the same of those that are gone.
    hidden: set[str] = field(default_factory=set)
    # Whether a look is an operation too, before which something may happen.
    counts_looks: bool = False
    history: list[Resolved] = field(default_factory=list)
    # The registry's own, where it tells it.
    clock: Callable[[], datetime] | None = None
    operations: int = 0
    filed: int = 0

    # --- people ----------------------------------------------------------------------------------------------

    def file(self, model: str, version: str, target: str = "Production", *, accuracy: str = "0.95") -> Request:
        self.accuracy.setdefault((model, version), accuracy)
        self.filed += 1
        at = START + timedelta(milliseconds=self.filed)
        goal = Target.parse(target)
        asked_by = Requester("ada", Assurance.ASSERTED)
        id = f"{model}-{version}-{at.timestamp()}"
        request = Request(self.uri, self.workspace, model, version, goal, asked_by, at, "please", id, id)
        self.requests[model, version, goal] = request
        return request

    def withdraw(self, request: Request) -> None:
        del self.requests[request.model, request.version, request.target]

    def delete_version(self, model: str, version: str) -> None:
        del self.accuracy[model, version]
        self.requests = {place: one for place, one in self.requests.items() if place[:2] != (model, version)}

    # --- the port --------------------------------------------------------------------------------------------

    def begin(self, deadline: timedelta | None) -> Meter:
        return lambda: Measured(self.operations)

    def look(self, wanted: Wanted) -> Look:
        """Everything at once."""
        with self._operation_of_a_look():
            there = [place for place in self.accuracy if place[0] not in self.hidden]
            versions = [self._seen(model, version) for model, version in there]
            models = [self._seen_model(model) for model in {model for model, _ in there}]
            shown = frozenset(there), frozenset((seen.model, "") for seen in models)
            rounds = [Round(kind, keys) for kind, keys in zip(Kind, shown, strict=True)]
            clock = None if self.clock is None else round(self.clock().timestamp() * 1000)
            found = Look(versions, models, frozenset(), rounds, dict.fromkeys(Kind, timedelta()), timedelta(), 0)
            return replace(found, shown=frozenset(model for model, _ in there), clock=clock)

    def look_at(self, places: Sequence[LookedAt]) -> Look:
        with self._operation_of_a_look():
            refused = frozenset(place for place in places if place.model in self.hidden)
            there = [place for place in places if (place.model, place.version) in self.accuracy]
            versions = [self._seen(place.model, place.version) for place in there if place not in refused]
            return Look(versions, gone=frozenset(places) - frozenset(there) - refused, refused=refused)

    def point_out(self, model: str, version: str, tag: str, said: str) -> None:
        with _Operation(self):
            self.writes.append(("point out", f"{model}/{version}"))

    def open_requests(self, scope: Scope, history_after: int = 0, *, with_holders: bool = False) -> Listing:
        with _Operation(self):
            unread = [
                Unread(target, self.unlisted[str(target)]) for target in scope.targets if str(target) in self.unlisted
            ]
            targets = scope.targets - {item.target for item in unread}
            wanted = [one for one in self.requests.values() if one.target in targets and one.model not in self.hidden]
            listed = [Listed(one, self._facts(one)) for one in wanted]
            entries = self.history[history_after : history_after + 2]
            history = History(entries, history_after + len(entries)) if self.keeps_history else None
            return Listing(listed, unread=unread, history=history)

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        self.on_evidence(wanted)
        with _Operation(self):
            return {listed.request.key: self._evidence(listed.request, now) for listed, _ in wanted}

    def held_now(self, asked: Collection[ModelTarget], *, all_of: bool = False) -> HoldersNow:
        with _Operation(self):
            return {held: self._held(*held) for held in asked}

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        with _Operation(self):
            return {one.decision_id: self._standing(one.request) for one in decisions}

    def standing(self, decision: Decision) -> Standing:
        return self.standings([decision])[decision.decision_id]

    def standing_of(self, request: Request) -> Standing:
        with _Operation(self):
            return self._standing(request)

    def standing_elsewhere(self, decision: Decision, created: int) -> Standing | None:
        with _Operation(self):
            for (model, version, target), ids in self.shown.items():
                held = self.holders.get((model, target)) == version == decision.request.version
                if held and decision.decision_id in ids and self.created.get((model, version), 1) == created:
                    return Standing(open=False, holds=True, decision_ids=ids, told_first=True, named=model)
        return None

    def stamp(self, request: Request) -> None:
        self._write("stamp", request)

    def act(self, decision: Decision) -> None:
        request = decision.request
        if (request.model, request.version) not in self.accuracy:
            raise NotFound("no such version")
        self._write("tell", request, decision)
        if decision.verdict is VerdictKind.APPROVE:
            self._write("move", request)
        self._write("close", request)

    # --- inside ----------------------------------------------------------------------------------------------

    def _held(self, model: str, target: Target) -> HeldNow:
        version = self.holders.get((model, target))
        return HeldNow.of([Holding(LookedAt(model, version, target), 1)] if version else [])

    def _write(self, what: str, request: Request, decision: Decision | None = None) -> None:
        place = request.model, request.version, request.target
        with _Operation(self):
            self.writes.append((what, f"{request.model}/{request.version}"))
            if what == "move":
                self.holders[request.model, request.target] = request.version
            if decision is not None:
                self.shown[place] = (decision.decision_id, *self.shown.get(place, ()))
                self.ever_shown.add(decision.decision_id)
            if what == "close":
                self.requests.pop(place, None)

    def _standing(self, request: Request) -> Standing:
        place = request.model, request.version, request.target
        if place[:2] not in self.accuracy:
            return Standing(open=False, exists=False)
        now_there = self.requests.get(place)
        holds = self.holders.get((request.model, request.target)) == request.version
        is_open = now_there is not None and now_there.key == request.key
        return Standing(is_open, holds=holds, decision_ids=self.shown.get(place, ()), told_first=True)

    def _operation_of_a_look(self) -> AbstractContextManager[object]:
        return _Operation(self) if self.counts_looks else nullcontext()

    def _seen(self, model: str, version: str) -> SeenVersion:
        held = (
            target.name
            for (name, target), holder in self.holders.items()
            if target.is_stage and (name, holder) == (model, version)
        )
        created = self.created.get((model, version), 1)
        return SeenVersion(model, version, next(held, "None"), created, changed=self.changed.get(model, created))

    def _seen_model(self, model: str) -> SeenModel:
        held = self.holders.items()
        aliases = {target.name: one for (name, target), one in held if name == model and not target.is_stage}
        return SeenModel(model, aliases, 1)

    def _facts(self, request: Request) -> VersionFacts:
        created = self.created.get((request.model, request.version), 1)
        return VersionFacts(
            f"run-{request.version}", "", "READY", self._stage(request), Text.of(""), creation_timestamp=created
        )

    def _stage(self, request: Request) -> str:
        return self.stages.get((request.model, request.version), "None")

    def _evidence(self, request: Request, now: datetime) -> Evidence:
        if request.model in self.unreadable:
            return evidence_of(now, self._facts(request), Unreadable("the run could not be read"))
        text = self.accuracy[request.model, request.version]
        run = f"run-{request.version}"
        # An empty text: nothing was logged.
        metrics = {"validation_accuracy": Reading(text, float(text), 0, 0, run)} if text else {}
        return evidence_of(now, self._facts(request), RunFacts(run, "FINISHED", "active", 1, "", metrics))


class _Operation:
    """Counts one operation, and lets happen what is planned around it."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def __enter__(self) -> None:
        self._registry.operations += 1
        self._number = self._registry.operations
        self._registry.before.get(self._number, _nothing)()

    def __exit__(self, *error: object) -> None:
        self._registry.after.get(self._number, _nothing)()


def _nothing() -> None:
    pass


def raising(error: RegistryError) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def retyped(request: Request, comment: str) -> Request:
    """The same place, asked for again in other words."""
    return replace(request, comment=comment, id=f"{request.id}-again", fingerprint=comment)
