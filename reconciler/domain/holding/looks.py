"""What a look at a registry shows: versions with their stages, and models with their aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from reconciler.domain.place import ModelVersion, Place
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target


class Kind(Enum):
    """The two kinds of holders, which a registry shows in different lists."""

    STAGES = "stages"
    ALIASES = "aliases"

    @classmethod
    def of(cls, target: Target) -> Kind:
        return cls.STAGES if target.is_stage else cls.ALIASES


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """A version and its stage. `created`: milliseconds since 1970 by the registry's clock; None: not shown.

    `request_tags`: the keys of its tags that begin as those of requests do. `is_prompt`: it is a version of a prompt.
    `changed`: as `created`, when it got its stage, or its model its name, or something else of it changed.
    """

    model: str
    version: str
    stage: str
    created: int | None = None
    request_tags: tuple[str, ...] = ()
    is_prompt: bool = False
    changed: int | None = None


@dataclass(frozen=True, slots=True)
class SeenModel:
    """A model or prompt, and which version each of its aliases names. `created` as in `SeenVersion`, of the model.

    `is_prompt`: it is marked as one. `with_files`: aliases that name a version with files all the same, as far as that
    was looked at: whoever may set tags can mark a model.
    """

    model: str
    aliases: Mapping[str, str]
    created: int | None = None
    is_prompt: bool = False
    with_files: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Round:
    """A complete round over a list: whatever is not in it was not shown.

    `shown`: (model, version), or (model, "") for all of a model. `only_in`: the models that it was about; None: all.
    `in_one_look`: otherwise a model may meanwhile have got a name that was passed already.
    """

    kind: Kind
    shown: frozenset[ModelVersion]
    only_in: frozenset[str] | None = None
    in_one_look: bool = True

    def lacks(self, place: Place) -> bool:
        if Kind.of(place.target) is not self.kind or (self.only_in is not None and place.model not in self.only_in):
            return False
        return (place.model, "") not in self.shown and place.model_version not in self.shown


@dataclass(frozen=True, slots=True)
class Look:
    """What one look showed, as far as it may differ from the look before.

    Args:
        gone: places whose version or model exists no more, as the registry says when it is asked for by itself.
        rounds: lists that were read to their end.
        as_of: how long ago everything of a kind had been seen at least once since.
        everything: as `as_of`, of versions that leave no trace in the list of changes, such as deleted ones.
        newest_change: of any version, in milliseconds since 1970 by the registry's clock.
        aliases_take: how long the last whole round over the aliases took.
        refused: places whose version or model the account may not see, or no more: that is not "gone".
        skipped: models that the last round over the aliases did not show, though an earlier look did: how long ago.
        apart: models whose aliases are read by themselves in a look at everything, since no list shows them.
        shown: the models that it has shown, be it with nothing that holds a target.
        clock: the registry's time when it answered, in milliseconds since 1970; None: it does not tell.
    """

    versions: Sequence[SeenVersion] = ()
    models: Sequence[SeenModel] = ()
    gone: frozenset[Place] = frozenset()
    rounds: Sequence[Round] = ()
    as_of: Mapping[Kind, timedelta] = field(default_factory=dict)
    everything: timedelta | None = None
    newest_change: int | None = None
    aliases_take: timedelta | None = None
    refused: frozenset[Place] = frozenset()
    skipped: Mapping[str, timedelta] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    clock: int | None = None

    def version_at(self, place: Place) -> SeenVersion | None:
        """The version of a place, whatever it holds; None: the look does not show it."""
        same = (seen for seen in self.versions if (seen.model, seen.version) == place.model_version)
        return next(same, None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a look is to show.

    Args:
        changed_since: as `Look.newest_change` of the last look; None: nothing was seen yet.
        since: how long ago all changes had been seen; None: not known.
        everything: also what has no trace in a list of changes.
        afresh: nothing of earlier looks counts, such as after one whose changes could not be recorded.
        at_once: whole rounds, however long they take; otherwise as much as the budget allows.
    """

    scope: Scope
    changed_since: int | None = None
    since: timedelta | None = None
    everything: bool = True
    afresh: bool = False
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Tenure:
    """An open tenure as it is on record. `id`: of the observation that began it. `since`: when it was first seen.

    `watched`: no rule governed the target then, and a check asks for how long a version has held it. `last_seen`: by
    which look, where the account may not read its model any more, or it is gone: some servers say the same of both.
    """

    id: int
    place: Place
    created: int | None
    since: datetime
    watched: bool = False
    last_seen: datetime | None = None

    @property
    def hidden(self) -> bool:
        return self.last_seen is not None
