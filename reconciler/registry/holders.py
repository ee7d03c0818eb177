"""What holds targets now, read for a batch of requests together: one call for each model where that is enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from reconciler.domain.evidence.evidence import Absent, Unreadable
from reconciler.domain.holding.baselines import HeldNow, Holding
from reconciler.domain.place import ModelTarget, Place
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.ports import Unavailable
from reconciler.registry.looking import created_at, seen_model
from reconciler.registry.models import MODEL_GONE
from reconciler.registry.origins import answered
from reconciler.registry.paging import Row, rows_of
from reconciler.registry.transport import Transport
from reconciler.registry.versions import get_model, quotable, search_versions, version_facts, version_in

T = TypeVar("T")
_NO_ALIASES = Unreadable("a workspace registry has no aliases")

Answers = dict[ModelTarget, HeldNow | Unreadable]


def read_holders(transport: Transport, asked: Collection[ModelTarget], *, all_of: bool) -> Answers:
    """A model shows its aliases, and the newest version in each stage; all versions in a stage are searched for."""
    found: Answers = {}
    for model, targets in _by_model(asked).items():
        searched = [target for target in targets if target.is_stage and all_of]
        shown = [target for target in targets if target not in searched]
        if shown:
            found |= _holders_in(model, shown, partial(get_model, transport, model), _in_model)
        if searched:
            found |= _holders_in(model, searched, partial(_versions_of, transport, model), _in_stage)
    return found


def holders_in_stages(asked: Collection[ModelTarget], versions: Callable[[str], Iterable[Row]]) -> Answers:
    """Of a registry that has no aliases, and lists all versions of a model."""
    found: Answers = {(model, target): _NO_ALIASES for model, target in asked if not target.is_stage}
    for model, targets in _by_model(one for one in asked if one[1].is_stage).items():
        found |= _holders_in(model, targets, lambda model=model: list(versions(model)), _in_stage)  # type: ignore[misc]
    return found


def _by_model(asked: Iterable[ModelTarget]) -> Mapping[str, list[Target]]:
    targets: dict[str, list[Target]] = defaultdict(list)
    for model, target in sorted(asked):
        targets[model].append(target)
    return targets


def _holders_in(
    model: str, targets: Sequence[Target], read: Callable[[], T], held: Callable[[T, str, Target], HeldNow]
) -> Answers:
    """What holds these targets of a model, of one reading; a model that does not exist has no holders."""

    def all_held() -> dict[Target, HeldNow]:
        rows = read()
        return {target: held(rows, model, target) for target in targets}

    answer = answered(all_held, MODEL_GONE)
    if isinstance(answer, dict):
        return {(model, target): answer[target] for target in targets}
    return {(model, target): HeldNow() if isinstance(answer, Absent) else answer for target in targets}


def _in_model(row: Row, model: str, target: Target) -> HeldNow:
    newest = rows_of(row, "latest_versions")
    if target.is_stage:
        held = [_holding(one, target) for one in newest if one.get("current_stage") == target.name]
        return HeldNow.of(held, whole=not held)
    version = seen_model(row).aliases.get(target.name)
    if version is None:
        return HeldNow()
    shown = next((version_facts(one) for one in newest if str(one.get("version")) == version), None)
    return HeldNow.of([Holding(Place(model, version, target), created_at(row), shown)])


def _in_stage(rows: Sequence[Row], model: str, target: Target) -> HeldNow:
    """Of all versions of a model those in a stage."""
    return HeldNow.of(_holding(row, target) for row in rows if row.get("current_stage") == target.name)


def _holding(row: Row, target: Target) -> Holding:
    model, version = version_in(row)
    return Holding(Place(model, version, target), created_at(row), version_facts(row))


def _versions_of(transport: Transport, model: str) -> Sequence[Row]:
    if not quotable(model):
        raise Unavailable(f"other versions of {visible_name(model)} cannot be searched for: no filter takes its name")
    return search_versions(transport, f"name = '{model}'")
