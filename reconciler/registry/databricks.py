"""A Databricks workspace registry. It has no list of all requests, so versions are swept within a budget of calls."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from reconciler.domain.decision import Decision
from reconciler.domain.holding.looks import Kind, Look, Round, SeenVersion, Wanted
from reconciler.domain.place import ModelTarget, ModelVersion
from reconciler.domain.request import Assurance, Request
from reconciler.domain.scope import Scope
from reconciler.domain.text import counted
from reconciler.ports import HoldersNow, Listed, Listing, Meter, NotFound, RegistryError, Standing
from reconciler.registry.budget import Budget
from reconciler.registry.evidence import EvidenceReader
from reconciler.registry.governed import Governed, has_stage
from reconciler.registry.holders import holders_in_stages
from reconciler.registry.looking import seen_version
from reconciler.registry.paging import Row, rows_in_pages, rows_of
from reconciler.registry.request_format import RequestFormat, in_order
from reconciler.registry.sweep import Sweep
from reconciler.registry.tag_reading import holds
from reconciler.registry.transition_requests import TransitionRequestsRegistry
from reconciler.registry.transport import Transport, begin_all
from reconciler.registry.trials import TrialResult, untried, works
from reconciler.registry.trying import Sample
from reconciler.registry.turns import Turns
from reconciler.registry.versions import API, get_version, name_of

# The workspace's own page size; a model with more versions is listed in pages.
_VERSIONS_A_PAGE = 10_000

Looked = tuple[ModelVersion, list[Listed] | RegistryError]
LookAll = Callable[[Sequence[ModelVersion]], Iterable[Looked]]


@dataclass(frozen=True, slots=True)
class SweepTiming:
    """`full_sweep`: each version is checked within this time. `sweep_for`: how long one cycle may sweep.

    `clock` is in seconds.
    """

    full_sweep: timedelta
    sweep_for: timedelta
    clock: Callable[[], float] = time.monotonic


@dataclass
class _Seen:
    """What one sweep has passed, `for_look`: for a look. `models`: all that there are; None: they were not listed."""

    for_look: bool = False
    models: frozenset[str] | None = None
    versions: list[SeenVersion] = field(default_factory=list)
    whole_models: set[str] = field(default_factory=set)

    def whole(self, model: str, versions: Sequence[SeenVersion]) -> None:
        self.versions += versions
        self.whole_models.add(model)

    def rounds(self) -> list[Round]:
        if self.models is None:
            return []
        shown = frozenset((seen.model, seen.version) for seen in self.versions if seen.model in self.whole_models)
        all_models = Round(Kind.STAGES, frozenset((model, "") for model in self.models))
        return [all_models, Round(Kind.STAGES, shown, frozenset(self.whole_models))]


class DatabricksRegistry(TransitionRequestsRegistry):
    """`transports`: one for each sweeping thread, the first also for everything else. All share `budget`."""

    protocol = "transition-requests"
    shows_decisions = False
    keeps_history = False
    hides_people = True

    def __init__(
        self,
        uri: str,
        transports: Sequence[Transport],
        tracking: Transport,
        budget: Budget,
        timing: SweepTiming,
        look_all: LookAll | None = None,
    ) -> None:
        super().__init__(uri, "", transports[0], tracking, RequestFormat(uri, "", Assurance.AUTHENTICATED))
        if tracking is transports[0]:
            self._reader = EvidenceReader(tracking, tracking, serves_files=False)
        self._transports = transports
        self._budget = budget
        self._clock = timing.clock
        self._sweep_for = timing.sweep_for.total_seconds()
        self._look_all = look_all or self._look_in_threads
        full = timing.full_sweep.total_seconds()
        self._sweep = Sweep(full, timing.clock)
        # Whose versions are enumerated next.
        self._turns = Turns(full, timing.clock)
        self._governed = Governed()
        self._seen = _Seen()

    def begin(self, deadline: timedelta | None) -> Meter:
        return begin_all({*self._transports, self._tracking}, deadline)

    # --- request ---------------------------------------------------------------------------------------------

    def open_requests(self, scope: Scope, history_after: int = 0, *, with_holders: bool = False) -> Listing:
        """The open requests on the versions that are due now; versions with open requests are always due."""
        ends = self._clock() + self._sweep_for
        if self._seen.for_look:
            self._turns.again(self._seen.whole_models)
        self._seen = _Seen(with_holders)
        self._discover(scope, ends)
        model_versions = self._sweep.plan(max(int((ends - self._clock()) * self._budget.rate), 1))
        found: list[Listed] = []
        errors: list[RegistryError] = []
        for model_version, answer in self._look_all(model_versions):
            if isinstance(answer, NotFound):
                self._sweep.forget(model_version)
            elif isinstance(answer, RegistryError):
                errors.append(answer)
            else:
                governed = [listed for listed in answer if self._governed.is_governed(listed.request)]
                self._sweep.looked(model_version, requested=bool(governed))
                found += governed
        remarks = [_failed(errors, len(model_versions)), self._sweep.remark()]
        remark = "; ".join(filter(None, remarks)) or None
        return Listing(in_order(found), remark)

    def look(self, wanted: Wanted) -> Look:
        """What the sweep has passed. Versions that are not the newest of their stage are seen once in a sweep."""
        seen, self._seen = self._seen, _Seen()
        if wanted.afresh:
            self._turns.again_but(seen.whole_models)
        age = None if (within := self._turns.within()) is None else timedelta(seconds=within)
        return Look(
            seen.versions,
            rounds=seen.rounds(),
            # It has no aliases, so nothing holds one.
            as_of={} if age is None else dict.fromkeys({Kind.STAGES, *map(Kind.of, wanted.scope.targets)}, age),
            everything=age,
            shown=seen.models or frozenset(),
            clock=self._transport.registry_clock,
        )

    def all_open(self, scope: Scope) -> list[Listed]:
        return list(self.open_requests(scope).requests)

    def holders(self, scope: Scope) -> Look:
        """One call lists the models with the newest version of each stage, one more each that has a governed one."""
        versions: list[SeenVersion] = []
        for model in self.models():
            name = name_of(model)
            wanted = {target.name for target in scope.targets_of(name) if target.is_stage}
            if any(seen_version({**row, "name": name}).stage in wanted for row in rows_of(model, "latest_versions")):
                versions += [seen_version(row) for row in self._rows_of_versions(name)]
        return Look(versions)

    def _try_list(self, scope: Scope, sample: Sample) -> TrialResult:
        """The models, the versions of the first governed one, and the requests of its newest."""
        models = 0
        for model in self.models():
            models += 1
            name = name_of(model)
            latest = rows_of(model, "latest_versions")
            if latest and has_stage(scope.targets_of(name)):
                version = str(latest[0].get("version"))
                list(self._rows_of_versions(name))
                listed = self.requests_of(name, version)
                sample.only([{**latest[0], "name": name, "version": version}])
                return works(f"models and versions are listed, and the requests of {sample.label}: {len(listed)} open")
        sample.only([])
        summary = f"{counted(models, 'model')} listed, none of them governed and with a version"
        return untried(f"{summary}: no requests to try to list")

    # --- what there is to look at ----------------------------------------------------------------------------

    def _discover(self, scope: Scope, ends: float) -> None:
        """Find new versions by each model's latest ones, all others by listing each model's versions once a sweep."""
        models = {name_of(row): row for row in self.models()}
        governed = self._governed.among(scope, models)
        self._sweep.forget_models_but(governed)
        self._seen.models = frozenset(models)
        for name in governed:
            self._sweep.learn(self._latest(name, models[name]))
            self._seen.versions += [
                seen_version({**row, "name": name}) for row in rows_of(models[name], "latest_versions")
            ]
        self._turns.only(governed)
        for name in self._turns.due():
            # Half of the time is for the sweep itself, even when there is much to discover.
            if self._clock() >= ends - self._sweep_for / 2:
                break
            self._enumerate(name)
        if self._turns.everyone_had_one:
            self._sweep.learned_all()

    def _latest(self, model: str, row: Row) -> Iterator[ModelVersion]:
        """The newest version and those between it and the newest known one: MLflow numbers versions in order."""
        latest = [version.get("version") for version in rows_of(row, "latest_versions")]
        numbers = [int(number) for number in latest if isinstance(number, str | int) and str(number).isdigit()]
        newest = max(numbers, default=0)
        known = self._sweep.newest(model)
        return ((model, str(number)) for number in range(known + 1 if known else newest, newest + 1) if number)

    def _enumerate(self, model: str) -> None:
        rows = list(self._rows_of_versions(model))
        versions = {str(row.get("version")) for row in rows}
        self._seen.whole(model, [seen_version(row) for row in rows])
        self._sweep.learn((model, version) for version in sorted(versions) if version.isdigit())
        self._sweep.keep_only(model, versions)
        self._turns.took(model)

    def _rows_of_versions(self, model: str) -> Iterator[Row]:
        quoted = model.replace("'", "\\'")
        query = {"filter": f"name='{quoted}'", "max_results": _VERSIONS_A_PAGE, "order_by": ["version DESC"]}
        return rows_in_pages(
            lambda more: self._transport.get(f"{API}/model-versions/search", {**query, **more}), "model_versions"
        )

    # --- holders ---------------------------------------------------------------------------------------------

    def held_now(self, asked: Collection[ModelTarget], *, all_of: bool = False) -> HoldersNow:
        return holders_in_stages(asked, self._rows_of_versions)

    # --- looking ---------------------------------------------------------------------------------------------

    def _look_in_threads(self, model_versions: Sequence[ModelVersion]) -> Iterator[Looked]:
        free: queue.SimpleQueue[Transport] = queue.SimpleQueue()
        for transport in self._transports:
            free.put(transport)
        with ThreadPoolExecutor(len(self._transports)) as threads:
            yield from threads.map(lambda model_version: self._look_with(free, model_version), model_versions)

    def _look_with(self, free: queue.SimpleQueue[Transport], model_version: ModelVersion) -> Looked:
        with _borrowed(free) as transport:
            return model_version, self.requests_on(transport, model_version)

    def requests_on(self, transport: Transport, model_version: ModelVersion) -> list[Listed] | RegistryError:
        try:
            return list(self._read_rows(transport, *model_version))
        except RegistryError as error:
            return error

    # --- confirm ---------------------------------------------------------------------------------------------

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """Read the requests of each version, and the version itself if the request is gone."""
        asked = {decision.request.place.model_version for decision in decisions}
        open_keys = {model_version: self._open_keys(*model_version) for model_version in asked}
        return {
            decision.decision_id: self._standing(decision.request, open_keys[decision.request.place.model_version])
            for decision in decisions
        }

    def standing(self, decision: Decision) -> Standing:
        return self.standing_of(decision.request)

    def standing_of(self, request: Request) -> Standing:
        return self._standing(request, self._open_keys(request.model, request.version))

    def _open_keys(self, model: str, version: str) -> set[str] | None:
        """The keys of the version's open requests; None: it does not exist."""
        try:
            return {listed.request.key for listed in self.requests_of(model, version)}
        except NotFound:
            return None

    def _standing(self, request: Request, open_keys: set[str] | None) -> Standing:
        if open_keys is None:
            return Standing(open=False, exists=False, tells_who=False)
        if request.key in open_keys:
            return Standing(open=True, tells_who=False)
        try:
            row = get_version(self._transport, request.model, request.version)
        except NotFound:
            return Standing(open=False, exists=False, tells_who=False)
        return Standing(open=False, holds=holds(row, request.target), tells_who=False)


def _failed(errors: Sequence[RegistryError], looked: int) -> str | None:
    """A remark on the versions that could not be read, which stay due. Raises the first error if none could be read."""
    if errors and len(errors) == looked:
        raise errors[0]
    return f"{len(errors)} of {looked} versions could not be read: {errors[0]}" if errors else None


@contextmanager
def _borrowed(free: queue.SimpleQueue[Transport]) -> Iterator[Transport]:
    transport = free.get()
    try:
        yield transport
    finally:
        free.put(transport)
