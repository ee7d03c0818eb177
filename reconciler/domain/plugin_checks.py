"""Checks of plugins as kinds of check: what the policy says, what is expected and what is found come from the plugin.

A plugin is asked by who knows its process (`reconciler.policy.plugins`). Whatever it does wrong is an abstention, and
so is a decision of the past that other code judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, cast

from pydantic import Field, PrivateAttr, create_model, field_validator, model_validator

from reconciler.domain.checks.base import Check, Finding
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Code, CodeFacts, Evidence, Needs
from reconciler.domain.evidence.withheld import Withheld
from reconciler.domain.plugin_view import shown
from reconciler.domain.text import visible

_LONGEST_CODE = 32
# What could not be told, by the word for it in an answer.
_NOT_TOLD: Mapping[str, FindingCode] = MappingProxyType(
    {
        "unreadable": CommonCode.UNREADABLE,
        "withheld": CommonCode.WITHHELD,
        "undetermined": CommonCode.UNDETERMINED,
        "not_observed": CommonCode.NOT_OBSERVED,
    }
)


class PluginFault(Exception):
    """The plugin did not answer, or not as it may; the message says what it did."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plugin makes of what stands in the policy."""

    title: str
    expected: str
    needs: Needs
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class About:
    """What a plugin says of itself. `codes`: each with what it means; `schema`: of what stands in the policy."""

    codes: Mapping[str, str] = field(default_factory=dict)
    remedy: str = ""
    of: frozenset[str] = frozenset({"model"})
    schema: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""


class Plugin(Protocol):
    """A check of a plugin that is loaded."""

    @property
    def code(self) -> Code: ...

    @property
    def about(self) -> About: ...

    def terms(self, value: object) -> Terms:
        """Raises ValueError, with what is wrong."""

    def judge(self, value: object, evidence: Mapping[str, Any]) -> Mapping[str, Any]:
        """The plugin's answer, as JSON data of anybody's making. Raises PluginFault."""


class PluginCheck(Check):
    """A check of a plugin; `value` stands behind its key in the policy."""

    plugin: ClassVar[Plugin]
    may_be_empty: ClassVar[frozenset[str]] = frozenset({"value"})

    value: Any
    _terms: Terms = PrivateAttr()

    @field_validator("value")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        """A mistake is told where the value stands."""
        cls.plugin.terms(value)
        return value

    @model_validator(mode="after")
    def _understood(self) -> PluginCheck:
        self._terms = self.plugin.terms(self.value)
        return self

    @property
    def title(self) -> str:
        return self._terms.title

    @property
    def expected(self) -> str:
        return self._terms.expected

    def needs(self) -> Needs:
        return self._terms.needs

    def says_of_holders(self) -> bool:
        """One that asks what holds the target, or where the version was before, is about a change."""
        return not (self.needs().held or self.needs().holder)

    def doubts(self) -> Iterator[str]:
        yield from self._terms.doubts

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        code = self.plugin.code
        _require_same(code, evidence)
        try:
            answer = self.plugin.judge(self.value, shown(evidence, self._terms.needs, now))
            return _found(answer, code, self.codes)
        except PluginFault as fault:
            observed = f"{code.check} of {code.distribution} {code.version} {fault}"
            return Finding(CommonCode.CHECK_ERROR, observed, source=str(code), unreadable=True)


def _require_same(code: Code, evidence: Evidence) -> None:
    """Refuses to judge what other code judged: nobody could tell whether the decision follows. Raises Withheld."""
    named = evidence.fact(CodeFacts)
    judged_by = named.checks.get(code.check) if isinstance(named, CodeFacts) else None
    if judged_by is None:
        raise Withheld(f"the code of {code.check}", "is not named by the evidence")
    if judged_by.sha256 != code.sha256:
        raise Withheld(f"{code.check}", f"was judged by {judged_by}; here is {code}")


def _found(answer: Mapping[str, Any], code: Code, codes: type[FindingCode]) -> Finding:
    """Raises PluginFault where it is none of the answers that a plugin may give."""
    match answer:
        case {"finding": {"code": str(found), "observed": str(observed), "source": str(where), "number": number,
                          "missing": bool(missing)}} if _is_number(number) and (found or not missing):  # fmt: skip
            source = "; ".join(filter(None, (str(code), where)))
            return Finding(_code(found, code.check, codes), observed, number, source, missing)
        case {"absent": [str(absent), str(detail)]} if absent in set(AbsenceCode):
            return Finding(AbsenceCode.of(absent), detail, source=str(code), missing=True)
        case {"error": str(said)} | {"mistake": str(said)}:
            raise PluginFault(f"raised {visible(said, 300)}")
    for kind, not_told in _NOT_TOLD.items():
        if isinstance(why := answer.get(kind), str):
            return Finding(not_told, why, source=str(code), unreadable=True)
    raise PluginFault("returned an invalid finding")


def _is_number(number: object) -> bool:
    """Whether the audit has room for it: JSON as Python reads it also has NaN and infinity."""
    return number is None or (isinstance(number, float) and math.isfinite(number))


def _code(found: str, check: str, codes: type[FindingCode]) -> FindingCode:
    if not found:
        return CommonCode.OK
    try:
        return codes.of(recorded_code(check, found))
    except ValueError:
        raise PluginFault(f"found {visible(found, 60)!r}, which is not among its codes") from None


def recorded_code(check: str, code: str) -> str:
    """As it stands in the audit: `latency.too_slow`, which is no code of the product's own."""
    return f"{check}.{code}"


# --- kinds ---------------------------------------------------------------------------------------------------


def kind_of(plugin: Plugin) -> type[PluginCheck]:
    """The kind of check that the plugin is, as those of the product are."""
    name, about = plugin.code.check, plugin.about
    schema = {"description": about.text or f"A check of {plugin.code.distribution}."} | dict(about.schema)
    value: Any = Field(alias=name, json_schema_extra=schema)
    model = create_model(
        f"{name.title().replace('_', '')}Check", __base__=PluginCheck, __doc__=about.text, value=(Any, value)
    )
    kind = cast(type[PluginCheck], model)
    kind.kind, kind.codes, kind.example = name, codes_of(name, about.codes), f"{name}: …"
    kind.remedy, kind.of, kind.plugin = visible(about.remedy, 300), about.of, plugin
    return kind


def codes_of(check: str, codes: Mapping[str, str]) -> type[FindingCode]:
    """Raises ValueError on a code that the audit has no room for."""
    for code in codes:
        if not code.isascii() or not code.isidentifier() or len(recorded_code(check, code)) > _LONGEST_CODE:
            most = _LONGEST_CODE - len(check) - 1
            raise ValueError(f"{visible(code, 60)!r} is not a code: use letters, digits and _, at most {most}")
    members: Any = [(f"C_{code}", (recorded_code(check, code), visible(text, 300))) for code, text in codes.items()]
    made: Any = FindingCode
    return cast(type[FindingCode], made(f"{check.title()}Code", members))
