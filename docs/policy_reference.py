"""The reference of a policy's checks and codes, made from the list of kinds: the second half of docs/policy.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Check, Requirement
from reconciler.domain.checks.kinds import KINDS, Kinds
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode, ReasonCode
from reconciler.domain.policy import Include, Policy, Rule
from reconciler.domain.target import Target
from reconciler.domain.times import duration_text

_TYPES = {
    bool: "`true`, `false`",
    str: "text",
    int: "a whole number",
    float: "a number",
    timedelta: "a time: `90s`, `10m`, `1h30m`, `30d`",
    datetime: "a date, or a moment: `2027-01-01`, `2027-01-01T08:00:00Z`",
    Target: "a stage, or `@alias`",
}
POLICY = """
## Keys of a policy

"""
RULE = """
## Keys of a rule

"""
INCLUDE = """
## Keys of `include`

"""
EVERY_REQUIREMENT = """
## Keys of every check, and of `any_of`

"""
EVERY_CHECK = """
## Keys of every check

"""
EVERY_KIND = """
## Codes of every check

Kept as `code` of each check in the audit database, and shown by `explain --json`.

"""
REASONS = """
## Codes of a verdict

Kept as `reason_code` of each decision, and shown where a request is left alone.

"""


def policy_reference(kinds: Kinds = KINDS) -> str:
    """Each kind with its keys and codes, then the codes that all of them share."""
    return (
        POLICY
        + _keys(Policy)
        + RULE
        + _keys(Rule)
        + INCLUDE
        + _keys(Include)
        + EVERY_REQUIREMENT
        + _keys(Requirement)
        + EVERY_CHECK
        + _keys(Check, leave_out=Requirement)
        + _alternatives()
        + "".join(_section(kind) for kind in kinds)
        + EVERY_KIND
        + _codes([*CommonCode, *AbsenceCode])
        + REASONS
        + _codes(ReasonCode)
    )


def _alternatives() -> str:
    return f"\n## `any_of`\n\n{AnyOf.__doc__}\n\n{_keys(AnyOf, leave_out=Requirement)}\n{_codes(AnyOf.codes)}"


def _section(kind: type[Check]) -> str:
    told = f"{kind.__doc__}\n\n```yaml\n- {kind.example}\n```\n\n" + (f"{kind.notes}\n\n" if kind.notes else "")
    codes = f"\n{_codes(kind.codes)}" if len(kind.codes) else ""
    return f"\n## `{kind.kind}`\n\n{told}{_keys(kind, leave_out=Check)}{codes}"


def _keys(model: type[BaseModel], leave_out: type[BaseModel] | None = None) -> str:
    known = leave_out.model_fields if leave_out is not None else {}
    fields = {name: field for name, field in model.model_fields.items() if name not in known}
    return "| key | value | default | meaning |\n|---|---|---|---|\n" + "".join(_rows(fields))


def _rows(fields: dict[str, FieldInfo], prefix: str = "", *, optional: bool = False) -> Iterator[str]:
    """`optional`: they are of a section that may be left out."""
    for name, field in fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = _section_of(field.annotation)
        if inner is not None:
            yield from _rows(inner.model_fields, f"{key}.", optional=field.default is None)
        else:
            default = None if optional and field.is_required() else field.default
            yield f"| `{key}` | {_allowed(field.annotation, key)} | {_default(default)} | {field.description} |\n"


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a key that holds a section, also where it may be left out."""
    inner = [one for one in get_args(annotation) if one is not NoneType] or [annotation]
    found = inner[0] if get_origin(annotation) in (None, Union, UnionType) else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


_LISTS = {
    "signature.inputs": "a list of names, or a mapping of names to types",
    "signature.outputs": "a list of names, or a mapping of names to types",
    "people": "a mapping of names to strings",
    "include": "a list of sections",
    "rules": "a list of sections",
    "require": "a list of checks",
    "any_of": "a list of lists of checks",
    "step": "`last`, `best`, a number",
    "window.days": "a list of days",
    "window.freezes": "a list of sections with `from` and `until`",
}


def _allowed(annotation: Any, key: str = "") -> str:
    """What may stand as the value of a key."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if key in _LISTS:
        return _LISTS[key]
    if origin is Annotated:
        return _allowed(inner[0])
    if origin in (Union, UnionType):
        return _allowed(next(one for one in inner if one is not NoneType))
    if origin is Literal:
        return _words(inner)
    if origin is tuple:
        return "a list of strings" if inner[-1] is Ellipsis else "`[least, most]`"
    if origin is Mapping:
        return "a mapping of names to values"
    if issubclass(annotation, StrEnum):
        return _words(annotation)
    return _TYPES[annotation]


def _words(values: Iterable[Any]) -> str:
    return ", ".join(_default(value) for value in values)


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), {}):
        return "–"
    if isinstance(value, timedelta):
        return f"`{duration_text(value)}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _codes(codes: Iterable[FindingCode | ReasonCode]) -> str:
    return "| code | means |\n|---|---|\n" + "".join(f"| `{code}` | {code.meaning} |\n" for code in codes)
