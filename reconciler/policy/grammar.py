"""The grammar of a policy file, made from the list of kinds of check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Union, cast, get_args

from pydantic import BaseModel, Discriminator, Field, Tag, create_model

from reconciler.domain.checks.any_of import Alternative, AnyOf
from reconciler.domain.checks.base import Check, Requirement
from reconciler.domain.checks.kinds import KINDS, Kinds
from reconciler.domain.policy import Policy, Rule
from reconciler.policy.problems import Location

# A check is at rules[0].require[0], and within alternatives at rules[0].require[0].any_of[0][0]; pydantic adds the
# check's kind after that.
_DEPTH = 4
_DEPTH_WITHIN = 8


# Kinds of plugins are made anew when their code is.
@lru_cache(4)
def policy_model(kinds: Kinds = KINDS, *, including: bool = True) -> type[Policy]:
    """The model of policies whose rules may require these kinds of check: it validates data and has the JSON Schema.

    Args:
        including: it includes other files, so it needs no rules of its own.
    """
    check = _one_of(kinds)
    alternatives = _derived(AnyOf, any_of=tuple[Alternative[check], ...])  # type: ignore[valid-type]
    rule = _derived(Rule, require=tuple[_one_of((*kinds, alternatives)), ...])  # type: ignore[misc]
    rules: Any = tuple[rule, ...]  # type: ignore[valid-type]
    field = Policy.model_fields["rules"]
    own = Field((), description=field.description) if including else Field(min_length=1, description=field.description)
    model = create_model("Policy", __base__=Policy, __doc__=Policy.__doc__, rules=(rules, own))
    return cast(type[Policy], model)


def _derived(model: type[BaseModel], **kinds: Any) -> Any:
    """The model, with these fields of other kinds."""
    fields: Any = {name: (kind, model.model_fields[name]) for name, kind in kinds.items()}
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, **fields)


def _one_of(kinds: Sequence[Any]) -> Any:
    """The union of the kinds: a check's kind is the one key that names it."""
    names = [kind.kind for kind in kinds]

    def kind_of(value: Any) -> str | None:
        if isinstance(value, Requirement):
            return str(value.kind) if hasattr(value, "kind") else None
        named = [name for name in names if isinstance(value, Mapping) and name in value]
        return named[0] if len(named) == 1 else None

    message = f"not a check: use exactly one of {', '.join(names)}"
    discriminator = Discriminator(kind_of, custom_error_type="check_kind", custom_error_message=message)
    tagged = tuple(Annotated[kind, Tag(kind.kind)] for kind in kinds)
    return Annotated[Union[tagged], discriminator]  # noqa: UP007  made from a list


def place_in_text(location: Location) -> Location:
    """`rules[0].require[0].metric.min` of pydantic is `rules[0].require[0].min` in the text."""
    return tuple(part for at, part in enumerate(location) if not _is_kind(location, at))


def _is_kind(location: Location, at: int) -> bool:
    """Whether pydantic added this part, which names the kind of a check."""
    if len(location) <= _DEPTH or location[0] != "rules" or location[2] != "require":
        return False
    within = location[_DEPTH] == AnyOf.kind and location[_DEPTH + 1 : _DEPTH + 2] == (AnyOf.kind,)
    return at == _DEPTH or (within and at == _DEPTH_WITHIN)


def known_keys(location: Location, kinds: Kinds) -> list[str]:
    """The keys allowed where pydantic found an unknown one."""
    model: Any = policy_model(kinds)
    for at, part in enumerate(location[:-1]):
        if isinstance(part, int):
            continue
        if _is_kind(location, at):
            known: tuple[type[Check | AnyOf], ...] = (*kinds, AnyOf)
            model = next(kind for kind in known if kind.kind == part)
        else:
            field = next((one for name, one in model.model_fields.items() if part in (name, one.alias)), None)
            model = _model_in(field.annotation if field else None) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> Any:
    """The model that a field holds: itself, an optional one, or a list of them; None where there is none or several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [model for inner in get_args(annotation) if (model := _model_in(inner)) is not None]
    return found[0] if len(found) == 1 else None
