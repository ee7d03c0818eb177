"""The grammar of a policy file, made from the list of kinds of check."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Union, cast

from pydantic import BaseModel, Discriminator, Field, Tag, create_model

from reconciler.domain.checks.base import Check
from reconciler.domain.checks.kinds import KINDS, Kinds
from reconciler.domain.policy import Policy, Rule
from reconciler.policy.problems import Location

# A check is at rules[0].require[0]; pydantic adds the check's kind after that.
_CHECK_DEPTH = 4


@cache
def policy_model(kinds: Kinds = KINDS) -> type[Policy]:
    """The model of policies whose rules may require these kinds of check: it validates data and has the JSON Schema."""
    check = _any_of(kinds)
    require = Rule.model_fields["require"]
    rule = create_model(
        "Rule",
        __base__=Rule,
        __doc__=Rule.__doc__,
        require=(tuple[check, ...], Field(min_length=1, description=require.description)),  # type: ignore[valid-type]
    )
    model = create_model(
        "Policy",
        __base__=Policy,
        __doc__=Policy.__doc__,
        rules=(tuple[rule, ...], Field(min_length=1)),
    )
    return cast(type[Policy], model)


def _any_of(kinds: Kinds) -> Any:
    """The union of the kinds: a check's kind is the one key that names it."""
    names = [kind.kind for kind in kinds]

    def kind_of(value: Any) -> str | None:
        if isinstance(value, Check):
            return value.kind
        named = [name for name in names if isinstance(value, Mapping) and name in value]
        return named[0] if len(named) == 1 else None

    message = f"not a check: use exactly one of {', '.join(names)}"
    discriminator = Discriminator(kind_of, custom_error_type="check_kind", custom_error_message=message)
    tagged = tuple(Annotated[kind, Tag(kind.kind)] for kind in kinds)
    return Annotated[Union[tagged], discriminator]  # noqa: UP007  made from a list


def place_in_text(location: Location) -> Location:
    """`rules[0].require[0].metric.min` of pydantic is `rules[0].require[0].min` in the text."""
    return location[:_CHECK_DEPTH] + location[_CHECK_DEPTH + 1 :] if _is_in_a_check(location) else location


def _is_in_a_check(location: Location) -> bool:
    return len(location) > _CHECK_DEPTH and location[2] == "require"


def known_keys(location: Location, kinds: Kinds) -> list[str]:
    """The keys allowed where pydantic found an unknown one."""
    if len(location) == 1:
        return list(Policy.model_fields)
    if not _is_in_a_check(location):
        return list(Rule.model_fields)
    model: type[BaseModel] = {kind.kind: kind for kind in kinds}[str(location[_CHECK_DEPTH])]
    for part in location[_CHECK_DEPTH + 1 : -1]:
        inner = model.model_fields[str(part)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)
