"""Which requests are looked for: names, and the targets that may be requested for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from reconciler.domain.target import Target


def matches_any(model: str, globs: Sequence[str]) -> bool:
    """Whether a model's name matches one of the globs of a rule."""
    return any(fnmatchcase(model, glob) for glob in globs)


class Names(NamedTuple):
    """The names that match one of `globs`, none of `exclude`, and one of each list in `within`."""

    globs: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    within: tuple[tuple[str, ...], ...] = ()

    def match(self, name: str) -> bool:
        return (
            matches_any(name, self.globs)
            and not matches_any(name, self.exclude)
            and all(matches_any(name, globs) for globs in self.within)
        )


class Part(NamedTuple):
    """Names, and the targets that are looked for there; of prompts or of models."""

    names: Names
    targets: frozenset[Target]
    of_prompts: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What is looked for: names, and the targets that may be requested for them.

    `governed`: a policy governs exactly this, so no daemon decides what lies outside. `watched`: what is looked at
    beside it, because a check asks for how long a version has held it; no requests are looked for there.
    """

    parts: tuple[Part, ...]
    governed: bool = False
    watched: tuple[Part, ...] = ()

    @classmethod
    def of_all_models(cls, targets: Iterable[Target]) -> Scope:
        return cls((Part(Names(("*",)), frozenset(targets)),))

    @classmethod
    def of_everything(cls, targets: Collection[Target]) -> Scope:
        """Of all models and of all prompts, which have no stages."""
        every, aliases = Names(("*",)), frozenset(target for target in targets if not target.is_stage)
        return cls((Part(every, frozenset(targets)), Part(every, aliases, of_prompts=True)))

    @property
    def targets(self) -> frozenset[Target]:
        return frozenset(target for part in self.parts for target in part.targets)

    @property
    def has_prompts(self) -> bool:
        return any(part.of_prompts for part in self.parts)

    @property
    def without_watched(self) -> Scope:
        """What is governed, or asked about, and nothing else."""
        return Scope(self.parts, self.governed) if self.watched else self

    @property
    def looked_at(self) -> Scope:
        """All that a look is about, governed or not."""
        return Scope((*self.parts, *self.watched), self.governed) if self.watched else self

    def of_kind(self, *, of_prompts: bool) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.of_prompts == of_prompts)

    def kinds_of(self, target: Target) -> tuple[bool, ...]:
        """Where requests for a target are looked for: False for models, True for prompts, which have no stages.

        Both, as soon as a rule is about prompts: a request that no rule covers is shown, too.
        """
        return (False, True) if self.has_prompts and not target.is_stage else (False,)

    def targets_of(self, model: str, *, is_prompt: bool = False) -> frozenset[Target]:
        """The targets looked for on a model, or on a prompt; empty where there are none."""
        matching = [part.targets for part in self.of_kind(of_prompts=is_prompt) if part.names.match(model)]
        return frozenset(target for targets in matching for target in targets)

    def targets_of_name(self, name: str) -> frozenset[Target]:
        """The targets looked for on whatever has the name."""
        return self.targets_of(name) | self.targets_of(name, is_prompt=True)
