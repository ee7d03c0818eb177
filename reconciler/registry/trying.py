"""Each kind of call that a cycle makes, tried once by the code that makes it; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.domain.evidence import Needs
from reconciler.domain.text import counted, visible_name
from reconciler.ports import Invalid, NotFound
from reconciler.registry.errors import NoEndpoint, TooLarge
from reconciler.registry.evidence import NO_MODEL, NO_RUN, EvidenceReader
from reconciler.registry.paging import Row
from reconciler.registry.tag_reading import TagSearch, place_of
from reconciler.registry.transport import Transport
from reconciler.registry.trials import LISTS_OF_NAMES, LOGGED_MODELS, WORKSPACES, Trial, Tried, lacking, untried, works
from reconciler.registry.versions import first_version, get_version, has_workspaces, quotable, version_facts


class Sample:
    """The version that calls about one version are tried on: the first that a list shows, else any."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._rows: Sequence[Row] | None = None

    def found(self, rows: Sequence[Row]) -> None:
        self._rows = rows[:1] or None

    def only(self, rows: Sequence[Row]) -> None:
        """As `found`, where the registry has no list of any version: without a row there is none."""
        self._rows = rows[:1]

    @property
    def row(self) -> Row | None:
        if self._rows is None:
            self._rows = first_version(self._transport)
        return self._rows[0] if self._rows else None

    @property
    def shown(self) -> str:
        model, version = place_of(self.row or {})
        return f"{visible_name(model)} version {visible_name(version)}"


def one_version(sample: Sample, transport: Transport) -> Tried:
    """The call that every request is read by, before and after an act, where no search tells how it stands."""
    if sample.row is None:
        return untried("nothing to try it on: the registry has no version that may be read")
    # Whole, as evidence is read from it: a list of models leaves out of what run a version was made.
    sample.found([get_version(transport, *place_of(sample.row))])
    return works(f"{sample.shown} may be read")


def batches_by_tags(search: TagSearch, sample: Sample, keys: Sequence[str]) -> Tried:
    """The searches that tell of several models at once which requests are open, and what decisions left."""
    if not keys:
        return untried("nothing to try it on: no policy says which targets are governed")
    name = place_of(sample.row or {})[0]
    try:
        for key in keys:
            search.search([name if quotable(name) else "a"], key)
    except Invalid:
        return lacking(LISTS_OF_NAMES, "the server takes no lists of names in a search: each request is read by itself")
    return works(f"lists of names in a search, with {counted(len(keys), 'tag')} of requests and decisions")


def known_workspaces(transport: Transport) -> Tried:
    """A server that knows none ignores the header that names one with each call."""
    if not has_workspaces(transport):
        return lacking(WORKSPACES, "the server has none, and none is configured")
    return works("the server knows workspaces")


# --- evidence ------------------------------------------------------------------------------------------------


def evidence_trials(reader: EvidenceReader, sample: Sample, needs: Needs, server: str) -> list[Trial]:
    trials = []
    if needs.run:
        trials.append(Trial("runs", server, lambda: _runs(reader, sample)))
    if needs.logged_model:
        trials.append(Trial("logged models", server, lambda: _logged_models(reader, sample)))
    return trials


def _runs(reader: EvidenceReader, sample: Sample) -> Tried:
    id = reader.run_id_of(version_facts(sample.row)) if sample.row is not None else None
    searched = _searched(lambda: reader.search_runs([id or NO_RUN], reader.read_experiments()))
    if not _is_there(lambda: reader.read_run(id or NO_RUN)) or id is None:
        return untried(_nothing_read(searched, sample, "run"))
    return works(f"{searched}; the run of {sample.shown} may be read")


def _logged_models(reader: EvidenceReader, sample: Sample) -> Tried:
    found = reader.logged_model_id(version_facts(sample.row)) if sample.row is not None else None
    id = found if isinstance(found, str) else None
    try:
        searched = _searched(lambda: reader.search_logged_models([id or NO_MODEL], reader.read_experiments()))
        there = _is_there(lambda: reader.read_logged_model(id or NO_MODEL))
    except NoEndpoint:
        return lacking(LOGGED_MODELS, "this server has none: what asks for one fails")
    if not there or id is None:
        return untried(_nothing_read(searched, sample, "logged model"))
    return works(f"{searched}; that of {sample.shown} may be read")


def _searched(search: Callable[[], object]) -> str:
    try:
        search()
    except NoEndpoint:
        raise
    except (TooLarge, Invalid, NotFound) as error:
        # As a cycle takes it: what cannot be searched is read one by one.
        return f"searches fail, each is read by itself ({error})"
    return "searches are answered"


def _is_there(read: Callable[[], object]) -> bool:
    """A definite "there is none" is an answer."""
    try:
        read()
    except NotFound:
        return False
    return True


def _nothing_read(searched: str, sample: Sample, what: str) -> str:
    why = f"{sample.shown} has no {what}" if sample.row is not None else "the registry has no version"
    return f"{searched}; no {what} to try to read: {why}"
