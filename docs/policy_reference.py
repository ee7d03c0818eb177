"""The reference of a policy's checks and codes, made from the list of kinds: the second half of docs/policy.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from reconciler.domain.checks.base import Check
from reconciler.domain.checks.kinds import KINDS, Kinds
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode, ReasonCode
from reconciler.domain.times import duration_text

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
        EVERY_CHECK
        + _keys(Check)
        + "".join(_section(kind) for kind in kinds)
        + EVERY_KIND
        + _codes([*CommonCode, *AbsenceCode])
        + REASONS
        + _codes(ReasonCode)
    )


def _section(kind: type[Check]) -> str:
    notes = f"{kind.notes}\n\n" if kind.notes else ""
    return f"\n## `{kind.kind}`\n\n{kind.__doc__}\n\n{notes}{_keys(kind, leave_out=Check)}\n{_codes(kind.codes)}"


def _keys(model: type[BaseModel], leave_out: type[BaseModel] | None = None) -> str:
    known = leave_out.model_fields if leave_out is not None else {}
    fields = {name: field for name, field in model.model_fields.items() if name not in known}
    return "| key | default | meaning |\n|---|---|---|\n" + "".join(_rows(fields))


def _rows(fields: dict[str, FieldInfo], prefix: str = "") -> Iterator[str]:
    for name, field in fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _rows(inner.model_fields, f"{prefix}{name}.")
        else:
            yield f"| `{prefix}{name}` | {_default(field.default)} | {field.description} |\n"


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "–"
    if isinstance(value, timedelta):
        return f"`{duration_text(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _codes(codes: Iterable[FindingCode | ReasonCode]) -> str:
    return "| code | means |\n|---|---|\n" + "".join(f"| `{code}` | {code.meaning} |\n" for code in codes)
