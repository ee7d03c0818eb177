"""Which requests are looked for: models, and the targets that may be requested for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from reconciler.domain.target import Target


def matches_any(model: str, globs: Sequence[str]) -> bool:
    """Whether a model's name matches one of the globs of a rule."""
    return any(fnmatchcase(model, glob) for glob in globs)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is looked for: models (as globs), and the targets that may be requested for them.

    `governed`: a policy governs exactly this, so no daemon decides what lies outside.
    """

    parts: tuple[tuple[tuple[str, ...], frozenset[Target]], ...]
    governed: bool = False

    @classmethod
    def of_all_models(cls, targets: Iterable[Target]) -> Scope:
        return cls(((("*",), frozenset(targets)),))

    @property
    def targets(self) -> frozenset[Target]:
        return frozenset(target for _, targets in self.parts for target in targets)

    def targets_of(self, model: str) -> frozenset[Target]:
        """The targets looked for on a model; empty where there are none."""
        matching = [targets for globs, targets in self.parts if matches_any(model, globs)]
        return frozenset(target for targets in matching for target in targets)
