"""any_of: alternatives, of which one has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BeforeValidator, Field

from reconciler.domain.checks.base import Check, Requirement
from reconciler.domain.codes import FindingCode
from reconciler.domain.evidence.evidence import Needs
from reconciler.domain.mistakes import Mistake


class AnyOfCode(FindingCode):
    NONE_PASSES = "none_passes", "no alternative of `any_of` can pass"


def _to_alternative(value: Any) -> Any:
    """Without checks it would always pass."""
    if value in ([], ()):
        raise ValueError("an alternative without checks would always pass: remove it")
    return value


C = TypeVar("C")
Alternative = Annotated[tuple[C, ...], BeforeValidator(_to_alternative)]


class AnyOf(Requirement):
    """One of several alternatives passes; each is a list of checks, all of which must pass."""

    kind: ClassVar[str] = "any_of"
    codes: ClassVar[type[FindingCode]] = AnyOfCode
    remedy: ClassVar[str] = "meet one of the alternatives"

    # `reconciler.policy.grammar` says which kinds of check a text may hold.
    any_of: tuple[Alternative[Check], ...] = Field(min_length=1, description="Lists of checks; all of one must pass.")

    def mistakes(self) -> Iterator[Mistake]:
        """The whole decides, not its parts."""
        for number, checks in enumerate(self.any_of):
            for at, check in enumerate(checks):
                if check.id or check.overridable or check.overrides or check.level == "advisory":
                    told = "id, level, overridable and overrides belong beside any_of, not to a check within"
                    yield Mistake(told, at=("any_of", number, at))

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
