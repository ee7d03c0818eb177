"""Try each kind of call that a cycle makes, once, by the same code; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from reconciler.domain.evidence.evidence import Needs, SignatureFacts, Unreadable
from reconciler.domain.place import ModelTarget, Place
from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.domain.text import counted, visible_name
from reconciler.ports import HoldersNow, Invalid, Listed, NotFound, Unavailable
from reconciler.registry.errors import NoEndpoint, PlainlyRefused, TooLarge
from reconciler.registry.evidence import NO_MODEL, NO_RUN, EvidenceReader
from reconciler.registry.paging import Row
from reconciler.registry.tag_reading import TagSearch
from reconciler.registry.transport import Transport
from reconciler.registry.trials import (
    LISTS_OF_NAMES,
    LOGGED_MODELS,
    WORKSPACES,
    Trial,
    TrialResult,
    lacking,
    untried,
    works,
)
from reconciler.registry.versions import (
    first_version,
    get_version,
    has_workspaces,
    name_of,
    quotable,
    version_facts,
    version_in,
)

_PRODUCTION: Final = Target.parse("Production")
_NO_TIME: Final = datetime.fromtimestamp(0, UTC)


class ReadHolders(Protocol):
    """As `ports.registry.Registry.held_now`."""

    def __call__(self, asked: Collection[ModelTarget], *, all_of: bool = False) -> HoldersNow: ...


class Sample:
    """The version on which calls about one version are tried: the first that a list shows, else any."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._rows: Sequence[Row] | None = None

    def found(self, rows: Sequence[Row]) -> None:
        self._rows = rows[:1] or None

    def only(self, rows: Sequence[Row]) -> None:
        """As `found`, but without a row there is no sample: for registries that cannot list any version."""
        self._rows = rows[:1]

    @property
    def row(self) -> Row | None:
        if self._rows is None:
            self._rows = first_version(self._transport)
        return self._rows[0] if self._rows else None

    @property
    def label(self) -> str:
        model, version = version_in(self.row or {})
        return f"{visible_name(model)} version {visible_name(version)}"


def one_version(sample: Sample, transport: Transport) -> TrialResult:
    """The call that reads a request before and after an act, if no search shows its state."""
    if sample.row is None:
        return untried("nothing to try it on: the registry has no readable version")
    # The whole version, since evidence is read from it: a list of models omits a version's run.
    sample.found([get_version(transport, *version_in(sample.row))])
    return works(f"{sample.label} can be read")


def batches_by_tags(search: TagSearch, sample: Sample, keys: Sequence[str]) -> TrialResult:
    """The searches that show, for several models at once, which requests are open and what was decided."""
    if not keys:
        return untried("nothing to try it on: no policy says which targets are governed")
    name = name_of(sample.row or {})
    try:
        for key in keys:
            search.search([name if quotable(name) else "a"], key)
    except Invalid:
        return lacking(
            LISTS_OF_NAMES, "the server accepts no lists of names in a search: each request is read on its own"
        )
    return works(f"lists of names in a search, with {counted(len(keys), 'tag')} of requests and decisions")


def known_workspaces(transport: Transport) -> TrialResult:
    """Whether the server knows workspaces; if not, it ignores the header that names one."""
    if not has_workspaces(transport):
        return lacking(WORKSPACES, "the server has none, and none is configured")
    return works("the server knows workspaces")


# --- evidence ------------------------------------------------------------------------------------------------


def evidence_trials(
    reader: EvidenceReader, held_now: ReadHolders, sample: Sample, needs: Needs, server: str
) -> list[Trial]:
    trials = []
    if needs.holder or any(not target.is_stage for target in needs.held):
        trials.append(Trial("baselines", reader.registry, lambda: _holders(held_now, sample)))
    if needs.run:
        trials.append(Trial("runs", server, lambda: _runs(reader, sample)))
    if needs.histories:
        trials.append(Trial("histories of metrics", server, lambda: _histories(reader, sample)))
    if needs.logged_model:
        trials.append(Trial("logged models", server, lambda: _logged_models(reader, sample)))
    if needs.registered_model:
        trials.append(Trial("registered models", reader.registry, lambda: _registered_models(reader, sample)))
    if needs.signature:
        trials.append(Trial("model files", server, lambda: _model_files(reader, sample)))
    return trials


def _holders(held_now: ReadHolders, sample: Sample) -> TrialResult:
    name = name_of(sample.row or {})
    if not quotable(name):
        return untried("nothing to try it on: the registry has no readable version")
    for all_of in (False, True):
        [held] = held_now({(name, _PRODUCTION)}, all_of=all_of).values()
        if isinstance(held, Unreadable):
            raise Unavailable(held.detail)
    return works(f"what holds a target can be read, such as of {visible_name(name)}")


def _registered_models(reader: EvidenceReader, sample: Sample) -> TrialResult:
    name = name_of(sample.row) if sample.row is not None else "a"
    if not _exists(lambda: reader.read_registered_model(name)) or sample.row is None:
        return untried("nothing to try it on: the registry has no readable version")
    return works(f"{visible_name(name)} can be read")


def _model_files(reader: EvidenceReader, sample: Sample) -> TrialResult:
    if sample.row is None:
        return untried("nothing to try it on: the registry has no readable version")
    request = Request.as_if("", "", Place(*version_in(sample.row), _PRODUCTION), _NO_TIME)
    asked = Needs(run=True, logged_model=True, signature=True)
    [evidence] = reader.read([(Listed(request, version_facts(sample.row)), asked)], _NO_TIME).values()
    answer = evidence.fact(SignatureFacts)
    if isinstance(answer, Unreadable):
        raise Unavailable(answer.detail)
    if isinstance(answer, SignatureFacts) and answer.sha256:
        return works(f"MLmodel of {sample.label} can be read")
    detail = answer.unclear if isinstance(answer, SignatureFacts) else answer.detail
    return untried(f"MLmodel of {sample.label} was not read: {detail}")


def _runs(reader: EvidenceReader, sample: Sample) -> TrialResult:
    id = reader.run_id_of(version_facts(sample.row)) if sample.row is not None else None
    search_result = _search_result(lambda: reader.search_runs([id or NO_RUN], reader.read_experiments()))
    if not _exists(lambda: reader.read_run(id or NO_RUN), made_up=id is None) or id is None:
        return untried(_nothing_to_read(search_result, sample, "run"))
    return works(f"{search_result}; the run of {sample.label} can be read")


def _histories(reader: EvidenceReader, sample: Sample) -> TrialResult:
    """Of a metric that no run has: a history without points is an answer."""
    id = reader.run_id_of(version_facts(sample.row)) if sample.row is not None else None
    if not _exists(lambda: reader.read_history(id or NO_RUN), made_up=id is None) or id is None:
        return untried("nothing to try it on: no version that can be read has a run")
    return works("what a run logged of a metric over its steps can be read")


def _logged_models(reader: EvidenceReader, sample: Sample) -> TrialResult:
    found = reader.logged_model_id(version_facts(sample.row)) if sample.row is not None else None
    id = found if isinstance(found, str) else None
    try:
        search_result = _search_result(lambda: reader.search_logged_models([id or NO_MODEL], reader.read_experiments()))
        there = _exists(lambda: reader.read_logged_model(id or NO_MODEL), made_up=id is None)
    except NoEndpoint:
        return lacking(LOGGED_MODELS, "this server has none: checks that need one fail")
    if not there or id is None:
        return untried(_nothing_to_read(search_result, sample, "logged model"))
    return works(f"{search_result}; the one of {sample.label} can be read")


def _search_result(search: Callable[[], object]) -> str:
    try:
        search()
    except NoEndpoint:
        raise
    except (TooLarge, Invalid, NotFound) as error:
        # As in a cycle: what cannot be searched is read one by one.
        return f"searches fail, so each is read on its own ({error})"
    return "searches work"


def _exists(read: Callable[[], object], *, made_up: bool = False) -> bool:
    """Whether it exists. A definite NotFound is an answer, not an error.

    `made_up`: nothing has this id. Basic-auth then refuses whoever is no administrator, instead of saying so.
    """
    try:
        read()
    except NotFound:
        return False
    except PlainlyRefused:
        if not made_up:
            raise
        return False
    return True


def _nothing_to_read(search_result: str, sample: Sample, what: str) -> str:
    reason = f"{sample.label} has no {what}" if sample.row is not None else "the registry has no version"
    return f"{search_result}; no {what} to try to read: {reason}"
