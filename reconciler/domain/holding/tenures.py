"""What a look means beside what was known: which tenures began, and which ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reconciler.domain.holding.looks import Look, SeenModel, SeenVersion, Tenure
from reconciler.domain.place import Place
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target, TargetKind


class Sign(StrEnum):
    """What a look itself shows about a beginning or an end."""

    NONE = ""
    RENAMED = "renamed"
    DELETED = "deleted"
    UNGOVERNED = "ungoverned"


@dataclass(frozen=True, slots=True)
class Began:
    """`continues`: the tenure under the model's earlier name, where it was renamed. `is_prompt`: of a prompt."""

    place: Place
    created: int | None
    continues: Tenure | None = None
    is_prompt: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    tenure: Tenure
    sign: Sign = Sign.NONE


@dataclass(frozen=True, slots=True)
class Changes:
    """What began and what ended between two looks."""

    began: Sequence[Began] = ()
    ended: Sequence[Ended] = ()

    def __bool__(self) -> bool:
        return bool(self.began or self.ended)


@dataclass
class Holders:
    """The open tenures, by place and by what survives a model's new name.

    `relearned`: a look has shown that a model with tenures is a prompt, or the other way round. What is on record does
    not say which it is.
    """

    _by_place: dict[Place, Tenure] = field(default_factory=dict)
    _by_model: dict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    _by_thing: dict[tuple[int, str, Target], set[Place]] = field(default_factory=lambda: defaultdict(set))
    # The prompts, each with its aliases that name a version with files.
    _prompts: dict[str, frozenset[str]] = field(default_factory=dict)
    _hidden: set[Place] = field(default_factory=set)
    relearned: bool = False

    @classmethod
    def of(cls, tenures: Iterable[Tenure]) -> Holders:
        holders = cls()
        for tenure in tenures:
            holders.add(tenure)
        return holders

    def __iter__(self) -> Iterator[Tenure]:
        return iter(self._by_place.values())

    def __len__(self) -> int:
        return len(self._by_place)

    @property
    def hidden(self) -> list[Tenure]:
        return [self._by_place[place] for place in sorted(self._hidden)]

    def add(self, tenure: Tenure) -> None:
        place = tenure.place
        self._by_place[place] = tenure
        (self._hidden.add if tenure.hidden else self._hidden.discard)(place)
        self._by_model[place.model].add(place)
        if tenure.created is not None:
            self._by_thing[tenure.created, place.version, place.target].add(place)

    def remove(self, place: Place) -> None:
        tenure = self._by_place.pop(place, None)
        if tenure is None:
            return
        self._hidden.discard(place)
        self._by_model[place.model].discard(place)
        if tenure.created is not None:
            self._by_thing[tenure.created, place.version, place.target].discard(place)

    def learn(self, models: Iterable[SeenModel]) -> None:
        """Which of the models are prompts."""
        for seen in models:
            known, shown = self._prompts.get(seen.model), seen.with_files if seen.is_prompt else None
            if shown == known:
                continue
            if shown is None:
                del self._prompts[seen.model]
            else:
                self._prompts[seen.model] = shown
            self.relearned |= bool(self._by_model.get(seen.model))

    def is_prompts(self, place: Place) -> bool:
        """Whether it is a place of a prompt, which has no stages."""
        with_files = self._prompts.get(place.model)
        return with_files is not None and not place.target.is_stage and place.target.name not in with_files

    def at(self, place: Place) -> Tenure | None:
        return self._by_place.get(place)

    def of_model(self, model: str) -> list[Tenure]:
        return [self._by_place[place] for place in sorted(self._by_model.get(model, ()))]

    def under_another_name(self, began: Began) -> list[Tenure]:
        """Tenures of other models that may be the same version: created in the same millisecond, with its number."""
        if began.created is None:
            return []
        place = began.place
        same = self._by_thing.get((began.created, place.version, place.target), ())
        return [self._by_place[other] for other in sorted(same) if other.model != place.model]


def changes_in(look: Look, known: Holders, scope: Scope) -> Changes:
    """What a look shows to be otherwise than known. Of what it does not show, nothing is concluded."""
    began: dict[Place, Began] = {}
    ended: dict[Place, Ended] = {}
    for version in look.versions:
        _compare_version(version, known, scope, began, ended)
    for model in look.models:
        _compare_model(model, known, scope, began, ended)
    for place in look.gone:
        if (tenure := known.at(place)) is not None:
            ended[place] = Ended(tenure, Sign.DELETED)
    unseen = [tenure for place in look.refused if (tenure := known.at(place)) is not None and place not in ended]
    return with_renames(Changes(list(began.values()), list(ended.values())), known, unseen)


def with_renames(changes: Changes, known: Holders, refused: Iterable[Tenure] = ()) -> Changes:
    """What began under a name, and ended because its model is gone under another, is one version renamed.

    Where more began than ended in the same millisecond's name, any of them may be another version: none is renamed.

    Args:
        refused: tenures whose models the account may not see any more. Basic-auth says so of those that are gone, too.
    """
    deleted = (ended.tenure for ended in changes.ended if ended.sign is Sign.DELETED)
    gone = {tenure.id: tenure for tenure in [*deleted, *refused]}
    before = _earlier(changes.began, known, gone)
    began = [replace(one, continues=before.get(one.place)) for one in changes.began]
    renamed = {tenure.id: tenure for tenure in before.values()}
    ended = [Ended(end.tenure, Sign.RENAMED if end.tenure.id in renamed else end.sign) for end in changes.ended]
    known_to_end = {end.tenure.id for end in ended}
    ended += [Ended(tenure, Sign.RENAMED) for id, tenure in renamed.items() if id not in known_to_end]
    return Changes(began, ended)


def _earlier(began: Sequence[Began], known: Holders, gone: Mapping[int, Tenure]) -> dict[Place, Tenure]:
    """By the place of a beginning, the tenure that goes on there."""
    alike: dict[tuple[int | None, str, Target], list[Began]] = defaultdict(list)
    for one in began:
        alike[one.created, one.place.version, one.place.target].append(one)
    earlier: dict[Place, Tenure] = {}
    for several in alike.values():
        before = [old for old in known.under_another_name(several[0]) if old.id in gone]
        if len(several) <= len(before):
            earlier |= {one.place: old for one, old in zip(several, before, strict=False)}
    return earlier


def ungoverned(known: Holders, scope: Scope) -> Changes:
    """What ends by the scope alone: tenures at targets that no rule names any more, or that are not looked at any more.

    Where a target that was governed is only watched from now on, or the other way round, a tenure of the other kind
    begins: what was never governed says nothing about how a version came there.
    """
    targets: dict[tuple[str, bool], tuple[frozenset[Target], frozenset[Target]]] = {}
    looked_at_now = scope.looked_at
    ended, began = [], []
    for tenure in known:
        model, target = tenure.place.model, tenure.place.target
        is_prompt = known.is_prompts(tenure.place)
        if (model, is_prompt) not in targets:
            governed, looked_at = (one.targets_of(model, is_prompt=is_prompt) for one in (scope, looked_at_now))
            targets[model, is_prompt] = governed, looked_at
        governed, looked_at = targets[model, is_prompt]
        if target not in looked_at or tenure.watched == (target in governed):
            ended.append(Ended(tenure, Sign.UNGOVERNED))
            if target in looked_at:
                began.append(Began(tenure.place, tenure.created, is_prompt=is_prompt))
    return Changes(began, ended)


def vanished_aliases(changes: Changes) -> list[Place]:
    """Aliases that name no version any more: the version itself may be gone."""
    taken = {(one.place.model, one.place.target) for one in changes.began}
    places = [one.tenure.place for one in changes.ended if one.sign is Sign.NONE]
    return [place for place in places if not place.target.is_stage and (place.model, place.target) not in taken]


def missing_from(look: Look, known: Holders) -> list[Place]:
    """Places that a complete list did not show: each has to be read by itself, since a list proves little.

    Not those that are `overlooked`: what has a new name is not gone, and the next round shows it.
    """
    if not look.rounds:
        return []
    overlooked = {tenure.id for tenure in overlooked_in(look, known)}
    return [
        tenure.place
        for tenure in known
        if tenure.id not in overlooked and any(complete.lacks(tenure.place) for complete in look.rounds)
    ]


def overlooked_in(look: Look, known: Holders) -> list[Tenure]:
    """Those that a list did not show for the first time, which was read in several looks."""
    rounds = [complete for complete in look.rounds if not complete.in_one_look]
    if not rounds:
        return []
    return [tenure for tenure in known if not tenure.hidden and any(one.lacks(tenure.place) for one in rounds)]


def _compare_version(
    seen: SeenVersion, known: Holders, scope: Scope, began: dict[Place, Began], ended: dict[Place, Ended]
) -> None:
    for tenure in known.of_model(seen.model):
        place = tenure.place
        if place.version == seen.version and place.target.is_stage and not _still(tenure, seen.stage, seen.created):
            ended[place] = Ended(tenure, Sign.NONE if _same(tenure, seen.created) else Sign.DELETED)
    try:
        target = Target.parse(seen.stage)
    except ValueError:
        return
    place = Place(seen.model, seen.version, target)
    governed = scope.targets_of(seen.model, is_prompt=seen.is_prompt)
    if target.is_stage and target in governed and (known.at(place) is None or place in ended):
        began[place] = Began(place, seen.created)


def _still(tenure: Tenure, stage: str, created: int | None) -> bool:
    return tenure.place.target.name == stage and _same(tenure, created)


def _same(tenure: Tenure, created: int | None) -> bool:
    """A deleted and recreated model has the same names and numbers, and another time of creation."""
    return created is None or tenure.created is None or tenure.created == created


def is_another(judged: int | None, seen: int | None, target: Target) -> bool:
    """Whether what holds a target is not the version that was judged, though it has its name and number.

    Compared is when both were created, by the registry's clock alone: a stage is held by a version, which was created
    when the one that was judged was; an alias by a model, which is older than its versions.
    """
    if judged is None or seen is None:
        return False
    return judged < seen or (judged != seen and target.is_stage)


def _compare_model(
    seen: SeenModel, known: Holders, scope: Scope, began: dict[Place, Began], ended: dict[Place, Ended]
) -> None:
    for tenure in known.of_model(seen.model):
        place = tenure.place
        if place.target.is_stage:
            continue
        same = _same(tenure, seen.created)
        if not same or seen.aliases.get(place.target.name) != place.version:
            ended[place] = Ended(tenure, Sign.NONE if same else Sign.DELETED)
    governed = {kind: scope.targets_of(seen.model, is_prompt=kind) for kind in {False, seen.is_prompt}}
    for alias, version in seen.aliases.items():
        target, is_prompt = Target(TargetKind.ALIAS, alias), seen.is_prompt and alias not in seen.with_files
        place = Place(seen.model, version, target)
        if target in governed[is_prompt] and (known.at(place) is None or place in ended):
            began[place] = Began(place, seen.created, is_prompt=is_prompt)
