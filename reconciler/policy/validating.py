"""Every mistake of a file at once: what is wrong in one place hides nothing in another.

Pydantic asks what holds between the keys of a part only where each key is right by itself, and what a rule is only
where its checks are. So what is wrong is taken out, and what is left is validated again, until nothing new is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from reconciler.domain.mistakes import Mistakes
from reconciler.policy.problems import Location
from reconciler.policy.remainder import Remainder

M = TypeVar("M", bound=BaseModel)
# Each takes something out; how deep a file may be nested bounds how often that is of use.
_PASSES = 20


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mistake, and where it stands in the text. `error`: as pydantic has it; `location`: where pydantic has it.

    `message`: what it is, where the error has several.
    """

    at: Location
    error: Mapping[str, Any]
    message: str | None = None

    @property
    def location(self) -> Location:
        return tuple(self.error["loc"])

    @property
    def kind(self) -> str:
        return str(self.error["type"])


@dataclass(slots=True)
class Validated(Generic[M]):
    """`value`: of what is left; None where nothing is. `left`: what that is."""

    left: Remainder
    value: M | None = None
    wrong: list[Wrong] = field(default_factory=list)


def validated(
    data: Any,
    models: Sequence[type[M]],
    to_text: Callable[[Location], Location],
    *,
    broken: Iterable[Location] = (),
    context: Any = None,
) -> Validated[M]:
    """What the data is, or everything that is wrong with it.

    Args:
        models: what it is to be; and what is enough for what is left without its mistakes.
        to_text: the place in the text for one of pydantic's.
        broken: places of what cannot be read, which is told already.
    """
    found: Validated[M] = Validated(Remainder(data, broken))
    model, *less = models
    for _ in range(_PASSES):
        try:
            found.value = model.model_validate(found.left.data(), context=context)
            return found
        except ValidationError as error:
            own = [one for one in error.errors(include_url=False) if not _follows_from_others(one)]
            errors = [Wrong(found.left.place(to_text(one["loc"])), one) for one in own]
        # A check that is taken out leaves the keys behind that every check has, with what is wrong between them.
        known = {(wrong.at, wrong.message) for wrong in found.wrong if wrong.message is not None}
        told = [wrong for one in errors for wrong in _independent(one, found.left)]
        found.wrong += [wrong for wrong in told if (wrong.at, wrong.message) not in known]
        by_place = dict.fromkeys(one.at for one in errors)
        if False in [found.left.take_out(at) for at in by_place]:
            return found
        model = less[0] if less else model
    return found


def _follows_from_others(error: Mapping[str, Any]) -> bool:
    """Pydantic calls a list too short when all its items are wrong; the items have their own errors."""
    return error["type"] == "too_short" and bool(error.get("input"))


def _independent(one: Wrong, left: Remainder) -> Iterator[Wrong]:
    """The mistakes that an error tells, but for what may be so only because others were taken out."""
    raised = (one.error.get("ctx") or {}).get("error")
    if not isinstance(raised, Mistakes):
        if not left.lacks(one.at):
            yield one
        return
    for mistake in raised.mistakes:
        if not (mistake.lacks and left.lacks(one.at)):
            yield Wrong(left.place_within(one.at, mistake.at), one.error, mistake.text)
