"""What holds a target, read from an open-source MLflow server: what changed last, and rounds over everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from reconciler.domain.holding.looks import Kind, Look, Round, SeenModel, SeenVersion, Wanted
from reconciler.domain.place import Place
from reconciler.domain.scope import Scope
from reconciler.domain.tag_format import REQUEST_PREFIX
from reconciler.domain.text import counted
from reconciler.ports import NotFound, Refused
from reconciler.registry.last_shown import LastShown
from reconciler.registry.paging import Row, rows_in_pages, rows_of
from reconciler.registry.prompts import MarkedModels
from reconciler.registry.rotation import Finished, PartOfRound, Rotation, disguised_filters, name_filters
from reconciler.registry.transport import Transport
from reconciler.registry.trials import TrialResult, untried, works
from reconciler.registry.unlisted import Unlisted
from reconciler.registry.versions import (
    API,
    get_model,
    get_version,
    has_files,
    integer,
    model_in,
    name_of,
    shows_prompt,
    tags_of,
    version_in,
)

LOOK_FOR: Final = timedelta(seconds=2)
# Several servers write one registry, and a change is committed later than its time says.
_OVERLAP_MS: Final = 10 * 60 * 1000
_FEW_CHANGES: Final = 100
_MANY_CHANGES: Final = 1000
SeenIn = Callable[[Row], SeenModel]
_LOOKS_LIKE_A_REQUEST: Final = REQUEST_PREFIX.rstrip(".")


class Looking:
    """Looks at one server.

    Args:
        budget: how long rounds may ask for further pages in one look; each round reads one page at least.
        clock: seconds.
    """

    def __init__(self, transport: Transport, budget: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._budget = budget.total_seconds()
        self._clock = clock
        self._scope: Scope | None = None
        self._versions = Rotation(self._ask_versions, "model_versions", version_in, clock)
        self._models = Rotation(self._ask_models, "registered_models", model_in, clock)
        self._marked = MarkedModels(transport)

    def look(self, wanted: Wanted) -> Look:
        self._begin(wanted)
        begun = self._clock()
        ends = begun + self._budget

        def may_go_on() -> bool:
            return wanted.at_once or self._clock() < ends

        changed, all_changes = self._changed(wanted, may_go_on)
        if not all_changes:
            wanted = replace(wanted, everything=True)
        rows, all_versions = self._everything(wanted, may_go_on)
        models, all_models = self._aliases(wanted, may_go_on)
        skipped = self._skipped(map(name_of, models), all_models, begun)
        apart = self._unlisted.read(wanted.scope, map(name_of, models), (all_versions, all_models))
        rounds, as_of = [], {}
        if wanted.changed_since is not None and all_changes:
            as_of[Kind.STAGES] = timedelta()
        elif all_versions is not None:
            as_of[Kind.STAGES] = timedelta(seconds=all_versions.seconds)
        if all_versions is not None:
            rounds.append(Round(Kind.STAGES, all_versions.keys))
        if all_models is not None:
            rounds.append(Round(Kind.ALIASES, all_models.keys, in_one_look=all_models.in_one_look))
            as_of[Kind.ALIASES] = timedelta(seconds=all_models.seconds)
        # What changed was read first: where a round shows something else, that is newer.
        latest = {version_in(row): row for row in [*changed, *rows]}
        return Look(
            versions=[seen_version(row) for row in latest.values()],
            models=[self._seen(row) for row in [*models, *apart]],
            shown=frozenset(map(name_of, [*changed, *rows, *models])),
            apart=frozenset(map(name_of, apart)),
            skipped=skipped,
            rounds=rounds,
            as_of=as_of,
            everything=None if all_versions is None else timedelta(seconds=all_versions.seconds),
            newest_change=max(map(changed_at, changed), default=wanted.changed_since),
            aliases_take=None if all_models is None else timedelta(seconds=all_models.seconds),
            clock=self._clock_at(begun),
        )

    def look_at(self, places: Sequence[Place]) -> Look:
        return look_at(self._transport, places, self._seen)

    def _seen(self, row: Row) -> SeenModel:
        seen = seen_model(row)
        return seen if self._scope is None else self._marked.looked_into(seen, row, self._scope)

    def _skipped(self, models: Iterable[str], all_models: Finished | None, begun: float) -> dict[str, timedelta]:
        """As `Look.skipped`. `models`: those whose aliases are shown now."""
        shown = list(models)
        skipped = self._last_shown.skipped(shown)
        self._last_shown.show(shown, begun, None if all_models is None else all_models.seconds)
        return {model: timedelta(seconds=ago) for model, ago in skipped.items()}

    def _clock_at(self, moment: float) -> int | None:
        """The registry's clock, then."""
        now = self._transport.registry_clock
        return None if now is None else now - round((self._clock() - moment) * 1000)

    def _begin(self, wanted: Wanted) -> None:
        if wanted.scope != self._scope:
            self._scope = wanted.scope
            self._last_shown = LastShown(self._clock)
            self._unlisted = Unlisted(self._transport)
        if wanted.afresh:
            self._versions.begin_anew()
            self._models.begin_anew()

    def try_calls(self, scope: Scope) -> TrialResult:
        """Each kind of call once. The rounds that this begins are not gone on with."""
        if not scope.targets:
            return untried("nothing to look for: no policy says which targets are governed")
        newest = self.look(Wanted(scope, afresh=True)).newest_change
        looked = self.look(Wanted(scope, newest or 0, afresh=True))
        return works(f"what changed last can be listed, and {counted(len(looked.models), 'model')} with aliases")

    # --- what changed last -----------------------------------------------------------------------------------

    def _changed(self, wanted: Wanted, may_go_on: Callable[[], bool]) -> tuple[list[Row], bool]:
        """Versions, the last changed first: down to ten minutes before the newest change of the last look.

        Of a registry that was never looked at, the newest alone: a round reads the others. Where the registry's clock
        was set back, what changed since is older than what was seen last: it is read down to when that was by the
        registry's clock of now. That may be many versions, so it is false where there was no time for all of them.
        """
        if not any(target.is_stage for target in wanted.scope.targets):
            # An alias moves no version to the front.
            return [], True
        if wanted.changed_since is None:
            return rows_of(self._changes_page({"max_results": 1}), "model_versions"), True
        usual = wanted.changed_since - _OVERLAP_MS
        oldest, rows = usual, list[Row]()
        for row in rows_in_pages(self._changes_page, "model_versions"):
            if not rows:
                # The first page has told the registry's time.
                oldest = min(usual, self._last_look(wanted, usual))
            if changed_at(row) < oldest:
                break
            if changed_at(row) < usual and not may_go_on():
                return rows, False
            rows.append(row)
        return rows, True

    def _last_look(self, wanted: Wanted, otherwise: int) -> int:
        """When all changes had been seen, less what `_OVERLAP_MS` says, by the registry's clock of now."""
        skew = self._transport.skew
        if skew is None or wanted.since is None:
            return otherwise
        ago = max(wanted.since, timedelta()).total_seconds()
        return round((time.time() + skew - ago) * 1000) - _OVERLAP_MS

    def _changes_page(self, more: Mapping[str, Any]) -> Any:
        # Few versions change in ten minutes; where many do, a page token is an offset, so pages may grow.
        size = _MANY_CHANGES if more else _FEW_CHANGES
        query = {"max_results": size, "order_by": ["last_updated_timestamp DESC"], **more}
        return self._transport.get(f"{API}/model-versions/search", query)

    # --- rounds ----------------------------------------------------------------------------------------------

    def _everything(self, wanted: Wanted, may_go_on: Callable[[], bool]) -> PartOfRound:
        filters = name_filters(wanted.scope, lambda target: True)
        if not filters or not (wanted.everything or self._versions.under_way):
            return [], None
        return self._versions.read([*filters, *disguised_filters(wanted.scope)], may_go_on)

    def _aliases(self, wanted: Wanted, may_go_on: Callable[[], bool]) -> PartOfRound:
        filters = name_filters(wanted.scope, lambda target: not target.is_stage)
        return self._models.read(filters, may_go_on) if filters else ([], None)

    def _ask_versions(self, query: Mapping[str, Any]) -> Any:
        # Pages are offsets: in MLflow's default order (last updated first) rows could move while they are read.
        ordered = {**query, "order_by": ["name ASC", "version_number ASC"]}
        return self._transport.get(f"{API}/model-versions/search", ordered)

    def _ask_models(self, query: Mapping[str, Any]) -> Any:
        return self._transport.get(f"{API}/registered-models/search", {**query, "order_by": ["name ASC"]})


# --- reading by name -----------------------------------------------------------------------------------------


def look_at(transport: Transport, places: Sequence[Place], seen_in: SeenIn | None = None) -> Look:
    """Reads versions and models by themselves. What the account may not see is `refused`: that is not "gone"."""
    seen_in = seen_in or seen_model
    versions: list[SeenVersion] = []
    models: dict[str, SeenModel] = {}
    gone, refused = set[Place](), set[Place]()
    for place in places:
        try:
            if place.target.is_stage:
                versions.append(seen_version(_version_of(transport, place)))
            else:
                if place.model not in models:
                    models[place.model] = seen_in(get_model(transport, place.model))
                _require_named(transport, models[place.model], place)
        except NotFound:
            gone.add(place)
        except Refused:
            refused.add(place)
    return Look(versions, list(models.values()), frozenset(gone), refused=frozenset(refused))


def _version_of(transport: Transport, place: Place) -> Row:
    """Raises NotFound where it is gone, and Refused where the account may not see it."""
    try:
        return get_version(transport, place.model, place.version)
    except Refused:
        # Under basic-auth nobody but an administrator may ask for versions of a model that was deleted; of the model
        # itself everybody is told that there is none.
        get_model(transport, place.model)
        raise


def _require_named(transport: Transport, model: SeenModel, place: Place) -> None:
    """Of an alias that is gone, whether its version is too. Raises NotFound if so."""
    if place.target.name not in model.aliases:
        get_version(transport, place.model, place.version)


# --- rows ----------------------------------------------------------------------------------------------------


def seen_version(row: Row) -> SeenVersion:
    model, version = version_in(row)
    stage = str(row.get("current_stage") or "None")
    is_prompt = shows_prompt(row) and not has_files(row)
    tags = tuple(_request_tags(row))
    return SeenVersion(model, version, stage, created_at(row), tags, is_prompt, changed_at(row) or None)


def _request_tags(row: Row) -> Iterator[str]:
    return (key for key in tags_of(row) if key.lower().startswith(_LOOKS_LIKE_A_REQUEST))


def seen_model(row: Row) -> SeenModel:
    aliases = {str(one.get("alias", "")): str(one.get("version", "")) for one in rows_of(row, "aliases")}
    return SeenModel(name_of(row), aliases, created_at(row), shows_prompt(row))


def created_at(row: Row) -> int | None:
    return integer(row.get("creation_timestamp")) or None


def changed_at(row: Row) -> int:
    return integer(row.get("last_updated_timestamp"))
