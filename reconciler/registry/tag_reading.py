"""The standing of decisions, read from the tags, stages and aliases that an MLflow server shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from reconciler.domain.decision import Decision
from reconciler.domain.place import ModelVersion
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.tag_format import decision_tag, request_tag
from reconciler.domain.target import Target
from reconciler.domain.told import decision_ids_in
from reconciler.domain.verdict import VerdictKind
from reconciler.ports import Invalid, NotFound, Standing, Told
from reconciler.registry.paging import Row
from reconciler.registry.transport import Transport
from reconciler.registry.versions import (
    API,
    PROMPTS_ONLY,
    get_version,
    quotable,
    quoted,
    search_tagged,
    search_versions,
    tags_of,
    version_facts,
    version_in,
)


class TagSearch:
    """Finds the versions of several models by a tag, in one search if the server accepts a list of names.

    MLflow accepts `name IN (…)` since 3.17. Whether this server does is tried once, and remembered.
    """

    def __init__(self, transport: Transport, *, told_first: bool) -> None:
        self._transport = transport
        self._told_first = told_first
        self.takes_names = True

    def rows(self, key: str, decisions: Iterable[Decision]) -> dict[ModelVersion, Row]:
        """The versions with this tag, of the models that these decisions are about.

        Models whose names cannot be put in a filter are left out, and all models if the server accepts no list of
        names. What is not in the result must be read by itself.
        """
        requests = [decision.request for decision in decisions if quotable(decision.request.model)]
        found: dict[ModelVersion, Row] = {}
        for prompts in (False, True):
            names = sorted({request.model for request in requests if request.is_prompt == prompts})
            if not names or not self.takes_names:
                continue
            try:
                found |= {version_in(row): row for row in self.search(names, key, prompts=prompts)}
            except Invalid:
                # The server may refuse only this list, or every list.
                self.try_names()
        return found

    def search(self, names: Sequence[str], key: str, *, prompts: bool = False) -> list[Row]:
        """Raises Invalid if the server accepts no list of names."""
        more = f" AND {PROMPTS_ONLY}" if prompts else ""
        return search_versions(self._transport, f"{_named(names)} AND tags.`{key}` LIKE '%'{more}")

    def decided(self, target: Target, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """The standings of decisions that their version names; nothing is known yet about the others.

        A search omits aliases. Where the id alone does not prove the act, the version must then be read by itself.
        """
        rows = self.rows(decision_tag(target), decisions)
        standings = {}
        for decision in decisions:
            row = rows.get(decision.request.place.model_version)
            if row is None or decision.decision_id not in shown_decision_ids(row, target):
                continue
            if target.is_stage or not self._told_first or decision.verdict is not VerdictKind.APPROVE:
                standing = standing_of(row, target, open=False, told_first=self._told_first)
                standings[decision.decision_id] = standing
        return standings

    def try_names(self) -> bool:
        """Try the shortest possible list. Raises RegistryError if the result is unclear."""
        query = {"filter": _named(["a"]), "max_results": 1}
        try:
            self._transport.get(f"{API}/model-versions/search", query)
        except Invalid:
            self.takes_names = False
        else:
            self.takes_names = True
        return self.takes_names


def _named(names: Sequence[str]) -> str:
    return f"name IN ({quoted(names)})"


def rows_with(transport: Transport, key: str, target: Target, scope: Scope) -> list[Row]:
    """The versions with the tag, of models and of prompts as far as the target is looked for there."""
    return [row for prompts in scope.kinds_of(target) for row in search_tagged(transport, key, prompts=prompts)]


def told_by_tags(transport: Transport, targets: Collection[Target]) -> Iterator[Told]:
    """The decision tags of all versions, for these targets."""
    everything = Scope.of_everything(targets)
    for target in sorted(targets):
        key = decision_tag(target)
        for row in rows_with(transport, key, target, everything):
            yield Told(*version_in(row), str(target), tags_of(row).get(key, ""))


def shown_decision_ids(row: Row, target: Target) -> tuple[str, ...]:
    return decision_ids_in(tags_of(row).get(decision_tag(target), ""))


def decision_of(row: Row, target: Target) -> tuple[bool, str]:
    """Whether the version holds the target, and what its decision tag says."""
    return holds(row, target), tags_of(row).get(decision_tag(target), "")


def holds(row: Row, target: Target) -> bool:
    if target.is_stage:
        return row.get("current_stage") == target.name
    return target.name in (row.get("aliases") or [])


def by_target(decisions: Iterable[Decision]) -> dict[Target, list[Decision]]:
    """Group decisions by target: one search can find those of one target."""
    groups: dict[Target, list[Decision]] = defaultdict(list)
    for decision in decisions:
        groups[decision.request.target].append(decision)
    return groups


def standing_by_itself(
    transport: Transport, request: Request, is_open: Callable[[Row], bool], *, told_first: bool
) -> Standing:
    """The standing by one call for the version. `is_open`: whether a row shows this very request as open."""
    try:
        row = get_version(transport, request.model, request.version)
    except NotFound:
        return Standing(open=False, exists=False)
    return standing_of(row, request.target, open=is_open(row), told_first=told_first)


def standing_elsewhere(transport: Transport, decision: Decision, created: int) -> Standing | None:
    """As `ports.Registry.standing_elsewhere`. Decisions are told first, so the version must hold what was decided."""
    request, key = decision.request, decision_tag(decision.request.target)
    rows = search_versions(transport, f"tags.`{key}` LIKE '%{decision.decision_id}%'")
    same = [version_in(row) for row in rows if version_facts(row).creation_timestamp == created]
    if len(same) != 1 or same[0][1] != request.version:
        return None
    # A search omits aliases.
    row = get_version(transport, *same[0])
    approves = decision.verdict is VerdictKind.APPROVE
    done = holds(row, request.target) if approves else request_tag(request.target) not in tags_of(row)
    standing = standing_of(row, request.target, open=False, told_first=True)
    return replace(standing, named=same[0][0]) if done else None


def standing_of(row: Row, target: Target, *, open: bool, told_first: bool) -> Standing:
    """The standing from a version that `model-versions/get` returned; a search omits aliases."""
    ids = shown_decision_ids(row, target)
    return Standing(open=open, holds=holds(row, target), decision_ids=ids, told_first=told_first)
