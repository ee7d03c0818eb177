"""any_of: alternatives, of which one has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, model_validator

from reconciler.domain.checks.base import Check, Requirement
from reconciler.domain.codes import FindingCode
from reconciler.domain.evidence import Needs


class AnyOfCode(FindingCode):
    NONE_PASSES = "none_passes", "no alternative of `any_of` can pass"


class AnyOf(Requirement):
    """One of several alternatives passes; each is a list of checks, all of which must pass."""

    kind: ClassVar[str] = "any_of"
    codes: ClassVar[type[FindingCode]] = AnyOfCode
    remedy: ClassVar[str] = "meet one of the alternatives"

    # `reconciler.policy.grammar` says which kinds of check a text may hold.
    any_of: tuple[tuple[Check, ...], ...] = Field(min_length=1, description="Lists of checks; all of one must pass.")

    @model_validator(mode="after")
    def _one_check_is_not_nothing(self) -> AnyOf:
        """An alternative without checks would always pass, and the whole decides, not its parts."""
        for number, checks in enumerate(self.any_of, 1):
            if not checks:
                raise ValueError(f"alternative {number} has no checks, so it would always pass: remove it")
            for check in checks:
                if check.id or check.overridable or check.overrides or check.level == "advisory":
                    raise ValueError("id, level, overridable and overrides belong beside any_of, not to a check within")
        return self

    @property
    def title(self) -> str:
        return "any of " + ", or ".join(" and ".join(check.title for check in checks) for checks in self.any_of)

    @property
    def expected(self) -> str:
        return "one of: " + "; or ".join(
            " and ".join(f"{check.title} {check.expected}" for check in checks) for checks in self.any_of
        )

    def needs(self) -> Needs:
        return Needs.together(check.needs() for checks in self.any_of for check in checks)

    def doubts(self) -> Iterator[str]:
        for number, checks in enumerate(self.any_of, 1):
            for check in checks:
                yield from (f"alternative {number}, {check.title}: {doubt}" for doubt in check.doubts())
